/** A cache on any store that Keyv reaches. */
import type { Cache } from './cache.js'

/** What Keyv has. Its times to live are milliseconds. */
export interface KeyvStore {
  get(key: string): Promise<unknown>
  set(key: string, value: string, ttl: number): Promise<unknown>
  delete(key: string): Promise<unknown>
}

/**
 * Keyv has no atomic verbs: between looking and writing another writer may come. Then
 * the last write wins, and a session that was deleted at that moment may come back.
 * Where that matters use RedisCache, or the engine `db`.
 */
export class KeyvCache implements Cache {
  readonly #store: KeyvStore

  constructor(store: KeyvStore) {
    this.#store = store
  }

  async get(key: string): Promise<string | null> {
    const value = await this.#store.get(key)
    return typeof value === 'string' ? value : null
  }

  add(key: string, value: string, ttl: number): Promise<boolean> {
    return this.#setIf(key, null, value, ttl)
  }

  replace(key: string, expected: string, value: string, ttl: number): Promise<boolean> {
    return this.#setIf(key, expected, value, ttl)
  }

  async delete(key: string): Promise<void> {
    await this.#store.delete(key)
  }

  async #setIf(key: string, expected: string | null, value: string, ttl: number): Promise<boolean> {
    if ((await this.get(key)) !== expected) return false
    await this.#store.set(key, value, ttl * 1000)
    return true
  }
}
