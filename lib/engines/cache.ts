/** The engine `cache`: sessions in a cache only (django/contrib/sessions/backends/cache.py). */
import type { ClearExpiredReport, Deadline, Engine, SaveResult, SessionRecord, StoredSession } from '../contract.js'
import { newSessionKey } from '../django/keys.js'
import { SuspiciousSession } from '../errors.js'
import { claimNewKey } from './claim-key.js'
import { attempts, type Entry, type SessionCache, type Written } from './session-cache.js'

/** How long a tombstone stays after a completed move, for readers under way, in seconds. */
const TOMBSTONE_TTL = 60

export class CacheEngine implements Engine {
  readonly #cache: SessionCache

  constructor(cache: SessionCache) {
    this.#cache = cache
  }

  async load(sessionKey: string, deadline: Deadline): Promise<StoredSession | null> {
    const entry = await this.#cache.get(sessionKey, deadline)
    if (entry?.isForeign) throw new SuspiciousSession('the cache has something else under its key')
    return this.#storedIn(entry, sessionKey, deadline)
  }

  create(record: SessionRecord, deadline: Deadline): Promise<string> {
    return claimNewKey((sessionKey) => this.#cache.add(sessionKey, record, deadline))
  }

  async save(sessionKey: string, record: SessionRecord, snapshot: string | null, deadline: Deadline): Promise<SaveResult> {
    const result = await this.#change(sessionKey, deadline, async (entry, stored) => {
      if (snapshot !== null && stored.sessionData !== snapshot) return stored
      return (await this.#cache.replace(sessionKey, entry, record, deadline)) && 'done'
    })
    if (result === null) return { outcome: 'gone' }
    return result === 'done' ? { outcome: 'saved', sessionKey } : { outcome: 'changed', stored: result }
  }

  async saveLocked(sessionKey: string, merge: (stored: StoredSession) => SessionRecord, deadline: Deadline) {
    const result = await this.#change(sessionKey, deadline, (entry, stored) =>
      this.#cache.replace(sessionKey, entry, merge(stored), deadline)
    )
    return result === null ? { outcome: 'gone' as const } : { outcome: 'saved' as const, sessionKey }
  }

  async touch(sessionKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<boolean> {
    const result = await this.#change(
      sessionKey,
      deadline,
      async (entry, stored) =>
        stored.sessionData !== snapshot || this.#cache.replace(sessionKey, entry, { ...stored, expireDate }, deadline)
    )
    return result !== null
  }

  /**
   * A single write moves the session: the one that replaces the old entry by a tombstone. The new entry is written before,
   * but counts as a session only once the tombstone names its key. Wherever this is interrupted, exactly one key is live.
   */
  cycleKey(sessionKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<string | null> {
    return this.#change(sessionKey, deadline, async (entry, stored) => {
      const record = stored.sessionData === snapshot ? { ...stored, expireDate } : stored
      const newKey = newSessionKey()
      const newEntry = await this.#cache.add(newKey, record, deadline, sessionKey)
      if (newEntry === false) return false
      const tombstone = await this.#cache.bury(sessionKey, entry, newKey, this.#cache.ttl(record), deadline)
      if (tombstone === false) {
        await this.#cache.delete(newKey, deadline)
        return false
      }
      try {
        await this.#cache.replace(newKey, newEntry, record, deadline)
        await this.#cache.bury(sessionKey, tombstone, newKey, TOMBSTONE_TTL, deadline)
      } catch {
        // The session has moved all the same. The tombstone lives as long as the session, and the next save completes the new entry.
      }
      return newKey
    })
  }

  delete(sessionKey: string, deadline: Deadline): Promise<void> {
    return this.#cache.delete(sessionKey, deadline)
  }

  async exists(sessionKey: string, deadline: Deadline): Promise<boolean> {
    const entry = await this.#cache.get(sessionKey, deadline)
    return (await this.#storedIn(entry, sessionKey, deadline)) !== null
  }

  /** Does nothing: the cache removes expired entries by itself. */
  async clearExpired(): Promise<ClearExpiredReport> {
    return { deleted: 0, batches: 0, milliseconds: 0, backlogAge: null }
  }

  /** Repeats `change` on the stored entry until it does not return false, as it does if another writer was faster. Null if there is no session. */
  #change<T>(
    sessionKey: string,
    deadline: Deadline,
    change: (entry: Written, stored: StoredSession) => Promise<T | false>
  ): Promise<T | null> {
    return attempts(async () => {
      const entry = await this.#cache.get(sessionKey, deadline)
      const stored = await this.#storedIn(entry, sessionKey, deadline)
      return entry === null || stored === null ? null : change(entry, stored)
    })
  }

  /** The session of an entry. Null as long as the session is still under the key that it moves from. */
  async #storedIn(entry: Entry | null, sessionKey: string, deadline: Deadline): Promise<StoredSession | null> {
    if (entry === null || entry.stored === null || entry.movesFrom === null) return entry?.stored ?? null
    const before = await this.#cache.get(entry.movesFrom, deadline)
    return before?.movedTo === sessionKey ? entry.stored : null
  }
}
