/**
 * For a table that Django's `cached_db` reads through its cache: deletes changed sessions
 * from that cache. A Django request that read the row just before may put the old session
 * back, so that it is deleted once more some seconds later.
 */
import { cacheFailure } from '../caches/failure.js'
import type { ClearExpiredOptions, Deadline, SaveResult, SessionLog, SessionRecord, StoredSession } from '../contract.js'
import { deadlineIn, hasPassed, withDeadline } from '../deadline.js'
import { StoreUnavailable } from '../errors.js'
import { setTimeout } from '../timers.js'
import type { BulkEngine } from './bulk.js'
import { CacheTime } from './cache-time.js'

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
  db: BulkEngine
  djangoCache: DjangoCache
  /** The option `storeTimeout`, in seconds. */
  storeTimeout: number
  log: SessionLog
}

export class DjangoCacheEngine implements BulkEngine {
  readonly #db: BulkEngine
  readonly #djangoCache: DjangoCache
  readonly #storeTimeout: number
  readonly #log: SessionLog

  constructor({ db, djangoCache, storeTimeout, log }: DjangoCacheEngineOptions) {
    this.#storeTimeout = storeTimeout
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

  save(sessionKey: string, record: SessionRecord, snapshot: string | null, deadline: Deadline): Promise<SaveResult> {
    return this.#followed([sessionKey], this.#timeUntil(deadline), this.#db.save(sessionKey, record, snapshot, deadline))
  }

  saveLocked(sessionKey: string, merge: (stored: StoredSession) => SessionRecord, deadline: Deadline) {
    return this.#followed([sessionKey], this.#timeUntil(deadline), this.#db.saveLocked(sessionKey, merge, deadline))
  }

  /** Leaves Django's entry, which has the same data. It only ends a little early. */
  touch(sessionKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<boolean> {
    return this.#db.touch(sessionKey, expireDate, snapshot, deadline)
  }

  /** Deletes the entry first: if Django's cache fails, nothing has been changed. */
  async cycleKey(sessionKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<string | null> {
    const time = this.#timeUntil(deadline)
    await this.#delete([sessionKey], time)
    return this.#followed([sessionKey], time, this.#db.cycleKey(sessionKey, expireDate, snapshot, deadline))
  }

  /** As in `cycleKey`. */
  async delete(sessionKey: string, deadline: Deadline): Promise<void> {
    const time = this.#timeUntil(deadline)
    await this.#delete([sessionKey], time)
    await this.#followed([sessionKey], time, this.#db.delete(sessionKey, deadline))
  }

  /** As in `cycleKey`. */
  async deleteAll(sessionKeys: readonly string[], deadline: Deadline): Promise<string[]> {
    const time = this.#timeUntil(deadline)
    await this.#delete(sessionKeys, time)
    return this.#followed(sessionKeys, time, this.#db.deleteAll(sessionKeys, deadline))
  }

  exists(sessionKey: string, deadline: Deadline): Promise<boolean> {
    return this.#db.exists(sessionKey, deadline)
  }

  clearExpired(options?: ClearExpiredOptions) {
    return this.#db.clearExpired(options)
  }

  #timeUntil(deadline: Deadline): CacheTime {
    return new CacheTime(this.#storeTimeout, deadline)
  }

  /** Deletes the entries after a write, also a failed one, which the database may have carried out. */
  async #followed<T>(sessionKeys: readonly string[], time: CacheTime, write: Promise<T>): Promise<T> {
    try {
      return await write
    } finally {
      await this.#followUp(sessionKeys, time)
    }
  }

  /** Deletes the entries now and once more later. Only logs failures, because the write itself has ended. */
  async #followUp(sessionKeys: readonly string[], time: CacheTime): Promise<void> {
    const deleteAndLog = (time: CacheTime) =>
      this.#delete(sessionKeys, time).catch((error) =>
        this.#log.warn({ err: error }, "Django's session cache keeps an entry that has changed")
      )
    await deleteAndLog(time)
    const deleteAgain = () => deleteAndLog(this.#timeUntil(deadlineIn(this.#storeTimeout)))
    setTimeout(deleteAgain, (this.#djangoCache.deleteAgainAfter ?? 3) * 1000).unref()
  }

  async #delete(sessionKeys: readonly string[], time: CacheTime): Promise<void> {
    const { keyPrefix = '', version = 1 } = this.#djangoCache
    const timedOut = () => new StoreUnavailable("Django's cache did not answer in time")
    const deleteOne = async (sessionKey: string, deadline: Deadline) => {
      if (hasPassed(deadline)) throw timedOut()
      try {
        const deleted = this.#djangoCache.delete(`${keyPrefix}:${version}:${CACHE_KEY_PREFIX}${sessionKey}`)
        // A cache in this process may delete at once.
        await withDeadline(Promise.resolve(deleted), deadline, timedOut)
      } catch (error) {
        throw error instanceof StoreUnavailable ? error : cacheFailure("Django's cache", error)
      }
    }
    await time.spend((deadline) => Promise.all(sessionKeys.map((sessionKey) => deleteOne(sessionKey, deadline))))
  }
}
