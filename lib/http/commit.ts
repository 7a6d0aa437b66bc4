/**
 * Decides what a response does with the session, in the order of `process_response` in
 * django/contrib/sessions/middleware.py (Django 5.2).
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

/** Whether the store must be called: to save a changed session, or to renew an unchanged one. */
export function isDue(session: Session, { statusCode, renews }: Response): boolean {
  return statusCode < 500 && (session.modified || (renews && !session.isEmpty))
}

/** The change to the cookie for a session that is not due (`isDue`). */
export function unsaved(session: Session, { cookieSent }: Response): CookieAction {
  return session.isEmpty ? removal(cookieSent) : alreadyStored(session)
}

/**
 * Saves the session if it is due, before the headers of the response are sent.
 * Operations that were started earlier must have settled.
 *
 * @throws SessionInterrupted, StoreUnavailable, SessionTooLarge
 */
export async function commit(session: Session, response: Response): Promise<CookieAction> {
  if (!isDue(session, response)) return unsaved(session, response)
  const lifecycle = lifecycleOf(session)
  lifecycle.loadNew()
  // Only the store tells whether the browser's key belongs to a session.
  if (!session.isLoaded) await lifecycle.load(null)
  if (session.isEmpty) return removal(response.cookieSent)
  if (lifecycle.hasEnded) {
    lifecycle.data.clear()
    await lifecycle.flush(true)
    return removal(response.cookieSent)
  }
  if (session.modified) {
    await lifecycle.save()
    // Something changed it during the save, and the headers are not sent yet.
    if (session.modified) await lifecycle.save()
    return 'set'
  }
  // Loading may have reset `modified`: the only change was to delete a key that was not there.
  if (!response.renews) return alreadyStored(session)
  await lifecycle.touch()
  return 'set'
}

function removal(cookieSent: boolean): CookieAction {
  return cookieSent ? 'delete' : 'none'
}

/** The change to the cookie if the commit saves nothing or fails: the browser still needs the key of an earlier save() or cycleKey(). */
export function alreadyStored(session: Session): CookieAction {
  return lifecycleOf(session).cookieIsDue && session.sessionKey !== null ? 'set' : 'none'
}
