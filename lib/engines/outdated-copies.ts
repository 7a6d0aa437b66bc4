import { monotonicNow } from '../timers.js'

/** About 100 bytes each. */
const MAX_KEYS = 10_000

/**
 * Sessions whose copies in a cache may be out of date, because the cache failed when they were to be invalidated.
 * A copy that is too old to be used is no longer remembered.
 */
export class OutdatedCopies {
  readonly #lifetime: number
  readonly #now: () => number
  /** The moments when the copies are too old, in the order in which they were added. */
  readonly #ends = new Map<string, number>()
  #allEnd = 0

  /**
   * @param lifetime seconds for which a copy can be used that is in the cache now
   * @param now milliseconds on a clock that never goes back
   */
  constructor(lifetime: number, now: () => number = monotonicNow) {
    this.#lifetime = lifetime * 1000
    this.#now = now
  }

  /** Whether every copy has to be taken for outdated: there were more of them than are remembered by key. */
  get areAll(): boolean {
    return this.#now() < this.#allEnd
  }

  has(sessionKey: string): boolean {
    return this.#now() < (this.#ends.get(sessionKey) ?? 0)
  }

  add(sessionKey: string): void {
    const now = this.#now()
    const end = now + this.#lifetime
    this.#ends.delete(sessionKey)
    for (const [key, otherEnd] of this.#ends) {
      if (otherEnd > now) break
      this.#ends.delete(key)
    }
    if (this.#ends.size >= MAX_KEYS) {
      this.#ends.clear()
      this.#allEnd = end
    }
    this.#ends.set(sessionKey, end)
  }

  /** Forgets a session whose copy was invalidated after all. */
  delete(sessionKey: string): void {
    this.#ends.delete(sessionKey)
  }
}
