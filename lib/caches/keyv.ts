/** A cache on any store that Keyv reaches. */
import { StoreUnavailable } from '../errors.js'
import { kindOf } from '../kind-of.js'
import { checkMethods } from './client.js'
import type { Cache } from './memory.js'

/** The part of Keyv in use. Its times to live are in milliseconds. */
export interface KeyvStore {
  get(key: string): Promise<unknown>
  set(key: string, value: string, ttl: number): Promise<unknown>
  delete(key: string): Promise<unknown>
  on?(event: 'error', listener: (error: unknown) => void): unknown
  /** False when Keyv 5 swallows the errors of its store. Keyv 6 has no such option. */
  readonly throwOnErrors?: boolean
}

/**
 * Keyv has no atomic operations. If another writer comes between a read and a write, the
 * last write wins, and a session that was deleted at that moment may come back. If that
 * matters, use RedisCache or the engine `db`.
 */
export class KeyvCache implements Cache {
  readonly #store: KeyvStore
  /** How often Keyv 6 has told its listeners of an error: the call that failed answers as if there were no entry. */
  #failures = 0
  #lastError: unknown

  /** @throws TypeError when the store is none, or swallows errors: an outage would sign everybody out, and a logout fail without a word */
  constructor(store: KeyvStore) {
    checkMethods(store, ['get', 'set', 'delete'], 'KeyvCache: expected a Keyv')
    if (store.throwOnErrors === false)
      throw new TypeError(
        'KeyvCache: expected a Keyv that throws the errors of its store, such as new Keyv({ store, throwOnErrors: true })'
      )
    this.#store = store
    store.on?.('error', (error) => {
      this.#failures++
      this.#lastError = error
    })
  }

  async get(key: string): Promise<string | null> {
    const value = await this.#call((store) => store.get(key))
    if (value === undefined || value === null) return null
    if (typeof value === 'string') return value
    throw new StoreUnavailable(
      `the store of KeyvCache answered get() with ${kindOf(value)}, expected the string that was set: check its serialize and deserialize`
    )
  }

  add(key: string, value: string, ttl: number): Promise<boolean> {
    return this.#setIf(key, null, value, ttl)
  }

  replace(key: string, expected: string, value: string, ttl: number): Promise<boolean> {
    return this.#setIf(key, expected, value, ttl)
  }

  async delete(key: string): Promise<void> {
    await this.#call((store) => store.delete(key))
  }

  async #setIf(key: string, expected: string | null, value: string, ttl: number): Promise<boolean> {
    if ((await this.get(key)) !== expected) return false
    // Keyv may return false instead of throwing. Without this check the session would be lost silently.
    if ((await this.#call((store) => store.set(key, value, ttl * 1000))) === false)
      throw new StoreUnavailable('the store of KeyvCache stored nothing')
    return true
  }

  /** An error of another call at the same time counts as well: the store is failing. */
  async #call(send: (store: KeyvStore) => Promise<unknown>): Promise<unknown> {
    const before = this.#failures
    const answer = await send(this.#store)
    if (this.#failures > before && (answer === undefined || answer === false)) throw this.#lastError
    return answer
  }
}
