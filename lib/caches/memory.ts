/** Where the engines `cache` and `cached_db` keep sessions: text under a key, for a time. */

/**
 * The verbs that sessions need. `add` and `replace` must be atomic for the promises of
 * the engines to hold among several writers: a save that overwrote what it has not
 * seen would lose changes, and bring deleted sessions back.
 *
 * Times to live are whole seconds, at least 1. What a cache throws counts as an outage.
 */
export interface Cache {
  /** null when there is nothing under the key, or no longer. */
  get(key: string): Promise<string | null>
  /** Stores the value only if there is nothing under the key. False when there is. */
  add(key: string, value: string, ttl: number): Promise<boolean>
  /** Stores the value only if exactly `expected` is under the key. False when it is not. */
  replace(key: string, expected: string, value: string, ttl: number): Promise<boolean>
  /** Nothing happens when there is nothing under the key. */
  delete(key: string): Promise<void>
}

/** The kind of an answer that a cache should not give, without its value, for messages. */
export function describe(answer: unknown): string {
  if (answer === undefined || answer === null || typeof answer === 'boolean') return String(answer)
  if (typeof answer !== 'object') return `a ${typeof answer}`
  return `an object (${answer.constructor?.name})`
}

/** Options of a `MemoryCache`. */
export interface MemoryCacheOptions {
  /** Entries beyond which the oldest go, whoever they belong to: anonymous visitors can push out sessions of users. @default 100000 */
  maxEntries?: number
  /** @default the system's clock */
  clock?: () => Date
}

/** A cache in the memory of one process: for development, tests, and applications that are one process. */
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

  /** Forgets everything. */
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
    // Deleted first, so that the order of the map is that of writing.
    this.#entries.delete(key)
    this.#entries.set(key, { value, until: this.#clock().getTime() + ttl * 1000 })
    if (this.#entries.size > this.#maxEntries) this.#entries.delete(this.#entries.keys().next().value as string)
    return true
  }
}
