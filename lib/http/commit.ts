/**
 * The decisions of a response about the session: the table of `process_response` in
 * django/contrib/sessions/middleware.py (Django 5.2), in its order.
 */
import { lifecycleOf } from '../session/facade.js'
import type { Session } from '../session/session.js'

/** The change to the browser's cookie. */
export type CookieAction = 'set' | 'delete' | 'none'

export interface Response {
  /** Whether the request came with the session's cookie, whatever was in it. */
  cookieSent: boolean
  statusCode: number
  /** Whether the request renews the session: the option `saveEveryRequest`, unless the route says otherwise. */
  renews: boolean
}

/** Whether the store must be asked: to save what changed, or to renew what did not. */
export function isDue(session: Session, { statusCode, renews }: Response): boolean {
  return statusCode < 500 && (session.modified || (renews && !session.isEmpty))
}

/** The change to the cookie for a session that is not due. */
export function unsaved(session: Session, { cookieSent }: Response): CookieAction {
  return session.isEmpty ? removal(cookieSent) : alreadyStored(session)
}

/**
 * Saves the session if that is due, before the headers of the response leave. The
 * operations that were begun must have settled.
 *
 * @throws SessionInterrupted, StoreUnavailable, SessionTooLarge
 */
export async function commit(session: Session, response: Response): Promise<CookieAction> {
  if (!isDue(session, response)) return unsaved(session, response)
  const lifecycle = lifecycleOf(session)
  // Only now is known whether the key that the browser sent is that of a session.
  if (!session.isLoaded) await lifecycle.load(null)
  if (session.isEmpty) return removal(response.cookieSent)
  if (lifecycle.hasEnded) {
    lifecycle.data.clear()
    await lifecycle.flush(true)
    return removal(response.cookieSent)
  }
  if (session.modified) {
    await session.save()
    // Changed while it was being saved: the headers have not left yet.
    if (session.modified) await session.save()
    return 'set'
  }
  // That may be known only now as well: a key that was to be deleted was not there.
  if (!response.renews) return alreadyStored(session)
  await lifecycle.touch()
  return 'set'
}

function removal(cookieSent: boolean): CookieAction {
  return cookieSent ? 'delete' : 'none'
}

/** The change to the cookie when the commit failed: the browser must know the key that an awaited save() or cycleKey() made. */
export function alreadyStored(session: Session): CookieAction {
  return lifecycleOf(session).cookieIsDue && session.sessionKey !== null ? 'set' : 'none'
}
