/** The id of a user, as a login stores it. */

/** Whether a value identifies a user. A number beyond 2^53 does not: it may have been rounded to the id of another user. */
export function isUserId(value: unknown): value is string | number | bigint {
  return (typeof value === 'string' && value !== '') || typeof value === 'bigint' || Number.isSafeInteger(value)
}

/**
 * The id of the signed-in user as a string, or null if there is none. Django accepts numbers too (`_get_user_session_key`).
 *
 * @param stored the value of `_auth_user_id` in the session
 */
export function userIdOf(stored: unknown): string | null {
  return isUserId(stored) ? String(stored) : null
}
