/**
 * What a response does with the session: the decision table of `process_response` in
 * django/contrib/sessions/middleware.py (Django 5.2), in its order.
 */
import type { Session } from './session.js'
import type { Settings } from './settings.js'

/** What becomes of the browser's cookie. */
export type CookieAction = 'set' | 'delete' | 'none'

export interface Response {
  /** Whether the request came with the session's cookie, whatever was in it. */
  cookieSent: boolean
  statusCode: number
}

/**
 * Saves the session if that is due, before the headers of the response leave. The
 * operations that were begun must have settled.
 *
 * @throws SessionInterrupted, StoreUnavailable, SessionTooLarge
 */
export async function commit(session: Session, { cookieSent, statusCode }: Response, settings: Settings): Promise<CookieAction> {
  if (statusCode >= 500) return session.isEmpty ? removal(cookieSent) : alreadyStored(session)
  if (settings.saveNestedChanges) session.recordNestedChanges()
  const renews = settings.saveEveryRequest && !session.isEmpty
  // Only now is known whether the key that the browser sent is that of a session.
  if (session.modified || renews) await session.preload()
  if (session.isEmpty) return removal(cookieSent)
  if (session.modified) {
    await session.save()
    // Changed while it was being saved: the headers have not left yet.
    if (session.modified) await session.save()
  } else if (renews) await session.touch()
  else return alreadyStored(session)
  return 'set'
}

function removal(cookieSent: boolean): CookieAction {
  return cookieSent ? 'delete' : 'none'
}

/** What an awaited save() or cycleKey() made, the browser must know, whatever became of the request. */
export function alreadyStored(session: Session): CookieAction {
  return session.cookieIsDue && session.sessionKey !== null ? 'set' : 'none'
}
