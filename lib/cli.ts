#!/usr/bin/env node
/** The command `fastify-django-sessions`. It needs a database and no secret: nothing is signed or read. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import createKnex, { type Knex } from 'knex'
import { DRIVERS } from './dialect.js'
import type { ClearExpiredReport } from './engines/engine.js'
import { StoreUnavailable } from './errors.js'
import { migrationSource } from './migrations.js'
import { Sessions } from './sessions.js'
import { resolveSettings } from './settings.js'

const TABLE = 'django_session'

/** Not the application's `knex_migrations`: Knex refuses a list with names that it does not find in its folder. */
const MIGRATIONS = { migrationSource, tableName: 'django_session_migrations' }

/** Seconds that a batch may take: nobody waits for it as for a request. */
const STORE_TIMEOUT = 60

const OPTIONS = {
  'database-url': { type: 'string' },
  knexfile: { type: 'string' },
  env: { type: 'string' },
  table: { type: 'string' },
  'batch-size': { type: 'string' },
  grace: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean' }
} as const

type Options = ReturnType<typeof parse>['values']

const DATABASE_HELP = `The database, one of:
  --database-url URL  postgres://user@host/name, mysql://user@host/name (MariaDB too),
                      or a SQLite file: sqlite:PATH
  --knexfile FILE     A Knex configuration, an object with one for each environment,
                      or a function that returns either
  --env NAME          The environment in the knexfile (default: NODE_ENV or development)`

const HELP = `Usage: fastify-django-sessions <command> [options]

Commands:
  migrate        Create the table ${TABLE}, unless it is there
  rollback       Undo the last migrate; a table that Django made stays
  clearsessions  Remove expired sessions

${DATABASE_HELP}

Other options:
  --help     Show this help, or that of a command
  --version  Show the version

Exit codes: 0 done, 1 failed, 2 wrong usage`

interface Command {
  /** Options that only this command has. */
  options: readonly string[]
  help: string
  /** Returns the exit code. */
  run(knex: Knex, options: Options): Promise<number>
}

const COMMANDS: Record<string, Command> = {
  migrate: {
    options: [],
    help: `Usage: fastify-django-sessions migrate [options]

Creates the table ${TABLE} as Django makes it, or leaves alone the one that is
there. What was done is recorded in the table ${MIGRATIONS.tableName}.

${DATABASE_HELP}`,
    run: migrate
  },
  rollback: {
    options: [],
    help: `Usage: fastify-django-sessions rollback [options]

Undoes the last migrate. It drops the table ${TABLE} with all sessions if migrate
has created it; a table that Django made stays.

${DATABASE_HELP}`,
    run: rollback
  },
  clearsessions: {
    options: ['table', 'batch-size', 'grace', 'json'],
    help: `Usage: fastify-django-sessions clearsessions [options]

Removes expired sessions in small batches, so that nobody else waits for long. It
may run at any time, as often as you like. Ctrl-C stops it after the running batch,
with exit code 1.

${DATABASE_HELP}

Other options:
  --grace SECONDS   Only sessions that expired longer ago than this (default: 0)
  --batch-size N    Sessions to remove at a time (default: what suits the database)
  --table NAME      The table (default: ${TABLE})
  --json            Print the result as JSON`,
    run: clearSessions
  }
}

/** The command line is wrong: exit code 2. */
class UsageError extends Error {}

async function main(args: string[]): Promise<number> {
  const { values: options, positionals } = parse(args)
  const [name, ...rest] = positionals
  const command = name !== undefined && Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (options.version) return print(await version())
  if (options.help && (name === undefined || command !== undefined)) return print(command?.help ?? HELP)
  // What was given is not repeated: it may be a URL with a password.
  if (command === undefined) throw new UsageError(`expected one of the commands ${Object.keys(COMMANDS).join(', ')}`)
  if (rest.length > 0) throw new UsageError(`expected only options after ${name}, which start with --`)
  checkOptions(name as string, command, options)
  const knex = await connect(name as string, options)
  try {
    return await command.run(knex, options)
  } finally {
    await knex.destroy()
  }
}

