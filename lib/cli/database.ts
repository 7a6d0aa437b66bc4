/** The database of a command line, which is given by a URL or by a knexfile. */
import { existsSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { Knex } from 'knex'
import { configProblem, DRIVERS } from '../database/dialects.js'
import { createKnex } from '../database/open.js'
import type { Options } from './arguments.js'
import { CommandError, firstLine, UsageError } from './errors.js'

/** The time limit for connecting, in seconds. */
const CONNECT_TIMEOUT = 10

export interface Connected {
  knex: Knex
  /** The path of a SQLite file that does not exist yet. */
  newFile: string | null
}

/**
 * Connects to the database of a command line.
 *
 * @param createsFile whether to create a SQLite file that does not exist
 * @throws UsageError when the command line does not name a database
 * @throws CommandError when a file does not exist or cannot be loaded
 */
export async function connect(options: Options, env: NodeJS.ProcessEnv, createsFile = false): Promise<Connected> {
  const config = await configOf(options, env)
  const newFile = missingFile(config)
  if (newFile !== null && !existsSync(dirname(newFile))) {
    throw new CommandError(`the folder ${dirname(newFile)} of the SQLite file does not exist: check the path`)
  }
  // SQLite creates an empty file for any name, also for a mistyped one.
  if (!createsFile && newFile !== null) {
    throw new CommandError(`the SQLite file ${newFile} does not exist: check its path, or run migrate first, which creates it`)
  }
  // Hooks of the application that change names and rows would break Knex's own migration tables.
  const { migrations, seeds, postProcessResponse, wrapIdentifier, ...connection } = config
  const knex = await open(connection)
  const driver = knex.client.driverName
  if (!DRIVERS.includes(driver)) throw new Error(`expected a Knex client of ${DRIVERS.join(', ')}, got ${driver}`)
  return { knex, newFile }
}

const EXAMPLES: Record<string, string> = { pg: 'postgres://user@host/name', mysql2: 'mysql://user@host/name' }

/**
 * Connects to another address of the kind of server that a Knex instance is for.
 *
 * @param option its name, for errors
 * @throws UsageError
 */
export async function connectAgainst(url: string, option: string, { client }: Knex): Promise<Knex> {
  const config = serverConfig(url, option)
  if (config === null || config.client !== client.driverName)
    throw new UsageError(`${option}: expected ${EXAMPLES[client.driverName]}, as the database`)
  return open(config)
}

const open = (config: Knex.Config) => createKnex({ ...config, log: SILENT }, CONNECT_TIMEOUT)

/** Knex logs every error that it throws, with the SQL. */
const SILENT = { warn() {}, error() {}, deprecate() {}, debug() {} }

async function configOf(options: Options, env: NodeJS.ProcessEnv): Promise<Knex.Config> {
  const url = options['database-url']
  if (url !== undefined) return configOfUrl(url, '--database-url')
  if (options.knexfile !== undefined) return readKnexfile(options.knexfile, options.env, env)
  if (env.DATABASE_URL) return configOfUrl(env.DATABASE_URL, 'DATABASE_URL')
  throw new UsageError('expected the database as --database-url URL, --knexfile FILE, or DATABASE_URL in the environment')
}

/** @throws UsageError for a database in memory */
function missingFile({ connection }: Knex.Config): string | null {
  const filename = (connection as Knex.Sqlite3ConnectionConfig | undefined)?.filename
  if (filename === ':memory:') throw new UsageError('a database in memory is gone when the command ends: name a file')
  return filename === undefined || existsSync(filename) ? null : resolve(filename)
}

const SERVER_SCHEMES = ['postgres', 'postgresql', 'mysql', 'mariadb']

/** @param source the origin of the URL, for errors. They must not repeat the URL, which may hold a password. */
function configOfUrl(url: string, source: string): Knex.Config {
  const config = serverConfig(url, source)
  if (config !== null) return config
  const filename = sqlitePath(schemeOf(url), url, source)
  return { client: 'better-sqlite3', connection: { filename }, useNullAsDefault: true }
}

const schemeOf = (url: string) => /^([a-z][a-z0-9+.-]+):/i.exec(url)?.[1]?.toLowerCase() ?? ''

/** Null for a URL of no server. */
function serverConfig(url: string, source: string): Knex.Config | null {
  const scheme = schemeOf(url)
  if (!SERVER_SCHEMES.includes(scheme)) return null
  if (!isDecodable(url)) {
    throw new UsageError(`${source}: the URL cannot be parsed. Percent-encode %, /, ?, #, @ and : in the user and the password`)
  }
  return { client: scheme.startsWith('postgres') ? 'pg' : 'mysql2', connection: url }
}

function isDecodable(url: string): boolean {
  try {
    const { username, password } = new URL(url)
    decodeURIComponent(username + password)
    return true
  } catch {
    return false
  }
}

/** The path in a URL of SQLite. It begins after the third slash, as in SQLAlchemy, dj-database-url and Rails. */
function sqlitePath(scheme: string, url: string, source: string): string {
  const path = SQLITE_PATHS[scheme]?.(url) ?? ''
  if (path !== '') return path
  throw new UsageError(
    `${source}: expected postgres://user@host/name, mysql://user@host/name, or a SQLite file, as sqlite:PATH, sqlite:///relative/path or sqlite:////absolute/path`
  )
}

/**
 * Functions that read the path from a URL, by scheme. They return undefined if the URL names no file. A text without a
 * scheme is no path: it may be a mistyped URL of a server, and errors repeat a path.
 */
const SQLITE_PATHS: Record<string, (url: string) => string | undefined> = {
  sqlite: sqliteUrlPath,
  sqlite3: sqliteUrlPath,
  file(url) {
    if (!url.startsWith('file:/')) return url.slice('file:'.length)
    return isLocalFile(url) ? fileURLToPath(url) : undefined
  }
}

function sqliteUrlPath(url: string): string | undefined {
  const rest = url.slice(url.indexOf(':') + 1)
  if (!rest.startsWith('//')) return rest
  // SQLite has no hosts, which follow two slashes, and no parameters, which follow a question mark.
  const path = /^\/\/\/([^?#]+)$/.exec(rest)?.[1]
  return path?.replace(/(?:%[0-9a-f]{2})+/gi, (bytes) => Buffer.from(bytes.replaceAll('%', ''), 'hex').toString())
}

function isLocalFile(url: string): boolean {
  try {
    return fileURLToPath(url) !== ''
  } catch {
    return false
  }
}

/** Reads a knexfile as Knex's own command does: relative paths in it start at its folder. */
async function readKnexfile(file: string, name: string | undefined, env: NodeJS.ProcessEnv): Promise<Knex.Config> {
  const environment = name ?? (env.NODE_ENV || 'development')
  if (!existsSync(file)) throw new UsageError(`--knexfile: ${file} does not exist`)
  process.chdir(dirname(file))
  const found = await loadKnexfile(file)
  const all = Object(found) as Record<string, Knex.Config>
  if (name !== undefined && !Object.hasOwn(all, environment)) {
    throw new UsageError(`--env: ${file} has no configuration for ${environment}`)
  }
  const config = (all[environment] ?? all) as Knex.Config
  if ('client' in config) {
    const problem = configProblem(config)
    if (problem !== null) throw new UsageError(`--knexfile: ${problem}`)
    return config
  }
  throw new UsageError(
    `--knexfile: ${file} has no Knex configuration with a client, neither itself nor for ${environment}: choose one by --env NAME`
  )
}

async function loadKnexfile(file: string): Promise<unknown> {
  try {
    const module = await import(pathToFileURL(file).href)
    // `default.default`: an ES module that was compiled to CommonJS.
    const config = module.default?.default ?? module.default ?? module
    return typeof config === 'function' ? await config() : config
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException
    const reason = TYPESCRIPT_ERRORS[code] ?? firstLine(message)
    throw new CommandError(`${file} cannot be loaded: ${reason}`, { cause: error })
  }
}

/** Node.js 22.18 and newer can only strip types (https://nodejs.org/api/typescript.html). */
const TYPESCRIPT_ERRORS: Record<string, string> = {
  ERR_UNKNOWN_FILE_EXTENSION:
    "it is not JavaScript, and this version of Node.js needs a loader for TypeScript: set NODE_OPTIONS='--import tsx'",
  ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX: "it has TypeScript syntax for which Node.js needs a loader: set NODE_OPTIONS='--import tsx'"
}
