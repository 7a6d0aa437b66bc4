/**
 * Sessions outside requests: what Django does with `SessionStore(session_key=…)` and
 * `Session.objects`. Also what the plugin makes the session of each request from.
 */
import type { Knex } from 'knex'
import type { Cache } from './caches/memory.js'
import type { ClearExpiredOptions, ClearExpiredReport, Engine, SessionLog } from './contract.js'
import { Database } from './database/connections.js'
import { clientProblem, dialectOf, tuned } from './database/dialects.js'
import { createKnex } from './database/open.js'
import { Model } from './database/table.js'
import { verifyTable } from './database/verification.js'
import { deadlineIn, withDeadline } from './deadline.js'
import { Codec, STORE_SALT } from './django/codec.js'
import { readCookie } from './django/cookie-header.js'
import { isSessionKey } from './django/keys.js'
import { jsonSerializer, wrapSerializer } from './django/serializer.js'
import { saltedHmac } from './django/signing.js'
import { CacheEngine } from './engines/cache.js'
import { CachedDbEngine } from './engines/cached-db.js'
import { DbEngine } from './engines/db.js'
import { DjangoCacheEngine } from './engines/django-cache.js'
import { FileEngine } from './engines/file.js'
import { makeDefaultFolder } from './engines/folder.js'
import { SessionCache } from './engines/session-cache.js'
import { COOKIE_SALT, MAX_DATA_SIZE, SignedCookiesEngine } from './engines/signed-cookies.js'
import { InvalidOptions, StoreRefused, StoreUnavailable } from './errors.js'
import { CompatSession as Session } from './session/compat.js'
import { KeyQueue } from './session/key-queue.js'
import type { SessionContext } from './session/saving.js'
import { checkClearExpired, checkMadeEngine, type EngineClass, type EngineName, type Settings } from './settings/settings.js'

/** Seconds for which `verify()` holds up the start of an application. */
const VERIFY_TIMEOUT = 1

/** Everything that `Sessions` is made from. */
interface Parts {
  settings: Settings
  context: SessionContext
  /** Null without a database, as the model. */
  database: Database | null
  model: Model | null
  close(): Promise<void>
}

/** Sessions outside requests: `fastify.sessions`. */
export class Sessions {
  readonly #settings: Settings
  readonly #context: SessionContext
  readonly #database: Database | null
  readonly #model: Model | null
  readonly #close: () => Promise<void>

  private constructor({ settings, context, database, model, close }: Parts) {
    this.#settings = settings
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
      return new Sessions({ settings, context, database, model, close })
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
    const { engine, tableName } = this.#settings
    if (this.#database === null || (engine !== 'db' && engine !== 'cached_db')) return
    const overdue = () => new StoreUnavailable(`no answer within ${VERIFY_TIMEOUT} second`)
    try {
      await withDeadline(verifyTable(this.#database, tableName), deadlineIn(VERIFY_TIMEOUT), overdue)
    } catch (error) {
      if (!(error instanceof StoreUnavailable || error instanceof StoreRefused)) throw error
      this.#context.log.warn({ err: error }, 'The table of sessions was not verified: the application starts without its database')
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
    return this.#settings.cookie.name
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
    const { secretKey, secretKeyFallbacks } = this.#settings
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

// --- engines by name ---------------------------------------------------------------

interface EngineParts {
  settings: Settings
  codec: Codec
  /** Null where no database was given, which is checked with the options. */
  model: Model | null
  log: SessionLog
}

const factories: Record<EngineName, (parts: EngineParts) => Engine> = {
  db(parts) {
    const db = createDb(parts)
    const { djangoCache } = parts.settings
    return djangoCache === undefined ? db : new DjangoCacheEngine({ db, djangoCache, timeout: parts.settings.storeTimeout, log: parts.log })
  },
  // The cache gets a part of the time only, so that the database can still answer when it hangs.
  cached_db: (parts) =>
    new CachedDbEngine({
      db: createDb(parts),
      cache: createSessionCache(parts, 'cached_db', parts.settings.storeTimeout / 5),
      log: parts.log
    }),
  cache: (parts) => new CacheEngine(createSessionCache(parts, 'cache', parts.settings.storeTimeout)),
  file: ({ settings, codec }) => {
    const { filePath = makeDefaultFolder(), cookie, cookieAge, maxSize, clock, storeTimeout } = settings
    return new FileEngine({ folder: filePath, cookieName: cookie.name, cookieAge, maxSize, codec, clock, timeout: storeTimeout })
  },
  signed_cookies: ({ settings: { cookie, cookieAge, clock }, codec }) =>
    new SignedCookiesEngine({ codec, cookieName: cookie.name, cookieAge, clock })
}

function createEngine(parts: EngineParts): Engine {
  const { engine, clock } = parts.settings
  if (typeof engine === 'string') return factories[engine](parts)
  return typeof engine === 'function' ? createOwn(engine, clock) : engine
}

/** @throws InvalidOptions, or what the constructor throws */
function createOwn(engineClass: EngineClass, clock: () => Date): Engine {
  const engine = new engineClass({ clock })
  checkMadeEngine(engine, engineClass)
  return engine
}

/** The salt of what an engine stores, where it is known before the engine is made. */
function saltOf(engine: Settings['engine']): string | undefined {
  if (engine === 'signed_cookies') return COOKIE_SALT
  return typeof engine === 'string' ? undefined : engine.salt
}

/** The option `maxSize`, or less: what comes with every request must not inflate to more than a cookie is for. */
function maxSizeOf({ engine, maxSize }: Settings): number {
  return engine === 'signed_cookies' ? Math.min(maxSize, MAX_DATA_SIZE) : maxSize
}

function createDb({ settings, model }: EngineParts): DbEngine {
  return new DbEngine({ model: model as Model, clock: settings.clock, columns: settings.columns })
}

/** With the prefix of Django's own keys (`cache_key_prefix`), after one of ours: the entries are not Django's. */
function createSessionCache({ settings }: EngineParts, name: string, timeout: number): SessionCache {
  return new SessionCache({
    cache: settings.cache as Cache,
    // The last colon keeps apart names of which one begins with the other: cookies contain what follows.
    prefix: `fastify:django.contrib.sessions.${name}:`,
    clock: settings.clock,
    timeout
  })
}
