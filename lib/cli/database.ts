/** The database that a command line names: a URL, or a knexfile as Knex's own command reads it. */
import { existsSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import createKnex, { type Knex } from 'knex'
import { DRIVERS } from '../dialect.js'
import type { Options } from './arguments.js'
import { firstLine, UsageError } from './errors.js'

/** @throws UsageError, or an Error that says what is missing */
export async function connect(options: Options, env: NodeJS.ProcessEnv, createsFile = false): Promise<Knex> {
  const url = options['database-url']
  const config = url === undefined ? await readKnexfile(options, env) : configOfUrl(url)
  const filename = (config.connection as Knex.Sqlite3ConnectionConfig | undefined)?.filename
  // SQLite would make an empty file of whatever name.
  if (!createsFile && filename !== undefined && !existsSync(filename)) {
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
async function readKnexfile(options: Options, env: NodeJS.ProcessEnv): Promise<Knex.Config> {
  const file = resolve(options.knexfile as string)
  const environment = options.env ?? (env.NODE_ENV || 'development')
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
    const module = await import(pathToFileURL(file).href)
    // Twice where a compiler made CommonJS of an ES module.
    const config = module.default?.default ?? module.default ?? module
    return typeof config === 'function' ? await config() : config
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException
    const reason = TYPESCRIPT_ERRORS[code] ?? firstLine(message)
    throw new Error(`${file} cannot be loaded: ${reason}`, { cause: error })
  }
}

/** Node.js 22.18 and newer take the types off by themselves, and nothing else (https://nodejs.org/api/typescript.html). */
const TYPESCRIPT_ERRORS: Record<string, string> = {
  ERR_UNKNOWN_FILE_EXTENSION: "it is no JavaScript, and this Node.js reads TypeScript only by a loader: set NODE_OPTIONS='--import tsx'",
  ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX: "it holds TypeScript that Node.js reads only by a loader: set NODE_OPTIONS='--import tsx'"
}
