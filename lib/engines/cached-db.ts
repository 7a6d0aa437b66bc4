/**
 * The engine `cached_db`: sessions live in the database, and are read from a cache
 * (django/contrib/sessions/backends/cached_db.py). For tables that only this engine
 * writes: nobody else takes what it changes out of the cache.
 *
 * The cache never has what the database has not, but for the time in which it fails:
 * whoever fills it holds a lease, which any writer takes away before the fill.
 */
import type {
  ClearExpiredOptions,
  ClearExpiredReport,
  Deadline,
  Engine,
  SaveResult,
  SessionLog,
  SessionRecord,
  StoredSession
} from '../contract.js'
import { attempts, type SessionCache } from './session-cache.js'

/** Seconds for reading a row and filling the cache with it. */
const LEASE_TTL = 10

/** Seconds in which a mark stands for an entry that is stale. */
const STALE_TTL = 1

/** Seconds after a write that failed in which it may be carried out yet. */
const UNCERTAIN_TTL = 60

/** Seconds in which nobody may fill the place of a session that is being deleted: longer than any operation of the store. */
const BARRIER_TTL = 1260

export interface CachedDbEngineOptions {
  db: Engine
  cache: SessionCache
  log: SessionLog
}

export class CachedDbEngine implements Engine {
  readonly #db: Engine
  readonly #cache: SessionCache
  readonly #log: SessionLog

  constructor({ db, cache, log }: CachedDbEngineOptions) {
    this.#db = db
    this.#cache = cache
    this.#log = log
  }

  async load(sessionKey: string, deadline: Deadline): Promise<StoredSession | null> {
    const entry = await this.#passOver(() => this.#cache.get(sessionKey))
    if (entry?.stored) return entry.stored
    // A mark: another reader fills the cache, or a writer forbids it.
    const lease = entry === null ? await this.#passOver(() => this.#cache.lease(sessionKey, LEASE_TTL)) : null
    const stored = await this.#db.load(sessionKey, deadline)
    if (stored !== null && lease !== null) await this.#passOver(() => this.#cache.replace(sessionKey, lease, stored))
    return stored
  }

  async create(record: SessionRecord, deadline: Deadline): Promise<string> {
    const sessionKey = await this.#db.create(record, deadline)
    await this.#passOver(() => this.#cache.add(sessionKey, record))
    return sessionKey
  }

  async save(sessionKey: string, record: SessionRecord, snapshot: string | null, deadline: Deadline): Promise<SaveResult> {
    const result = await this.#orStale(sessionKey, this.#db.save(sessionKey, record, snapshot, deadline))
    await this.#follow(sessionKey, snapshot, result.outcome === 'saved' ? record : null)
    return result
  }

  async saveLocked(sessionKey: string, merge: (stored: StoredSession) => SessionRecord, deadline: Deadline) {
    const result = await this.#orStale(sessionKey, this.#db.saveLocked(sessionKey, merge, deadline))
    await this.#follow(sessionKey, null, null)
    return result
  }

  async touch(sessionKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<boolean> {
    const isThere = await this.#orStale(sessionKey, this.#db.touch(sessionKey, expireDate, snapshot, deadline))
    await this.#follow(sessionKey, null, null)
    return isThere
  }

  /**
   * First a barrier, which stays until no reader can be left that saw the row. When the
   * cache fails there, nothing has happened yet.
   */
  async cycleKey(sessionKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<string | null> {
    await this.#cache.bar(sessionKey, BARRIER_TTL)
    return this.#db.cycleKey(sessionKey, expireDate, snapshot, deadline)
  }

  /**
   * First a barrier, as in `cycleKey`. Where neither cache nor database have the session,
   * the lease of a reader that may have seen its row is enough to take away: a barrier for
   * each forged logout would fill the cache.
   */
  async delete(sessionKey: string, deadline: Deadline): Promise<void> {
    const entry = await this.#cache.get(sessionKey)
    if (!entry?.stored && !(await this.#db.exists(sessionKey, deadline))) return this.#follow(sessionKey, null, null)
    await this.#cache.bar(sessionKey, BARRIER_TTL)
    await this.#db.delete(sessionKey, deadline)
  }

  async exists(sessionKey: string, deadline: Deadline): Promise<boolean> {
    const entry = await this.#passOver(() => this.#cache.get(sessionKey))
    return Boolean(entry?.stored) || this.#db.exists(sessionKey, deadline)
  }

  /** Deletes expired rows: the cache has forgotten them before. */
  clearExpired(options?: ClearExpiredOptions): Promise<ClearExpiredReport> {
    return this.#db.clearExpired(options)
  }

  /** A write that failed may have been carried out, or may be yet: nobody fills the cache for a while. */
  async #orStale<T>(sessionKey: string, write: Promise<T>): Promise<T> {
    try {
      return await write
    } catch (error) {
      await this.#passOver(() => this.#cache.bar(sessionKey, UNCERTAIN_TTL))
      throw error
    }
  }

  /** After a write: from the old text to the new one where that is sure, else a mark in place of the entry or lease. */
  async #follow(sessionKey: string, snapshot: string | null, stored: StoredSession | null): Promise<void> {
    const follow = async () => {
      const entry = await this.#cache.get(sessionKey)
      if (entry === null || entry.isBarrier) return true
      return stored !== null && entry.stored?.sessionData === snapshot
        ? this.#cache.replace(sessionKey, entry, stored)
        : this.#cache.mark(sessionKey, entry, STALE_TTL)
    }
    await this.#passOver(() => attempts(follow))
  }

  /** The database has the truth: without the cache everything is slower, and nothing else. */
  async #passOver<T>(use: () => Promise<T>): Promise<T | null> {
    try {
      return await use()
    } catch (error) {
      this.#log.warn({ err: error }, 'The session cache failed and is passed over')
      return null
    }
  }
}
