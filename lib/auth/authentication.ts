/**
 * How and when a user has authenticated: the list that django-allauth keeps in the session, so that a login or a
 * re-authentication on either side counts on both (allauth/account/internal/flows/login.py).
 */
import { kindOf } from '../kind-of.js'
import { lifecycleOf } from '../session/facade.js'
import type { Session, SessionData } from '../session/session.js'
import { authenticatedAt, METHODS_NAME } from '../session/timeouts.js'
import { Sessions } from '../sessions.js'

type Entry = NonNullable<SessionData['account_authentication_methods']>[number]

/** Makes an entry of the list for now. @throws TypeError when `method` is not a name */
export function entryOf(session: Session, method: string): Entry {
  if (typeof method !== 'string' || method === '') {
    throw new TypeError(`Expected method to be a name such as "password", got ${kindOf(method)}`)
  }
  return { method, at: Sessions.of(session).now().getTime() / 1000 }
}

/** Records a login, which begins a new list. */
export function recordLogin(session: Session, entry: Entry): void {
  session.set(METHODS_NAME, [entry])
}

/** Adds a re-authentication, marked as django-allauth marks it, which takes the place of earlier ones by the same method. */
export function recordReauthentication(session: Session, entry: Entry): void {
  session.set(METHODS_NAME, (entries) => [
    ...(Array.isArray(entries) ? entries : []).filter((one) => one?.method !== entry.method),
    { ...entry, reauthenticated: true }
  ])
}

/** Whether the user of a session has logged in or authenticated again within the last `seconds`. */
export function isFresh(session: Session, seconds: number): boolean {
  const { members } = lifecycleOf(session).data
  const now = Sessions.of(session).now()
  const at = members && authenticatedAt(members, now)
  return at !== null && now.getTime() / 1000 - at < seconds
}
