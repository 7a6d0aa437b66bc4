import { newSessionKey } from '../django/keys.js'
import { StoreUnavailable } from '../errors.js'

/**
 * The number of new keys to try. Random keys of 165 bits never collide, so that a store that refuses
 * a few in a row will refuse all. Django gives up after 10000 (backends/cache.py, `create`).
 */
const MAX_ATTEMPTS = 3

/**
 * Claims a new key, and returns it.
 *
 * @param claim stores something under a key that is unused; returns false if the key is taken
 * @throws StoreUnavailable if the store refuses every key
 */
export async function claimNewKey(claim: (sessionKey: string) => Promise<object | boolean>): Promise<string> {
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
    const sessionKey = newSessionKey()
    if (await claim(sessionKey)) return sessionKey
  }
  throw new StoreUnavailable(
    `it stored nothing under ${MAX_ATTEMPTS} new keys, as if all of them were taken. Does something discard new sessions, such as a trigger?`
  )
}
