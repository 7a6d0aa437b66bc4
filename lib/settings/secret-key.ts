/** The strength of a secret key, by Django's checks security.W009 and W025 (django/core/checks/security/base.py). */

const MIN_LENGTH = 50
const MIN_UNIQUE_CHARACTERS = 5
const INSECURE_PREFIX = 'django-insecure-'

/** The secret key in the examples of the documentation. */
const PLACEHOLDER = 'for development only'

const isPlaceholder = (key: unknown): boolean => key === PLACEHOLDER

/** The reason why a key is weak, without any part of the key. Null for a strong key. */
export function weaknessOf(key: string): string | null {
  if (isPlaceholder(key)) return 'is the key in the documentation'
  if (key.startsWith(INSECURE_PREFIX)) return `starts with ${INSECURE_PREFIX}, as a key that Django generates for development`
  if (key.length < MIN_LENGTH) return `is shorter than ${MIN_LENGTH} characters`
  return new Set(key).size < MIN_UNIQUE_CHARACTERS ? `has fewer than ${MIN_UNIQUE_CHARACTERS} different characters` : null
}

/** Finds options that have the public key of the documentation in production. */
export function placeholderProblems({ secretKey, secretKeyFallbacks }: { secretKey?: unknown; secretKeyFallbacks?: unknown }): string[] {
  if (process.env.NODE_ENV !== 'production') return []
  return Object.entries({ secretKey: [secretKey], secretKeyFallbacks })
    .filter(([, keys]) => Array.isArray(keys) && keys.some(isPlaceholder))
    .map(([name]) => `${name}: expected a key of your own in production, got the key in the documentation`)
}

interface Keys {
  secretKey: string
  secretKeyFallbacks: readonly string[]
}

/**
 * Logs one warning about all weak keys. The key of the documentation causes none, because it is
 * meant for development and refused in production.
 */
export function warnOfWeakKeys({ secretKey, secretKeyFallbacks }: Keys, log: { warn(message: string): void }): void {
  const weak = [secretKey, ...secretKeyFallbacks].flatMap((key, at) => {
    const weakness = isPlaceholder(key) ? null : weaknessOf(key)
    return weakness === null ? [] : [`${at === 0 ? 'secretKey' : `secretKeyFallbacks[${at - 1}]`} ${weakness}`]
  })
  if (weak.length > 0) log.warn(`A secret key may be guessed: ${weak.join('; ')}. Use at least ${MIN_LENGTH} random characters`)
}
