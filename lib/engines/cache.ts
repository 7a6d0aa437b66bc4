/** The engine `cache`: sessions live in a cache, and nowhere else (django/contrib/sessions/backends/cache.py). */
import type { ClearExpiredReport, Deadline, Engine, SaveResult, SessionRecord, StoredSession } from '../contract.js'
import { SuspiciousSession } from '../errors.js'
import { claimNewKey } from './claim-key.js'
import { attempts, type Entry, type SessionCache, type Written } from './session-cache.js'

/** Seconds for which a tombstone stays that nothing needs any more, but for readers that are under way. */
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

  async create(record: SessionRecord, deadline: Deadline): Promise<string> {
    const [sessionKey] = await claimNewKey((sessionKey) => this.#cache.add(sessionKey, record, deadline))
    return sessionKey
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
   * One write decides: the tombstone in place of the old entry. The new entry is written before, and is no session until
   * that tombstone names its key. Wherever this is cut off, exactly one of the two keys is alive.
   */
  cycleKey(sessionKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<string | null> {
    return this.#change(sessionKey, deadline, async (entry, stored) => {
      const record = stored.sessionData === snapshot ? { ...stored, expireDate } : stored
      const [newKey, newEntry] = await claimNewKey((newKey) => this.#cache.add(newKey, record, deadline, sessionKey))
      const tombstone = await this.#cache.bury(sessionKey, entry, newKey, this.#cache.ttl(record), deadline)
      if (tombstone === false) {
        await this.#cache.delete(newKey, deadline)
        return false
      }
      try {
        await this.#cache.replace(newKey, newEntry, record, deadline)
        await this.#cache.bury(sessionKey, tombstone, newKey, TOMBSTONE_TTL, deadline)
      } catch {
        // The session has moved all the same: the tombstone lives as long as the session, and the next save finishes this.
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

  /** The cache forgets by itself. */
  async clearExpired(): Promise<ClearExpiredReport> {
    return { deleted: 0, batches: 0, milliseconds: 0, backlogAge: null }
  }

  /** Tries on the stored entry until no other writer was faster, for which `change` returns false. Null when there is no session. */
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

  /** The session of an entry; null while it is still under the key that it moves from. */
  async #storedIn(entry: Entry | null, sessionKey: string, deadline: Deadline): Promise<StoredSession | null> {
    if (entry === null || entry.stored === null || entry.movesFrom === null) return entry?.stored ?? null
    const before = await this.#cache.get(entry.movesFrom, deadline)
    return before?.movedTo === sessionKey ? entry.stored : null
  }
}
