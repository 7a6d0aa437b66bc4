import { newSessionKey } from '../django/keys.js'
import { StoreUnavailable } from '../errors.js'

/**
 * The number of new keys to try. Random keys of 165 bits never collide, so that a store that refuses
 * a few in a row will refuse all. Django gives up after 10000 (backends/cache.py, `create`).
 */
const MAX_ATTEMPTS = 3

/** A new key, and what was stored under it. A class, since V8 allocates literals that outlive a call to the store in the old generation. */
class Claim<T> {
  readonly sessionKey: string
  readonly result: T

  constructor(sessionKey: string, result: T) {
    this.sessionKey = sessionKey
    this.result = result
  }
}

/**
 * Claims a new key. Returns the key and the result of `claim`.
 *
 * @param claim stores something under a key that is unused; returns null or false if the key is taken
 * @throws StoreUnavailable if the store refuses every key
 */
export async function claimNewKey<T>(claim: (sessionKey: string) => Promise<T | null | false>): Promise<Claim<T>> {
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
    const sessionKey = newSessionKey()
    const claimed = await claim(sessionKey)
    if (claimed !== null && claimed !== false) return new Claim(sessionKey, claimed)
  }
  throw new StoreUnavailable(
    `it stored nothing under ${MAX_ATTEMPTS} new keys, as if all of them were taken. Does something discard new sessions, such as a trigger?`
  )
}
