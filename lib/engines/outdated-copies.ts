import { monotonicNow } from '../timers.js'

/** The number of keys that are remembered, of about 100 bytes each. */
const MAX_KEYS = 10_000

/**
 * The sessions whose copies in the cache may be outdated, because the cache failed when they were to be invalidated.
 * A session is forgotten when its copy is too old to be used.
 */
export class OutdatedCopies {
  readonly #lifetime: number
  readonly #now: () => number
  /** The time at which each copy is too old to be used, in order of addition. */
  readonly #ends = new Map<string, number>()
  #allEnd = 0

  /**
   * @param lifetime how long a copy that is in the cache now can still be used, in seconds
   * @param now a monotonic clock, in milliseconds
   */
  constructor(lifetime: number, now: () => number = monotonicNow) {
    this.#lifetime = lifetime * 1000
    this.#now = now
  }

  /** Whether every copy counts as outdated, because there were too many to remember their keys. */
  get areAll(): boolean {
    return this.#now() < this.#allEnd
  }

  /** The sessions that are remembered by key. */
  get keys(): string[] {
    return Array.from(this.#ends.keys()).filter((sessionKey) => this.has(sessionKey))
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