function parse(args: string[]) {
  try {
    return parseArgs({ args, options: OPTIONS, allowPositionals: true })
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const option = /--?[\w-]*/.exec(message)?.[0] as string
    if (code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION') throw new UsageError(`there is no option ${option}`)
    const isFlag = message.includes('does not take an argument')
    throw new UsageError(isFlag ? `${option} takes no value` : `${option} needs a value`)
  }
}

function checkOptions(name: string, command: Command, options: Options): void {
  for (const [owner, { options: own }] of Object.entries(COMMANDS)) {
    const stray = own.find((option) => option in options && !command.options.includes(option))
    if (stray !== undefined) throw new UsageError(`--${stray} is an option of ${owner}, not of ${name}`)
  }
  if ((options['database-url'] === undefined) === (options.knexfile === undefined)) {
    throw new UsageError('expected the database as either --database-url URL or --knexfile FILE')
  }
  if (options.env !== undefined && options.knexfile === undefined) throw new UsageError('--env needs --knexfile FILE')
}

// --- commands -----------------------------------------------------------------------

async function migrate(knex: Knex): Promise<number> {
  const existed = await knex.schema.hasTable(TABLE)
  const [, names] = await knex.migrate.latest(MIGRATIONS)
  if (names.length === 0) return print('Nothing to migrate.')
  return print(existed ? `The table ${TABLE} was there already, and stays.` : `Created the table ${TABLE}.`)
}

async function rollback(knex: Knex): Promise<number> {
  const [, names] = await knex.migrate.rollback(MIGRATIONS)
  if (names.length === 0) return print('Nothing to roll back.')
  const remains = await knex.schema.hasTable(TABLE)
  return print(remains ? `The table ${TABLE} was not made by migrate, and stays.` : `Dropped the table ${TABLE}.`)
}

async function clearSessions(knex: Knex, options: Options): Promise<number> {
  const batchSize = integer(options, 'batch-size', 1)
  const grace = integer(options, 'grace', 0)
  if (options.table === '') throw new UsageError('--table: expected the name of a table, got nothing')
  const settings = resolveSettings({
    knex,
    tableName: options.table,
    secretKey: 'never used: nothing is signed or read',
    storeTimeout: STORE_TIMEOUT
  })
  const sessions = await Sessions.create(settings, console)
  const signal = stopSignal()
  const report = await sessions.clearExpired({ batchSize, grace, signal, onProgress: showProgress })
  const removed = `${report.deleted} expired ${report.deleted === 1 ? 'session' : 'sessions'}`
  if (options.json) print(JSON.stringify({ ...report, stopped: signal.aborted }))
  else print(signal.aborted ? `Stopped after removing ${removed}: run it again for the rest.` : `Removed ${removed}.`)
  return signal.aborted ? 1 : 0
}

function integer(options: Options, name: 'batch-size' | 'grace', least: number): number | undefined {
  const text = options[name]
  if (text === undefined) return undefined
  const value = Number(text)
  if (/^\d{1,9}$/.test(text) && value >= least) return value
  throw new UsageError(`--${name}: expected a whole number from ${least}, got ${JSON.stringify(text)}`)
}

/** The first signal stops between two batches, a second one at once. */
function stopSignal(): AbortSignal {
  const controller = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => controller.abort())
  return controller.signal
}

/** On a terminal, a line shorter than the result, which is written over it. */
function showProgress({ deleted }: ClearExpiredReport): void {
  if (process.stderr.isTTY) process.stderr.write(`Removed ${deleted}\r`)
}

function print(line: string): number {
  console.log(line)
  return 0
}

async function version(): Promise<string> {
  return JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8')).version
}

// --- the database -------------------------------------------------------------------

async function connect(command: string, options: Options): Promise<Knex> {
  const url = options['database-url']
  const config = url === undefined ? await readKnexfile(options) : configOfUrl(url)
  const filename = (config.connection as Knex.Sqlite3ConnectionConfig | undefined)?.filename
  // SQLite would make an empty file of whatever name.
  if (command !== 'migrate' && filename !== undefined && !existsSync(filename)) {
    throw new Error('the SQLite file does not exist: check its path, or run migrate first, which creates it')
  }
  // Whatever an application does to names and rows is not meant for Knex's own tables of migrations.
  const { migrations, seeds, postProcessResponse, wrapIdentifier, ...connection } = config
  const knex = openKnex({ ...connection, log: SILENT })
  const driver = knex.client.driverName
  if (!DRIVERS.includes(driver)) throw new Error(`expected a Knex client of ${DRIVERS.join(', ')}, got ${driver}`)
  return knex
}

/** Knex logs what it throws, SQL included. */
const SILENT = { warn() {}, error() {}, deprecate() {}, debug() {} }

function openKnex(config: Knex.Config): Knex {
  try {
    return createKnex(config)
  } catch (error) {
    const driver = /npm install (\S+)/.exec((error as Error).message)?.[1]
    throw driver === undefined ? error : new Error(`the package ${driver} is missing: npm install ${driver}`)
  }
}

