/** Creates the parts of `Sessions` from the options: the database, its table, and the engine. */
import type { Knex } from 'knex'
import type { Cache } from './caches/memory.js'
import type { Engine, SessionLog } from './contract.js'
import { BatchedTable } from './database/batched-table.js'
import { Connections } from './database/connections.js'
import { clientProblem, dialectOf, tuned } from './database/dialects.js'
import { ExpiredSessions } from './database/expired-sessions.js'
import { createKnex } from './database/open.js'
import { SessionModel } from './database/session-model.js'
import { SessionTable } from './database/session-table.js'
import { SettledTable } from './database/settled-table.js'
import { UserSessionsTable } from './database/user-sessions-table.js'
import { Codec, isUnreadable, STORE_SALT } from './django/codec.js'
import { jsonSerializer, wrapSerializer } from './django/serializer.js'
import type { BulkEngine } from './engines/bulk.js'
import { CacheEngine } from './engines/cache.js'
import { CachedDbEngine } from './engines/cached-db.js'
import { DbEngine } from './engines/db.js'
import { DjangoCacheEngine } from './engines/django-cache.js'
import { FileEngine } from './engines/file/engine.js'
import { makeDefaultFolder } from './engines/file/folder.js'
import { IndexedEngine } from './engines/indexed.js'
import { SessionCache } from './engines/session-cache.js'
import { COOKIE_SALT, MAX_DATA_SIZE, SignedCookiesEngine } from './engines/signed-cookies.js'
import { TracedEngine } from './engines/traced.js'
import { InvalidOptions } from './errors.js'
import { KeyedMutex } from './session/keyed-mutex.js'
import type { SessionContext } from './session/saving.js'
import { Watches, type WatchesOptions } from './session/watches.js'
import type { EngineClass, EngineName } from './settings/options.js'
import type { Settings } from './settings/settings.js'
import { checkMadeEngine, isInTable } from './settings/storage.js'
import { UserSessions } from './user-sessions/user-sessions.js'

/** The parts of `Sessions`. */
export interface Parts {
  settings: Settings
  context: SessionContext
  /** Null without a database, like the model. */
  connections: Connections | null
  model: SessionModel | null
  /** Null without the option. */
  userSessions: UserSessions | null
  close(): Promise<void>
}

/** @throws InvalidOptions */
export async function assemble(settings: Settings, log: SessionLog): Promise<Parts> {
  const serializer = settings.serializer === undefined ? jsonSerializer : wrapSerializer(settings.serializer)
  const salt = saltOf(settings.engine) ?? STORE_SALT
  const codec = new Codec({ ...settings, serializer, salt, maxSize: maxSizeOf(settings) })
  const { knex, close } = await openKnex(settings.knex, settings.storeTimeout)
  try {
    const table = knex === null ? null : createTable(knex, settings, log)
    const store = createEngine({ settings, codec, table, log })
    const { engine: made, userSessionsTable } = withUserSessions(store, { settings, table, log })
    const engine = new TracedEngine({ engine: made, name: settings.engine, secretKey: settings.secretKey })
    const watches = new Watches({ context: { codec, settings, log }, find: finderOf(settings, table, engine) })
    const context = { engine, keepsDeadlines: store instanceof DbEngine, codec, mutex: new KeyedMutex(), settings, log, watches }
    const model = table && new SessionModel(table, codec)
    const userSessions =
      settings.userSessions && userSessionsTable
        ? new UserSessions({ ...settings.userSessions, context, table: userSessionsTable, bulk: made as BulkEngine })
        : null
    return { settings, context, connections: table?.connections ?? null, model, userSessions, close }
  } catch (error) {
    await close()
    throw error
  }
}

/**
 * The longest time limit of connecting, in seconds. A server that accepts a connection but never answers must leave an operation
 * time for the server that takes its place.
 */
const LONGEST_CONNECT = 2

/** Opens a database for operations of `timeout` seconds. `close` destroys a Knex instance that was created here from a configuration, but not one of the application. */
export async function openKnex(
  database: Knex | Knex.Config | undefined,
  timeout: number
): Promise<{ knex: Knex | null; close: () => Promise<void> }> {
  const nothing = async () => {}
  if (database === undefined) return { knex: null, close: nothing }
  if (typeof database === 'function') return { knex: database, close: nothing }
  const knex = await createKnex(tuned(database), Math.min(timeout / 3, LONGEST_CONNECT))
  return { knex, close: () => knex.destroy() }
}

type ConnectionSettings = Pick<Settings, 'storeTimeout' | 'preparedStatements'>

/** @throws InvalidOptions */
export function createConnections(
  knex: Knex,
  { storeTimeout: timeout, preparedStatements }: ConnectionSettings,
  log?: SessionLog
): Connections {
  const driver: string = knex.client.driverName
  const dialect = dialectOf(driver)
  if (dialect === null) throw new InvalidOptions(`- knex.client: ${clientProblem(driver)}`)
  return new Connections({ knex, dialect, timeout, preparedStatements, log })
}

/** @throws InvalidOptions */
export function createTable(knex: Knex, settings: ConnectionSettings & Pick<Settings, 'tableName'>, log: SessionLog): SessionTable {
  return new SessionTable({ connections: createConnections(knex, settings, log), tableName: settings.tableName })
}

