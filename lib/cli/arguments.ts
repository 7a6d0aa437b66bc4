/** The options of all commands, and how a command line is read. */
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import type { Command } from './command.js'
import { UsageError } from './errors.js'
import { listed, nearest } from './text.js'

export const TABLE = 'django_session'

/** Of the examples in the help. */
export const EXAMPLE_URL = 'postgres://user@localhost/site'

/** `value` and `help` are for the help; the rest is what parseArgs takes. */
export const OPTIONS = {
  'database-url': {
    type: 'string',
    value: 'URL',
    help: 'postgres://user@host/name, mysql://user@host/name (MariaDB too), or a SQLite file: sqlite:PATH (default: DATABASE_URL in the environment)'
  },
  knexfile: {
    type: 'string',
    value: 'FILE',
    help: 'Instead of a URL: a Knex configuration, an object with one for each environment, or a function that returns either'
  },
  env: { type: 'string', value: 'NAME', help: 'The environment in the knexfile (default: NODE_ENV or development)' },
  table: { type: 'string', value: 'NAME', help: `The table (default: ${TABLE})` },
  'secret-key-file': {
    type: 'string',
    value: 'FILE',
    help: 'The secret key in the first line, former ones in further lines (default: SECRET_KEY and, separated by commas, SECRET_KEY_FALLBACKS in the environment)'
  },
  grace: { type: 'string', value: 'SECONDS', help: 'Only sessions that expired longer ago than this (default: 0)' },
  'batch-size': { type: 'string', value: 'N', help: 'Sessions to remove at a time (default: what suits the database)' },
  'max-seconds': { type: 'string', value: 'N', help: 'Stop after the first batch that ends later than this' },
  'dry-run': { type: 'boolean', help: 'Count the sessions to remove, and remove none' },
  json: { type: 'boolean', help: 'Print the result as JSON, on one line' },
  help: { type: 'boolean', short: 'h', help: 'Show this help, or that of a command' },
  version: { type: 'boolean', short: 'v', help: 'Show the version' }
} as const

export type OptionName = keyof typeof OPTIONS
export type Options = ReturnType<typeof parse>['values']

/** Options that every command has. */
export const DATABASE_OPTIONS: readonly OptionName[] = ['database-url', 'knexfile', 'env']

/**
 * Paths of options come out absolute: the folder of a knexfile becomes the current one later.
 *
 * @throws UsageError, which repeats no value: it may be a URL with a password
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
    return parseArgs({ args, options: OPTIONS, allowPositionals: true })
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const option = /--?[\w-]*/.exec(message)?.[0] as string
    if (code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION') throw new UsageError(`there is no option ${option}${suggestion(option)}`)
    const isFlag = message.includes('does not take an argument')
    throw new UsageError(isFlag ? `${option} takes no value` : `${option} needs a value`)
  }
}

function suggestion(option: string): string {
  const near = nearest(option, Object.keys(OPTIONS))
  return near === undefined ? '' : `, did you mean --${near}?`
}

/** @throws UsageError */
export function checkOptions(name: string, commands: Record<string, Command>, options: Options): void {
  const { options: own } = commands[name] as Command
  const known: readonly string[] = [...DATABASE_OPTIONS, ...own, 'help', 'version']
  const stray = Object.keys(options).find((option) => !known.includes(option)) as OptionName | undefined
  if (stray !== undefined) {
    const owners = Object.keys(commands).filter((other) => commands[other]?.options.includes(stray))
    throw new UsageError(`--${stray} is an option of ${listed(owners)}, not of ${name}`)
  }
  if (options['database-url'] !== undefined && options.knexfile !== undefined) {
    throw new UsageError('expected the database as either --database-url URL or --knexfile FILE, got both')
  }
  if (options.env !== undefined && options.knexfile === undefined) throw new UsageError('--env needs --knexfile FILE')
  if (options.table === '') throw new UsageError('--table: expected the name of a table, got nothing')
}

/** @throws UsageError */
export function integer(options: Options, name: 'batch-size' | 'grace' | 'max-seconds', least: number): number | undefined {
  const text = options[name]
  if (text === undefined) return undefined
  const value = Number(text)
  if (/^\d{1,9}$/.test(text) && value >= least) return value
  throw new UsageError(`--${name}: expected a whole number from ${least}, got ${JSON.stringify(text)}`)
}
