/**
 * For a table that Django's `cached_db` reads through its cache: takes what we change
 * out of that cache. A Django request that read the row just before may fill it again,
 * which only Django could prevent: hence once more some seconds later.
 */
import type { ClearExpiredOptions, Deadline, Engine, SaveResult, SessionLog, SessionRecord, StoredSession } from '../contract.js'
import { deadlineIn, withDeadline } from '../deadline.js'
import { StoreUnavailable } from '../errors.js'
import { setTimeout } from '../timers.js'

/** The prefix of Django's `cached_db` for session keys (its `cache_key_prefix`). */
const CACHE_KEY_PREFIX = 'django.contrib.sessions.cached_db'

/** The option `djangoCache`: how to reach the cache of Django's `cached_db`. */
export interface DjangoCache {
  /** Deletes a key of Django's cache: `(key) => redis.del(key)`, or a row of its database cache. */
  delete(key: string): Promise<unknown>
  /** `KEY_PREFIX` of the cache in Django's settings. @default '' */
  keyPrefix?: string
  /** `VERSION` of the cache in Django's settings. @default 1 */
  version?: number
  /** Seconds after which an entry is deleted once more. @default 3 */
  deleteAgainAfter?: number
}

export interface DjangoCacheEngineOptions {
  db: Engine
  djangoCache: DjangoCache
  /** Seconds until an answer of the cache is overdue. */
  timeout: number
  log: SessionLog
}

export class DjangoCacheEngine implements Engine {
  readonly #db: Engine
  readonly #djangoCache: DjangoCache
  readonly #timeout: number
  readonly #log: SessionLog

  constructor({ db, djangoCache, timeout, log }: DjangoCacheEngineOptions) {
    this.#timeout = timeout
    this.#db = db
    this.#djangoCache = djangoCache
    this.#log = log
  }

  load(sessionKey: string, deadline: Deadline): Promise<StoredSession | null> {
    return this.#db.load(sessionKey, deadline)
  }

  create(record: SessionRecord, deadline: Deadline): Promise<string> {
    return this.#db.create(record, deadline)
  }

  async save(sessionKey: string, record: SessionRecord, snapshot: string | null, deadline: Deadline): Promise<SaveResult> {
    return this.#followed(sessionKey, this.#db.save(sessionKey, record, snapshot, deadline))
  }

  async saveLocked(sessionKey: string, merge: (stored: StoredSession) => SessionRecord, deadline: Deadline) {
    return this.#followed(sessionKey, this.#db.saveLocked(sessionKey, merge, deadline))
  }

  /** Django's entry has the same data and ends by itself, a little early. */
  touch(sessionKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<boolean> {
    return this.#db.touch(sessionKey, expireDate, snapshot, deadline)
  }

  /** When Django's cache fails here nothing has happened yet. */
  async cycleKey(sessionKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<string | null> {
    await this.#delete(sessionKey)
    return this.#followed(sessionKey, this.#db.cycleKey(sessionKey, expireDate, snapshot, deadline))
  }

  /** As in `cycleKey`. */
  async delete(sessionKey: string, deadline: Deadline): Promise<void> {
    await this.#delete(sessionKey)
    await this.#followed(sessionKey, this.#db.delete(sessionKey, deadline))
  }

  exists(sessionKey: string, deadline: Deadline): Promise<boolean> {
    return this.#db.exists(sessionKey, deadline)
  }

  clearExpired(options?: ClearExpiredOptions) {
    return this.#db.clearExpired(options)
  }

  /** A write that failed may have been carried out all the same. */
  async #followed<T>(sessionKey: string, write: Promise<T>): Promise<T> {
    try {
      return await write
    } finally {
      await this.#followUp(sessionKey)
    }
  }

  /** Now and once more later; the database has the truth, so that a failure is logged and no more. */
  async #followUp(sessionKey: string): Promise<void> {
    const deleteAndLog = () =>
      this.#delete(sessionKey).catch((error) => this.#log.warn({ err: error }, "Django's session cache keeps an entry that has changed"))
    await deleteAndLog()
    setTimeout(deleteAndLog, (this.#djangoCache.deleteAgainAfter ?? 3) * 1000).unref()
  }

  async #delete(sessionKey: string): Promise<void> {
    const { keyPrefix = '', version = 1 } = this.#djangoCache
    try {
      const deleted = this.#djangoCache.delete(`${keyPrefix}:${version}:${CACHE_KEY_PREFIX}${sessionKey}`)
      const overdue = () => new StoreUnavailable(`no answer of Django's cache within ${this.#timeout} seconds`)
      // A cache in this process may delete at once.
      await withDeadline(Promise.resolve(deleted), deadlineIn(this.#timeout), overdue)
    } catch (error) {
      if (error instanceof StoreUnavailable) throw error
      // Clients put commands with keys into their messages.
      throw new StoreUnavailable(`Django's cache failed (${(error as NodeJS.ErrnoException).code ?? (error as Error).name})`)
    }
  }
}
