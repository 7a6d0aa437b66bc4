/** The options of all commands, and the parser of a command line. */
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { checkAll } from '../settings/check.js'
import type { SessionOptions } from '../settings/options.js'
import { resolveTimeouts, TIMEOUTS_CHECK, type Timeouts, timeoutProblems } from '../settings/timeouts.js'
import { UsageError } from './errors.js'
import { nearest } from './text.js'

export const TABLE = 'django_session'

/** The database in the examples of the help. */
export const EXAMPLE_URL = 'postgres://user@localhost/site'

/** The options in the form that parseArgs takes, with `value` and `help` for the help texts. */
export const OPTIONS = {
  'database-url': {
    type: 'string',
    value: 'URL',
    help: 'postgres://user@host/name, mysql://user@host/name (MariaDB too), or a SQLite file: sqlite:PATH (default: DATABASE_URL in the environment)'
  },
  knexfile: {
    type: 'string',
    value: 'FILE',
    help: 'A file with a Knex configuration, used instead of a URL. It exports a configuration, an object with one for each environment, or a function that returns either'
  },
  env: { type: 'string', value: 'NAME', help: 'The environment in the knexfile (default: NODE_ENV or development)' },
  table: { type: 'string', default: TABLE, value: 'NAME', help: `The table (default: ${TABLE})` },
  'user-sessions': {
    type: 'boolean',
    help: 'The table of the option userSessions: clearsessions does it as well, migrate and rollback instead'
  },
  'user-id': { type: 'string', value: 'TYPE', help: 'With --user-sessions: the type of the primary key of users: bigint, uuid or text' },
  user: { type: 'string', value: 'ID', help: 'The primary key of a user' },
  id: { type: 'string', value: 'N', help: 'The session with this id, which sessions list shows (default: all of the user)' },
  'secret-key-file': {
    type: 'string',
    value: 'FILE',
    help: 'A file with the secret key in the first line and former keys in further lines (default: SECRET_KEY and, separated by commas, SECRET_KEY_FALLBACKS in the environment)'
  },
  timeouts: {
    type: 'string',
    value: 'LIMITS',
    help: 'The timeouts of the application, to compare the newest sessions with: idle=30m,absolute=12h, or a preset such as nist-aal2'
  },
  processes: { type: 'string', value: 'N', help: 'The number of processes of the application, whose pools are added up' },
  against: {
    type: 'string',
    value: 'URL',
    help: 'Another address, of a standby, a pooler or another node, which is compared with the database'
  },
  grace: { type: 'string', value: 'SECONDS', help: 'Only sessions that expired longer ago than this (default: 0)' },
  'batch-size': { type: 'string', value: 'N', help: 'Sessions to remove at a time (default: chosen for the database)' },
  'max-seconds': { type: 'string', value: 'N', help: 'Stop after the first batch that ends later than this' },
  'dry-run': { type: 'boolean', help: 'Count the sessions to remove, without removing them' },
  json: { type: 'boolean', help: 'Print the result as JSON, on one line' },
  help: { type: 'boolean', short: 'h', help: 'Show this help, or that of a command' },
  version: { type: 'boolean', short: 'v', help: 'Show the version' }
} as const

export type OptionName = keyof typeof OPTIONS
export type Options = ReturnType<typeof parse>['values']

/** The options of every command. */
export const DATABASE_OPTIONS: readonly OptionName[] = ['database-url', 'knexfile', 'env']

/**
 * Parses a command line. Paths in options become absolute, because a knexfile changes the
 * current folder later.
 *
 * @throws UsageError without any value, which may be a URL with a password
 */
export function parse(args: string[]) {
  const parsed = parseOrExplain(args)
  for (const name of ['knexfile', 'secret-key-file'] as const) {
    const path = parsed.values[name]
    if (path !== undefined) parsed.values[name] = resolve(path)
  }
  return parsed
}

function parseOrExplain(args: string[]) {
  try {
    return parseArgs({ args: withNegativeNumbers(args), options: OPTIONS, allowPositionals: true })
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const option = /--?[\w-]*/.exec(message)?.[0] as string
    if (code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION') throw new UsageError(`there is no option ${option}${suggestion(option)}`)
    const isFlag = message.includes('does not take an argument')
    throw new UsageError(isFlag ? `${option} takes no value` : `${option} needs a value`)
  }
}

/** Joins `--grace -1` to `--grace=-1`: parseArgs would take the number for an option, and miss the value. */
function withNegativeNumbers(args: string[]): string[] {
  const joined: string[] = []
  for (const arg of args) {
    const before = joined.at(-1) ?? ''
    const takesValue = before.startsWith('--') && OPTIONS[before.slice(2) as OptionName]?.type === 'string'
    if (takesValue && /^-\d+$/.test(arg)) joined.push(`${joined.pop()}=${arg}`)
    else joined.push(arg)
  }
  return joined
}

function suggestion(option: string): string {
  const near = nearest(option, Object.keys(OPTIONS))
  return near === undefined ? '' : `, did you mean --${near}?`
}

/**
 * The value of an option as a whole number. Undefined if the option is not given.
 *
 * @throws UsageError
 */
export function integer(options: Options, name: 'batch-size' | 'grace' | 'max-seconds' | 'processes', least: number): number | undefined {
  const text = options[name]
  if (text === undefined) return undefined
  const value = Number(text)
  if (/^\d{1,9}$/.test(text) && value >= least) return value
  throw new UsageError(`--${name}: expected a whole number from ${least}, got ${JSON.stringify(text)}`)
}

/**
 * The option `timeouts`: a preset, or limits such as `idle=30m,absolute=12h`.
 *
 * @throws UsageError
 */
export function timeoutsOf({ timeouts: text }: Options): Timeouts {
  if (text === undefined) return {}
  const given = { timeouts: text.includes('=') ? limitsOf(text) : text } as SessionOptions
  const [problem] = [...checkAll(given, { timeouts: TIMEOUTS_CHECK }), ...timeoutProblems(given)]
  if (problem !== undefined) throw new UsageError(`--${problem}`)
  return resolveTimeouts(given.timeouts)
}

function limitsOf(text: string): Record<string, number | string> {
  const limits = Array.from(text.split(','), (part) => part.split('='))
  return Object.fromEntries(limits.map(([name, limit = '']) => [name, /^\d+$/.test(limit) ? Number(limit) : limit]))
}
