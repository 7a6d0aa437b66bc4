/** Checks the strength of the secret key and its fallbacks. */
import { weaknessOf } from '../../settings/secret-key.js'
import type { Secrets } from '../secret.js'
import { type Finding, finding } from './finding.js'

export function checkSecret(secrets: Secrets | null): Finding[] {
  if (secrets === null) {
    return [
      finding(
        'warn',
        'secret key',
        'not checked, and neither are the signatures: set SECRET_KEY in the environment, or --secret-key-file FILE'
      )
    ]
  }
  const keys = [secrets.secretKey, ...secrets.secretKeyFallbacks]
  const weak = keys.flatMap((key, at) => {
    const weakness = weaknessOf(key)
    const name = at === 0 ? 'SECRET_KEY' : `key ${at} of SECRET_KEY_FALLBACKS`
    return weakness === null ? [] : [finding('warn', 'secret key', `${name} ${weakness}: use at least 50 random characters`)]
  })
  return weak.length > 0 ? weak : [finding('ok', 'secret key', 'long enough, with enough different characters')]
}
