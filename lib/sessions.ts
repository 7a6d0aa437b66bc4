/**
 * Sessions outside requests: what Django does with `SessionStore(session_key=…)` and
 * `Session.objects`. Also what the plugin makes the session of each request from.
 */
import type { Knex } from 'knex'
import { Codec, STORE_SALT } from './codec.js'
import { readCookie } from './cookies.js'
import { Database } from './database.js'
import { DRIVERS, dialectOf } from './dialect.js'
import { DbEngine } from './engines/db.js'
import type { ClearExpiredOptions, ClearExpiredReport, Engine } from './engines/engine.js'
import { InvalidOptions } from './errors.js'
import { KeyQueue } from './key-queue.js'
import { Model } from './model.js'
import { jsonSerializer, wrapSerializer } from './serializer.js'
import { Session, type SessionContext, type SessionLog } from './session.js'
import type { Settings } from './settings.js'

export class Sessions {
  readonly #context: SessionContext
  readonly #model: Model | null
  readonly #close: () => Promise<void>

  private constructor(context: SessionContext, model: Model | null, close: () => Promise<void>) {
    this.#context = context
    this.#model = model
    this.#close = close
  }

  /** @throws InvalidOptions */
  static async create(settings: Settings, log: SessionLog): Promise<Sessions> {
    const { engine: given, knex: database, clock, columns } = settings
    const serializer = settings.serializer === undefined ? jsonSerializer : wrapSerializer(settings.serializer)
    const salt = typeof given === 'string' ? STORE_SALT : (given.salt ?? STORE_SALT)
    const codec = new Codec({ ...settings, serializer, salt })
    const { knex, close } = await openKnex(database)
    const model = knex === null ? null : createModel(knex, codec, settings)
    const engine: Engine = typeof given === 'string' ? new DbEngine({ model: model as Model, clock, columns }) : given
    return new Sessions({ engine, codec, queue: new KeyQueue(), settings, log }, model, close)
  }

  /**
   * The table `django_session`: `find(key)`, and `query()` for a Knex builder.
   *
   * @throws InvalidOptions when no database was given
   */
  get model(): Model {
    if (this.#model === null) throw new InvalidOptions('- knex: expected for sessions.model, got nothing')
    return this.#model
  }

  /**
   * A session by its key, or a new one without. Nothing is loaded before `load()`, and
   * nothing is saved but by `save()`.
   */
  open(sessionKey: string | null = null, log?: SessionLog): Session {
    return new Session(log === undefined ? this.#context : { ...this.#context, log }, sessionKey)
  }

  /** The session of a browser, from its header `Cookie`: for websockets and whatever else is no Fastify request. */
  forCookie(header: string | undefined): Session {
    return this.open(readCookie(header, this.#context.settings.cookie.name))
  }

  /**
   * Removes expired sessions from the store in small batches (`manage.py clearsessions`).
   *
   * @throws StoreUnavailable
   */
  clearExpired(options?: ClearExpiredOptions): Promise<ClearExpiredReport> {
    return this.#context.engine.clearExpired(options)
  }

  /** Ends the database connections that are ours. */
  close(): Promise<void> {
    return this.#close()
  }
}

/** A Knex instance stays its owner's to destroy; one that we make of a configuration is ours. */
export async function openKnex(database: Knex | Knex.Config | undefined): Promise<{ knex: Knex | null; close: () => Promise<void> }> {
  const nothing = async () => {}
  if (database === undefined) return { knex: null, close: nothing }
  if (typeof database === 'function') return { knex: database, close: nothing }
  const { default: createKnex } = await import('knex')
  const knex = createKnex(isSqlite(database) ? tunedForSqlite(database) : database)
  return { knex, close: () => knex.destroy() }
}

function isSqlite({ client }: Knex.Config): boolean {
  return client === 'better-sqlite3'
}

type AfterCreate = (connection: unknown, done: (error: Error | null, connection: unknown) => void) => void

/**
 * Readers and one writer side by side, commits without waiting for the disk (safe but
 * for a power cut), and no waiting for locks inside SQLite, which would stop the event
 * loop: a busy database is asked again later.
 */
function tunedForSqlite(config: Knex.Config): Knex.Config {
  const own = config.pool?.afterCreate as AfterCreate | undefined
  const afterCreate: AfterCreate = (connection, done) => {
    const { pragma } = connection as { pragma(text: string): void }
    for (const setting of ['busy_timeout = 0', 'journal_mode = WAL', 'synchronous = NORMAL']) pragma.call(connection, setting)
    if (own === undefined) done(null, connection)
    else own(connection, done)
  }
  return { useNullAsDefault: true, ...config, pool: { ...config.pool, afterCreate } }
}

export function createModel(knex: Knex, codec: Codec, { storeTimeout, tableName }: Pick<Settings, 'storeTimeout' | 'tableName'>): Model {
  const driver: string = knex.client.driverName
  const dialect = dialectOf(driver)
  if (dialect === null) throw new InvalidOptions(`- knex: expected a client of ${DRIVERS.join(', ')}, got ${driver}`)
  return new Model({ database: new Database({ knex, dialect, timeout: storeTimeout }), codec, tableName })
}
