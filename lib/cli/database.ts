/** The database that a command line names: a URL, or a knexfile as Knex's own command reads it. */
import { existsSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { Knex } from 'knex'
import { clientProblem, DRIVERS } from '../database/dialects.js'
import { createKnex } from '../database/open.js'
import type { Options } from './arguments.js'
import { CommandError, firstLine, UsageError } from './errors.js'

/** Seconds. */
const CONNECT_TIMEOUT = 10

export interface Connected {
  knex: Knex
  /** The path of a SQLite file that does not exist yet. */
  newFile: string | null
}

/**
 * @param createsFile whether a SQLite file that does not exist is created
 * @throws UsageError, or an Error that says what is missing
 */
export async function connect(options: Options, env: NodeJS.ProcessEnv, createsFile = false): Promise<Connected> {
  const config = await configOf(options, env)
  const newFile = missingFile(config)
  // SQLite would make an empty file of whatever name.
  if (!createsFile && newFile !== null) {
    throw new CommandError(`the SQLite file ${newFile} does not exist: check its path, or run migrate first, which creates it`)
  }
  // The application's changes of names and rows are not meant for Knex's own tables of migrations.
  const { migrations, seeds, postProcessResponse, wrapIdentifier, ...connection } = config
  const knex = await createKnex({ ...connection, log: SILENT }, CONNECT_TIMEOUT)
  const driver = knex.client.driverName
  if (!DRIVERS.includes(driver)) throw new Error(`expected a Knex client of ${DRIVERS.join(', ')}, got ${driver}`)
  return { knex, newFile }
}

/** Knex logs what it throws, SQL included. */
const SILENT = { warn() {}, error() {}, deprecate() {}, debug() {} }

async function configOf(options: Options, env: NodeJS.ProcessEnv): Promise<Knex.Config> {
  const url = options['database-url']
  if (url !== undefined) return configOfUrl(url, '--database-url')
  if (options.knexfile !== undefined) return readKnexfile(options.knexfile, options.env, env)
  if (env.DATABASE_URL) return configOfUrl(env.DATABASE_URL, 'DATABASE_URL')
  throw new UsageError('expected the database as --database-url URL, --knexfile FILE, or DATABASE_URL in the environment')
}

function missingFile({ connection }: Knex.Config): string | null {
  const filename = (connection as Knex.Sqlite3ConnectionConfig | undefined)?.filename
  return filename === undefined || existsSync(filename) ? null : resolve(filename)
}

const SERVER_SCHEMES = ['postgres', 'postgresql', 'mysql', 'mariadb']

/** @param source where the URL comes from, for errors: they repeat none of it, since it may hold a password */
function configOfUrl(url: string, source: string): Knex.Config {
  const scheme = /^([a-z][a-z0-9+.-]+):/i.exec(url)?.[1]?.toLowerCase()
  if (scheme !== undefined && SERVER_SCHEMES.includes(scheme)) {
    if (!isDecodable(url)) {
      throw new UsageError(`${source}: the URL cannot be parsed. Percent-encode %, /, ?, #, @ and : in the user and the password`)
    }
    return { client: scheme.startsWith('postgres') ? 'pg' : 'mysql2', connection: url }
  }
  const filename = sqlitePath(scheme, url, source)
  return { client: 'better-sqlite3', connection: { filename }, useNullAsDefault: true }
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

/** As SQLAlchemy, dj-database-url and Rails read it: what follows the third slash is the path. */
function sqlitePath(scheme: string | undefined, url: string, source: string): string {
  const path = SQLITE_PATHS[scheme ?? '']?.(url) ?? ''
  if (path === ':memory:') throw new UsageError(`${source}: a database in memory is gone when the command ends, name a file`)
  if (path !== '') return path
  throw new UsageError(
    `${source}: expected postgres://user@host/name, mysql://user@host/name, or a SQLite file, as sqlite:PATH, sqlite:///relative/path or sqlite:////absolute/path`
  )
}

/** By the scheme of the URL; '' for none. They return nothing where no file is named. */
const SQLITE_PATHS: Record<string, (url: string) => string | undefined> = {
  // Something like a login is a URL of a server that was mistyped, not a path to repeat in an answer.
  '': (url) => (/:.*@/.test(url) ? undefined : url),
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
  // Two slashes introduce a host, and a question mark parameters: SQLite has neither.
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

/** As Knex's own command reads it: paths in it are relative to its folder. */
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
    const problem = clientProblem(config.client)
    if (problem !== null) throw new UsageError(`--knexfile: client: ${problem}`)
    return config
  }
  throw new UsageError(
    `--knexfile: ${file} has no Knex configuration with a client, neither itself nor for ${environment}: choose one by --env NAME`
  )
}

async function loadKnexfile(file: string): Promise<unknown> {
  try {
    const module = await import(pathToFileURL(file).href)
    // Twice where a compiler made CommonJS of an ES module.
    const config = module.default?.default ?? module.default ?? module
    return typeof config === 'function' ? await config() : config
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException
    const reason = TYPESCRIPT_ERRORS[code] ?? firstLine(message)
    throw new CommandError(`${file} cannot be loaded: ${reason}`, { cause: error })
  }
}

/** Node.js 22.18 and newer take the types off by themselves, and nothing else (https://nodejs.org/api/typescript.html). */
const TYPESCRIPT_ERRORS: Record<string, string> = {
  ERR_UNKNOWN_FILE_EXTENSION: "it is no JavaScript, and this Node.js reads TypeScript only by a loader: set NODE_OPTIONS='--import tsx'",
  ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX: "it holds TypeScript that Node.js reads only by a loader: set NODE_OPTIONS='--import tsx'"
}
