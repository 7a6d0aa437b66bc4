/** The engine `cache`: sessions live in a cache, and nowhere else (django/contrib/sessions/backends/cache.py). */
import type { ClearExpiredReport, Engine, SaveResult, SessionRecord, StoredSession } from '../contract.js'
import { SuspiciousSession } from '../errors.js'
import { claimNewKey } from './claim-key.js'
import { attempts, type Entry, type SessionCache } from './session-cache.js'

/** Seconds in which a key that was just given up cannot be taken again. */
const ROTATION_TTL = 60

export class CacheEngine implements Engine {
  readonly #cache: SessionCache

  constructor(cache: SessionCache) {
    this.#cache = cache
  }

  async load(sessionKey: string): Promise<StoredSession | null> {
    const entry = await this.#cache.get(sessionKey)
    if (entry?.isForeign) throw new SuspiciousSession('the cache has something else under its key')
    return entry?.stored ?? null
  }

  async create(record: SessionRecord): Promise<string> {
    const [sessionKey] = await claimNewKey((sessionKey) => this.#cache.add(sessionKey, record))
    return sessionKey
  }

  async save(sessionKey: string, record: SessionRecord, snapshot: string | null): Promise<SaveResult> {
    const result = await this.#change(sessionKey, async (entry, stored) => {
      if (snapshot !== null && stored.sessionData !== snapshot) return stored
      return (await this.#cache.replace(sessionKey, entry, record)) && 'done'
    })
    if (result === null) return { outcome: 'gone' }
    return result === 'done' ? { outcome: 'saved', sessionKey } : { outcome: 'changed', stored: result }
  }

  async saveLocked(sessionKey: string, merge: (stored: StoredSession) => SessionRecord) {
    const result = await this.#change(sessionKey, (entry, stored) => this.#cache.replace(sessionKey, entry, merge(stored)))
    return result === null ? { outcome: 'gone' as const } : { outcome: 'saved' as const, sessionKey }
  }

  async touch(sessionKey: string, expireDate: Date, snapshot: string): Promise<boolean> {
    const result = await this.#change(
      sessionKey,
      async (entry, stored) => stored.sessionData !== snapshot || this.#cache.replace(sessionKey, entry, { ...stored, expireDate })
    )
    return result !== null
  }

  /** The old key goes first: a crash between loses the session, and never doubles it. */
  async cycleKey(sessionKey: string, expireDate: Date, snapshot: string): Promise<string | null> {
    const moved = await this.#change(
      sessionKey,
      async (entry, stored) => (await this.#cache.mark(sessionKey, entry, ROTATION_TTL)) && stored
    )
    if (moved === null) return null
    const record = moved.sessionData === snapshot ? { ...moved, expireDate } : moved
    const [newKey] = await claimNewKey((sessionKey) => this.#cache.add(sessionKey, record))
    return newKey
  }

  delete(sessionKey: string): Promise<void> {
    return this.#cache.delete(sessionKey)
  }

  async exists(sessionKey: string): Promise<boolean> {
    const entry = await this.#cache.get(sessionKey)
    return entry !== null && entry.stored !== null
  }

  /** The cache forgets by itself. */
  async clearExpired(): Promise<ClearExpiredReport> {
    return { deleted: 0, batches: 0, milliseconds: 0, backlogAge: null }
  }

  /** Tries on the stored entry until no other writer was faster, for which `change` returns false. Null when there is no session. */
  #change<T>(sessionKey: string, change: (entry: Entry, stored: StoredSession) => Promise<T | false>): Promise<T | null> {
    return attempts(async () => {
      const entry = await this.#cache.get(sessionKey)
      if (entry === null || entry.stored === null) return null
      return change(entry, entry.stored)
    })
  }
}
