/** The caches of the engines `cache` and `cached_db`: strings with a time to live. */

/**
 * The operations that the engines need. `add` and `replace` must be atomic. Otherwise one of
 * two saves at once may overwrite the other, and a deleted session may come back.
 *
 * Times to live are in whole seconds, at least 1. An error that a cache throws counts as an outage.
 */
export interface Cache {
  /** The value of the key, or null if there is none or it has expired. */
  get(key: string): Promise<string | null>
  /** Stores the value if there is nothing under the key. Returns whether it did. */
  add(key: string, value: string, ttl: number): Promise<boolean>
  /** Stores the value if exactly `expected` is under the key. Returns whether it did. */
  replace(key: string, expected: string, value: string, ttl: number): Promise<boolean>
  /** Deletes the key. Does nothing if there is none. */
  delete(key: string): Promise<void>
}

/** Options of a `MemoryCache`. */
export interface MemoryCacheOptions {
  /** The number of entries beyond which the oldest is removed. Sessions of anonymous visitors can thus push out those of users. @default 100000 */
  maxEntries?: number
  /** @default the system's clock */
  clock?: () => Date
}

/** A cache in the memory of the process, for development, tests, and applications of a single process. */
export class MemoryCache implements Cache {
  readonly #entries = new Map<string, { value: string; until: number }>()
  readonly #maxEntries: number
  readonly #clock: () => Date

  constructor({ maxEntries = 100_000, clock = () => new Date() }: MemoryCacheOptions = {}) {
    this.#maxEntries = maxEntries
    this.#clock = clock
  }

  async get(key: string): Promise<string | null> {
    return this.#get(key)
  }

  async add(key: string, value: string, ttl: number): Promise<boolean> {
    return this.#set(key, null, value, ttl)
  }

  async replace(key: string, expected: string, value: string, ttl: number): Promise<boolean> {
    return this.#set(key, expected, value, ttl)
  }

  async delete(key: string): Promise<void> {
    this.#entries.delete(key)
  }

  /** Removes all entries. */
  clear(): void {
    this.#entries.clear()
  }

  #get(key: string): string | null {
    const entry = this.#entries.get(key)
    if (entry === undefined) return null
    if (entry.until > this.#clock().getTime()) return entry.value
    this.#entries.delete(key)
    return null
  }

  #set(key: string, expected: string | null, value: string, ttl: number): boolean {
    if (this.#get(key) !== expected) return false
    // Deleted first, so that the map is in the order of writing.
    this.#entries.delete(key)
    this.#entries.set(key, { value, until: this.#clock().getTime() + ttl * 1000 })
    if (this.#entries.size > this.#maxEntries) this.#entries.delete(this.#entries.keys().next().value as string)
    return true
  }
}
