import { newSessionKey } from '../django/keys.js'
import { StoreUnavailable } from '../errors.js'

/**
 * New keys to try. Two random keys of 165 bits are never equal: a store that refuses a few
 * in a row refuses all of them. Django gives up after 10000 (backends/cache.py, `create`).
 */
const MAX_ATTEMPTS = 3

/**
 * A new key, and what `claim` made of it.
 *
 * @param claim stores something under a key that is unused; null or false when the key was taken
 * @throws StoreUnavailable when the store takes no key
 */
export async function claimNewKey<T>(claim: (sessionKey: string) => Promise<T | null | false>): Promise<[sessionKey: string, T]> {
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
    const sessionKey = newSessionKey()
    const claimed = await claim(sessionKey)
    if (claimed !== null && claimed !== false) return [sessionKey, claimed]
  }
  throw new StoreUnavailable(
    `it stored nothing under ${MAX_ATTEMPTS} new keys, as if all of them were taken. Does something discard new sessions, such as a trigger?`
  )
}
