import { EXPIRY_NAME } from '../django/expiry.js'
import type { Session } from '../session/session.js'
import { BEGINNING_NAMES } from '../session/timeouts.js'

/** The session keys of CSRF secrets: of Django with `CSRF_USE_SESSIONS`, and of @fastify/csrf-protection. */
export const CSRF_NAMES = ['_csrftoken', '_csrf']

/** The names of all that a login sets or deletes. */
const CHANGED = ['_auth_user_id', '_auth_user_backend', '_auth_user_hash', ...CSRF_NAMES, EXPIRY_NAME, ...BEGINNING_NAMES]

/**
 * Gives a session back the data that it had before a login, since the login has failed after it was stored. The session
 * has another key than before. If it cannot be saved either, it is flushed: nobody is signed in.
 *
 * @throws StoreUnavailable
 */
export async function undoLogin(session: Session, before: Record<string, unknown>): Promise<void> {
  if (Object.keys(before).length === 0) return session.flush()
  for (const name of CHANGED) session.set(name, before[name])
  await session.save().catch(() => session.flush())
}
