/**
 * The engine `cached_db`: sessions live in the database, and are read from a cache
 * (django/contrib/sessions/backends/cached_db.py). Only this engine may write the table,
 * because other writers do not invalidate the cache.
 *
 * On a cache miss, a reader puts a mark into the cache before it reads the row, and caches the row only if its mark is
 * still there. A writer replaces every other mark by its own, so that a slow reader cannot cache an old row. If a writer
 * cannot reach the cache, its process no longer uses the copy, and tries again to invalidate it. Until it can, other
 * processes use the copy, and at most until it is older than `cacheMaxAge`.
 */
import type {
  ClearExpiredOptions,
  ClearExpiredReport,
  Deadline,
  SaveResult,
  SessionLog,
  SessionRecord,
  StoredSession
} from '../contract.js'
import { deadlineIn } from '../deadline.js'
import { pause } from '../timers.js'
import type { BulkEngine } from './bulk.js'
import { CacheTime } from './cache-time.js'
import { OutdatedCopies } from './outdated-copies.js'
import { attempts, type SessionCache, type Written } from './session-cache.js'

/** Milliseconds after which invalidations that failed are tried again. */
const REPEAT_PAUSE = 1000

export interface CachedDbEngineOptions {
  db: BulkEngine
  cache: SessionCache
  /** The option `storeTimeout`, in seconds. */
  storeTimeout: number
  log: SessionLog
}

export class CachedDbEngine implements BulkEngine {
  readonly #db: BulkEngine
  readonly #cache: SessionCache
  readonly #storeTimeout: number
  readonly #log: SessionLog
  /** How long a mark stays, in seconds: longer than any operation that relies on it. */
  readonly #markTtl: number
  readonly #outdated: OutdatedCopies
  #repeating: Promise<void> | null = null

  constructor({ db, cache, storeTimeout, log }: CachedDbEngineOptions) {
    this.#db = db
    this.#cache = cache
    this.#storeTimeout = storeTimeout
    this.#log = log
    this.#markTtl = Math.ceil(2 * storeTimeout)
    // A reader that has set its mark may still write its copy for as long as the mark lives.
    this.#outdated = new OutdatedCopies(cache.maxAge + this.#markTtl)
  }

  async load(sessionKey: string, deadline: Deadline): Promise<StoredSession | null> {
    const time = this.#timeUntil(deadline)
    const found = await this.#passOver(time.spend((until) => this.#lookUp(sessionKey, until)))
    if (found?.stored) return found.stored
    const stored = await this.#db.load(sessionKey, deadline)
    const mark = found?.mark
    if (stored !== null && mark) await this.#passOver(time.spend((until) => this.#cache.replace(sessionKey, mark, stored, until)))
    return stored
  }

  async create(record: SessionRecord, deadline: Deadline): Promise<string> {
    const sessionKey = await this.#db.create(record, deadline)
    await this.#keepUp(sessionKey, this.#timeUntil(deadline), (until) => this.#cache.add(sessionKey, record, until))
    return sessionKey
  }

  async save(sessionKey: string, record: SessionRecord, snapshot: string | null, deadline: Deadline): Promise<SaveResult> {
    const time = this.#timeUntil(deadline)
    const result = await this.#orInvalidate(sessionKey, time, this.#db.save(sessionKey, record, snapshot, deadline))
    await this.#follow(sessionKey, time, snapshot, result.outcome === 'saved' ? record : null)
    return result
  }

  async saveLocked(sessionKey: string, merge: (stored: StoredSession) => SessionRecord, deadline: Deadline) {
    const time = this.#timeUntil(deadline)
    const result = await this.#orInvalidate(sessionKey, time, this.#db.saveLocked(sessionKey, merge, deadline))
    await this.#follow(sessionKey, time, null, null)
    return result
  }