const SERVER_SCHEMES = ['postgres', 'postgresql', 'mysql', 'mariadb']

function configOfUrl(url: string): Knex.Config {
  const scheme = /^([a-z][a-z0-9+.-]+):/i.exec(url)?.[1]?.toLowerCase()
  if (scheme !== undefined && SERVER_SCHEMES.includes(scheme)) {
    if (!URL.canParse(url)) {
      throw new UsageError('--database-url: the URL cannot be parsed. Percent-encode /, ?, #, @ and : in the password')
    }
    return { client: scheme.startsWith('postgres') ? 'pg' : 'mysql2', connection: url }
  }
  const path = sqlitePath(scheme, url)
  if (path !== '') return { client: 'better-sqlite3', connection: { filename: path }, useNullAsDefault: true }
  throw new UsageError('--database-url: expected postgres://user@host/name, mysql://user@host/name, or a SQLite file as sqlite:PATH')
}

/** Empty when the URL names no file. */
function sqlitePath(scheme: string | undefined, url: string): string {
  if (scheme === undefined) return url
  if (scheme === 'sqlite') return url.slice('sqlite:'.length).replace(/^\/\/(?=\/)/, '')
  if (scheme !== 'file') return ''
  return url.startsWith('file:/') ? fileURLToPath(url) : url.slice('file:'.length)
}

/** As Knex's own command reads it: paths in it are relative to its folder. */
async function readKnexfile(options: Options): Promise<Knex.Config> {
  const file = resolve(options.knexfile as string)
  const environment = options.env ?? (process.env.NODE_ENV || 'development')
  if (!existsSync(file)) throw new UsageError(`--knexfile: ${file} does not exist`)
  process.chdir(dirname(file))
  const found = await loadKnexfile(file)
  const all = Object(found) as Record<string, Knex.Config>
  if (options.env !== undefined && !Object.hasOwn(all, environment)) {
    throw new UsageError(`--env: ${file} has no configuration for ${environment}`)
  }
  const config = (all[environment] ?? all) as Knex.Config
  if ('client' in config) return config
  throw new UsageError(
    `--knexfile: ${file} has no Knex configuration with a client, neither itself nor for ${environment}: choose one by --env NAME`
  )
}

async function loadKnexfile(file: string): Promise<unknown> {
  try {
    let config = await import(pathToFileURL(file).href)
    // Twice where a compiler made CommonJS of an ES module.
    while (config?.default !== undefined) config = config.default
    return typeof config === 'function' ? await config() : config
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ERR_UNKNOWN_FILE_EXTENSION') {
      throw new Error(`${file} is no JavaScript, and Node.js reads TypeScript only by a loader: set NODE_OPTIONS='--import tsx'`)
    }
    throw new Error(`${file} cannot be loaded: ${firstLine(message)}`)
  }
}

// --- errors -------------------------------------------------------------------------

/** One line that holds no SQL and nothing of the URL: in a mistyped one, parts of the password stand where the host belongs. */
function describe(error: unknown): string {
  const { name, code, message, cause } = error as DriverError
  if (error instanceof StoreUnavailable) return cause === undefined ? message : `${message} (${driverMessage(cause as DriverError)})`
  if (name === 'MigrationLocked' && message === 'Migration table is already locked') {
    return `another migration is under way. If none is, one was cut off: UPDATE ${MIGRATIONS.tableName}_lock SET is_locked = 0`
  }
  if (code === undefined) return firstLine(withoutSql(message))
  const text = driverMessage(error as DriverError)
  return text === code ? `the database cannot be reached (${code}): is it running, and are host and port right?` : text
}

type DriverError = Error & { code?: string; cause?: unknown }

/** The database's own message, with its SQLSTATE, or a code of SQLite or MySQL. Others come from the socket and name hosts: then the code. */
function driverMessage({ code, message }: DriverError): string {
  if (code === undefined) return 'no reason given'
  return /^(?:[0-9FHPX][0-9A-Z]{4}|SQLITE_\w+|ER_\w+)$/.test(code) ? firstLine(withoutSql(message)) : code
}

/** Knex puts the SQL before the driver's own message. */
function withoutSql(message: string): string {
  return message.split(' - ').at(-1) as string
}

function firstLine(message: string): string {
  return message.split('\n')[0] as string
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  const isUsage = error instanceof UsageError
  console.error(`fastify-django-sessions: ${isUsage ? error.message : describe(error)}${isUsage ? '. See --help' : ''}`)
  process.exitCode = isUsage ? 2 : 1
}