/** Creates the engine `db` on a table. */
export function createDb(table: SessionTable, { batching, clock, columns }: Pick<Settings, 'batching' | 'clock' | 'columns'>): DbEngine {
  const batches = batching && table.connections.dialect.canBatch
  const rows = new SettledTable(batches ? new BatchedTable(table) : table, table)
  return new DbEngine({ table, rows, expired: new ExpiredSessions(table), clock, columns })
}

/** Returns a function that finds many sessions: with one statement if they are in a table, otherwise one by one. */
function finderOf({ engine: name, clock }: Settings, table: SessionTable | null, engine: Engine): WatchesOptions['find'] {
  if (table !== null && isInTable(name)) {
    return (sessionKeys, deadline) => table.findAllLive(sessionKeys, clock(), deadline)
  }
  // One that cannot be read must not keep the others from being found.
  const none = (error: unknown) => {
    if (isUnreadable(error)) return null
    throw error
  }
  return async (sessionKeys, deadline) => {
    const stored = await Promise.all(sessionKeys.map((sessionKey) => engine.load(sessionKey, deadline).catch(none)))
    return new Map(sessionKeys.flatMap((sessionKey, index) => (stored[index] ? [[sessionKey, stored[index]]] : [])))
  }
}

// --- engines by name ---------------------------------------------------------------

interface EngineParts {
  settings: Settings
  codec: Codec
  /** Null without a database. The check of the options makes sure that `db` and `cached_db` have one. */
  table: SessionTable | null
  log: SessionLog
}

const factories: Record<EngineName, (parts: EngineParts) => Engine> = {
  db(parts) {
    const db = createDbOf(parts)
    const { djangoCache } = parts.settings
    return djangoCache === undefined ? db : new DjangoCacheEngine({ ...parts.settings, db, djangoCache, log: parts.log })
  },
  cached_db(parts) {
    const { storeTimeout, cacheMaxAge } = parts.settings
    const cache = createSessionCache(parts, 'cached_db', cacheMaxAge)
    return new CachedDbEngine({ db: createDbOf(parts), cache, storeTimeout, log: parts.log })
  },
  cache: (parts) => new CacheEngine(createSessionCache(parts, 'cache')),
  file: ({ settings, codec }) => {
    const { filePath = makeDefaultFolder(), cookie, cookieAge, timeouts, maxSize, clock } = settings
    return new FileEngine({ folder: filePath, cookieName: cookie.name, cookieAge, idle: timeouts.idle, maxSize, codec, clock })
  },
  signed_cookies: ({ settings: { cookie, cookieAge, timeouts, clock }, codec }) =>
    new SignedCookiesEngine({ codec, cookieName: cookie.name, cookieAge, idle: timeouts.idle, clock })
}

function createEngine(parts: EngineParts): Engine {
  const { engine, clock } = parts.settings
  if (typeof engine === 'string') return factories[engine](parts)
  return typeof engine === 'function' ? createOwn(engine, clock) : engine
}

/** The engine, which with the option `userSessions` keeps up a table beside that of the sessions. */
function withUserSessions(engine: Engine, { settings, table, log }: Omit<EngineParts, 'codec'>) {
  if (!settings.userSessions || table === null) return { engine, userSessionsTable: null }
  claimUserSessions(table)
  const userSessionsTable = new UserSessionsTable(table)
  // The option is checked to come with an engine on a table.
  return { engine: new IndexedEngine({ engine: engine as BulkEngine, index: userSessionsTable, log }), userSessionsTable }
}

/** The table of sessions that the table of user sessions is about, by database. */
const claims = new WeakMap<Knex, string>()

/**
 * Refuses a second table of sessions: each would take the entries of the other for those of ended sessions.
 *
 * @throws InvalidOptions
 */
function claimUserSessions({ connections: { knex }, tableName }: SessionTable): void {
  const claimed = claims.get(knex) ?? tableName
  if (claimed !== tableName) {
    const other = `userSessions serves the sessions of one table, and those of ${JSON.stringify(claimed)} in this database have it`
    throw new InvalidOptions(`- tableName: expected ${JSON.stringify(claimed)}, got ${JSON.stringify(tableName)}: ${other}`)
  }
  claims.set(knex, tableName)
}

/** @throws InvalidOptions, or what the constructor throws */
function createOwn(engineClass: EngineClass, clock: () => Date): Engine {
  const engine = new engineClass({ clock })
  checkMadeEngine(engine, engineClass)
  return engine
}

/** The salt of an engine, which must be known before the engine is created. */
function saltOf(engine: Settings['engine']): string | undefined {
  if (engine === 'signed_cookies') return COOKIE_SALT
  return typeof engine === 'string' ? undefined : engine.salt
}

/** The option `maxSize`, limited for `signed_cookies`: a cookie, which any client can send, must not inflate to more. */
function maxSizeOf({ engine, maxSize }: Settings): number {
  return engine === 'signed_cookies' ? Math.min(maxSize, MAX_DATA_SIZE) : maxSize
}

const createDbOf = ({ settings, table }: EngineParts) => createDb(table as SessionTable, settings)

/** Creates a session cache. Its prefix is Django's (`cache_key_prefix`) after one of ours, because the entries are not in Django's format. */
function createSessionCache({ settings }: EngineParts, name: string, maxAge?: number): SessionCache {
  return new SessionCache({
    cache: settings.cache as Cache,
    // The last colon separates `cache` from `cached_db`: what follows comes from a cookie.
    prefix: `fastify:django.contrib.sessions.${name}:`,
    clock: settings.clock,
    maxAge
  })
}