  async touch(sessionKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<boolean> {
    const time = this.#timeUntil(deadline)
    const isThere = await this.#orInvalidate(sessionKey, time, this.#db.touch(sessionKey, expireDate, snapshot, deadline))
    await this.#follow(sessionKey, time, null, null)
    return isThere
  }

  /** Puts the mark first, and leaves it until the row has its new key. If the cache fails, nothing has been changed. */
  async cycleKey(sessionKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<string | null> {
    await this.#timeUntil(deadline).spend((until) => this.#invalidate(sessionKey, until))
    return this.#db.cycleKey(sessionKey, expireDate, snapshot, deadline)
  }

  /**
   * Puts a mark first, as `cycleKey` does. If neither the cache nor the database has the session,
   * it only replaces the mark of a reader that may have read the row: a mark for each forged
   * key would fill the cache.
   */
  async delete(sessionKey: string, deadline: Deadline): Promise<void> {
    const time = this.#timeUntil(deadline)
    const entry = await time.spend((until) => this.#cache.get(sessionKey, until))
    if (!entry?.stored && !(await this.#db.exists(sessionKey, deadline))) return this.#follow(sessionKey, time, null, null)
    await time.spend((until) => this.#invalidate(sessionKey, until))
    await this.#db.delete(sessionKey, deadline)
  }

  /** First the marks, as in `delete`. */
  async deleteAll(sessionKeys: readonly string[], deadline: Deadline): Promise<string[]> {
    const mark = (until: Deadline) => Promise.all(sessionKeys.map((sessionKey) => this.#invalidate(sessionKey, until)))
    await this.#timeUntil(deadline).spend(mark)
    return this.#db.deleteAll(sessionKeys, deadline)
  }

  exists(sessionKey: string, deadline: Deadline): Promise<boolean> {
    return this.#db.exists(sessionKey, deadline)
  }

  /** Deletes expired rows. Their cache entries have expired already. */
  clearExpired(options?: ClearExpiredOptions): Promise<ClearExpiredReport> {
    return this.#db.clearExpired(options)
  }

  #timeUntil(deadline: Deadline): CacheTime {
    return new CacheTime(this.#storeTimeout, deadline)
  }

  /** Returns a copy, or a new mark to be replaced by one. Returns neither if another reader or a writer has its mark there. */
  async #lookUp(sessionKey: string, deadline: Deadline): Promise<{ stored?: StoredSession | null; mark?: Written | false }> {
    if (this.#outdated.areAll) return {}
    if (this.#outdated.has(sessionKey)) {
      await this.#invalidate(sessionKey, deadline)
      return {}
    }
    const entry = await this.#cache.get(sessionKey, deadline)
    return entry === null ? { mark: await this.#cache.mark(sessionKey, null, this.#markTtl, deadline) } : { stored: entry.stored }
  }

  /** Replaces whatever is in the cache by a mark. */
  async #invalidate(sessionKey: string, deadline: Deadline): Promise<void> {
    await attempts(async () => {
      const entry = await this.#cache.get(sessionKey, deadline)
      return this.#cache.mark(sessionKey, entry, this.#markTtl, deadline)
    })
    this.#outdated.delete(sessionKey)
  }

  /** Invalidates the copy if a write fails: the database may have carried it out, or may still do so. */
  async #orInvalidate<T>(sessionKey: string, time: CacheTime, write: Promise<T>): Promise<T> {
    try {
      return await write
    } catch (error) {
      await this.#keepUp(sessionKey, time, (until) => this.#invalidate(sessionKey, until))
      throw error
    }
  }

  /** Updates the cache after a write: replaces a copy of the old text by one of the new text, and any other entry by a mark. */
  #follow(sessionKey: string, time: CacheTime, snapshot: string | null, stored: StoredSession | null): Promise<void> {
    return this.#keepUp(sessionKey, time, (until) =>
      attempts(async () => {
        const entry = await this.#cache.get(sessionKey, until)
        if (entry === null) return null
        return stored !== null && entry.stored?.sessionData === snapshot
          ? this.#cache.replace(sessionKey, entry, stored, until)
          : this.#cache.mark(sessionKey, entry, this.#markTtl, until)
      })
    )
  }

  /** Updates the cache after the database. If that fails, this process no longer uses the cache's copy of the session. */
  async #keepUp(sessionKey: string, time: CacheTime, steps: (deadline: Deadline) => Promise<unknown>): Promise<void> {
    try {
      await time.spend(steps)
      this.#outdated.delete(sessionKey)
    } catch (error) {
      this.#outdated.add(sessionKey)
      this.#warn(error)
      this.#repeating ??= this.#repeatInvalidations()
    }
  }

  /**
   * Repeats invalidations that failed, for the sake of other processes, until all have succeeded or their copies are too
   * old. It keeps no process alive.
   */
  async #repeatInvalidations(): Promise<void> {
    const rest = () => pause(REPEAT_PAUSE, undefined, { ref: false })
    while (this.#outdated.keys.length > 0) {
      await rest()
      for (const sessionKey of this.#outdated.keys) {
        const time = this.#timeUntil(deadlineIn(this.#storeTimeout))
        // That it fails was logged the first time. The cache may refuse only this session: the others have their turn.
        await time.spend((until) => this.#invalidate(sessionKey, until)).catch(rest)
      }
    }
    this.#repeating = null
  }

  /** Ignores a failing cache, except for a warning: without it reads are slower, but correct. */
  async #passOver<T>(steps: Promise<T>): Promise<T | null> {
    try {
      return await steps
    } catch (error) {
      this.#warn(error)
      return null
    }
  }

  #warn(error: unknown): void {
    this.#log.warn({ err: error }, 'The session cache failed and is passed over')
  }
}
