/** Whether the secret key is one that nobody guesses: Django's security.W009 and security.W025. */
import type { Secrets } from '../secret.js'
import { type Finding, finding } from './finding.js'

/** django/core/checks/security/base.py */
const MIN_LENGTH = 50
const MIN_UNIQUE_CHARACTERS = 5
const INSECURE_PREFIX = 'django-insecure-'

export function checkSecret(secrets: Secrets | null): Finding[] {
  if (secrets === null) {
    return [finding('warn', 'secret key', 'not checked, nor what it signs: set SECRET_KEY in the environment, or --secret-key-file FILE')]
  }
  const keys = [secrets.secretKey, ...secrets.secretKeyFallbacks]
  const weak = keys.flatMap((key, at) => {
    const weakness = weaknessOf(key)
    const name = at === 0 ? 'SECRET_KEY' : `key ${at} of SECRET_KEY_FALLBACKS`
    return weakness === null ? [] : [finding('warn', 'secret key', `${name} ${weakness}: make a long random one`)]
  })
  return weak.length > 0 ? weak : [finding('ok', 'secret key', 'long enough, with enough different characters')]
}

function weaknessOf(key: string): string | null {
  if (key.startsWith(INSECURE_PREFIX)) return `starts with ${INSECURE_PREFIX}, as Django makes it for development`
  if (key.length < MIN_LENGTH) return `has ${key.length} characters, fewer than ${MIN_LENGTH}`
  const unique = new Set(key).size
  return unique < MIN_UNIQUE_CHARACTERS ? `has ${unique} different characters, fewer than ${MIN_UNIQUE_CHARACTERS}` : null
}
