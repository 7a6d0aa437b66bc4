/**
 * Sessions outside requests: what Django does with `SessionStore(session_key=…)` and
 * `Session.objects`. Also what the plugin makes the session of each request from.
 */
import type { Knex } from 'knex'
import { Codec, STORE_SALT } from './codec.js'
import { readCookie } from './cookies.js'
import { createKnex } from './database/open.js'
import { verifyTable } from './database/verification.js'
import { Database } from './database.js'
import { clientProblem, dialectOf, tuned } from './dialect.js'
import type { ClearExpiredOptions, ClearExpiredReport, SessionLog } from './engines/engine.js'
import { createEngine, maxSizeOf, saltOf } from './engines/index.js'
import { InvalidOptions, StoreRefused, StoreUnavailable } from './errors.js'
import { KeyQueue } from './key-queue.js'
import { Model } from './model.js'
import type { SessionContext } from './saving.js'
import { jsonSerializer, wrapSerializer } from './serializer.js'
import { CompatSession as Session } from './session/compat.js'
import { isSessionKey } from './session-key.js'
import { checkClearExpired, type Settings } from './settings.js'
import { saltedHmac } from './signing.js'
import { within } from './within.js'

/** Seconds for which `verify()` holds up the start of an application. */
const VERIFY_TIMEOUT = 1

/** Everything that `Sessions` is made from. */
interface Parts {
  context: SessionContext
  /** Null without a database, as the model. */
  database: Database | null
  model: Model | null
  close(): Promise<void>
}

/** Sessions outside requests: `fastify.sessions`. */
export class Sessions {
  readonly #context: SessionContext
  readonly #database: Database | null
  readonly #model: Model | null
  readonly #close: () => Promise<void>

  private constructor({ context, database, model, close }: Parts) {
    this.#context = context
    this.#database = database
    this.#model = model
    this.#close = close
  }

  /** @throws InvalidOptions */
  static async create(settings: Settings, log: SessionLog): Promise<Sessions> {
    const serializer = settings.serializer === undefined ? jsonSerializer : wrapSerializer(settings.serializer)
    const salt = saltOf(settings.engine) ?? STORE_SALT
    const codec = new Codec({ ...settings, serializer, salt, maxSize: maxSizeOf(settings) })
    const { knex, close } = await openKnex(settings.knex)
    try {
      const database = knex === null ? null : createDatabase(knex, settings)
      const model = database === null ? null : new Model({ ...settings, database, codec })
      const engine = createEngine({ settings, codec, model, log })
      const context = { engine, codec, queue: new KeyQueue(settings.storeTimeout), settings, log }
      return new Sessions({ context, database, model, close })
    } catch (error) {
      await close()
      throw error
    }
  }

  /**
   * Looks whether the engine's table and its columns exist, with one query. A database that does not
   * answer within a second is a warning in the log, since an application may start before its database.
   * Engines without a table have nothing to verify.
   *
   * @throws TableMismatch
   */
  async verify(): Promise<void> {
    const { settings, log } = this.#context
    if (this.#database === null || (settings.engine !== 'db' && settings.engine !== 'cached_db')) return
    const overdue = () => new StoreUnavailable(`no answer within ${VERIFY_TIMEOUT} second`)
    try {
      await within(verifyTable(this.#database, settings.tableName), VERIFY_TIMEOUT, overdue)
    } catch (error) {
      if (!(error instanceof StoreUnavailable || error instanceof StoreRefused)) throw error
      log.warn({ err: error }, 'The table of sessions was not verified: the application starts without its database')
    }
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

  /** The option `cookie.name`. */
  get cookieName(): string {
    return this.#context.settings.cookie.name
  }

  /**
   * A session by its key, or a new one without. Nothing is loaded before `load()`, and
   * nothing is saved but by `save()`.
   */
  open(sessionKey: string | null = null, log?: SessionLog): Session {
    return new Session(this.#context, sessionKey, log)
  }

  /** Whether text from a cookie is worth a look into the store. */
  couldBeKey(text: string): boolean {
    return isSessionKey(text, this.#context.engine.keyIsData)
  }

  /** The session of a browser, from its header `Cookie`: for websockets and whatever else is no Fastify request. */
  forCookie(header: string | undefined): Session {
    return this.open(readCookie(header, this.cookieName))
  }

  /**
   * The HMAC-SHA256 of a text by the secret key, then by each of its fallbacks: for what
   * Django signs without a timestamp, by callers who are not to hold the key
   * (django.utils.crypto.salted_hmac).
   *
   * @param keySalt the namespace of the signature
   */
  saltedHmacs(keySalt: string, text: string): [Buffer, ...Buffer[]] {
    const { secretKey, secretKeyFallbacks } = this.#context.settings
    const hmac = (secret: string) => saltedHmac(keySalt, text, secret)
    return [hmac(secretKey), ...secretKeyFallbacks.map(hmac)]
  }

  /**
   * Removes expired sessions from the store in small batches (`manage.py clearsessions`).
   *
   * @throws InvalidOptions, StoreUnavailable
   */
  async clearExpired(options: ClearExpiredOptions = {}): Promise<ClearExpiredReport> {
    checkClearExpired(options)
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
  const knex = await createKnex(tuned(database))
  return { knex, close: () => knex.destroy() }
}

type DatabaseSettings = Pick<Settings, 'storeTimeout' | 'preparedStatements'>

/** @throws InvalidOptions */
export function createDatabase(knex: Knex, { storeTimeout: timeout, preparedStatements }: DatabaseSettings): Database {
  const driver: string = knex.client.driverName
  const dialect = dialectOf(driver)
  if (dialect === null) throw new InvalidOptions(`- knex.client: ${clientProblem(driver)}`)
  return new Database({ knex, dialect, timeout, preparedStatements })
}

/** @throws InvalidOptions */
export function createModel(knex: Knex, codec: Codec, settings: DatabaseSettings & Pick<Settings, 'tableName' | 'batching'>): Model {
  return new Model({ ...settings, database: createDatabase(knex, settings), codec })
}
