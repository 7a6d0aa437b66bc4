/** The id of a user, as a login stores it. */
import type { Members } from '../django/serializer.js'

/** Whether a value identifies a user. A number beyond 2^53 does not: it may have been rounded to the id of another user. */
export function isUserId(value: unknown): value is string | number | bigint {
  return (typeof value === 'string' && value !== '') || typeof value === 'bigint' || Number.isSafeInteger(value)
}

/** The id of the user who is signed in with a session, as a string. Null if none is. Django accepts numbers too (`_get_user_session_key`). */
export function userIdOf(members: Members): string | null {
  const id = members.get('_auth_user_id')?.value
  return isUserId(id) ? String(id) : null
}
