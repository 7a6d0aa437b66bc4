/**
 * The absolute timeout: a session ends so many seconds after its beginning, however much it is used. A login and a
 * re-authentication begin the session anew.
 */
import { isPlainObject } from '../django/json-writer.js'
import type { MemberSerializer, Members } from '../django/serializer.js'

/** The name of the time of the first save by this plugin, in seconds since 1970. It counts if no login is recorded. */
const BEGAN_NAME = '_session_began'

/**
 * django-allauth's record of how and when a user has authenticated (allauth/account/internal/flows/login.py): a list of
 * `{ method, at, … }`, with `at` in seconds since 1970. The last entry counts.
 */
export const METHODS_NAME = 'account_authentication_methods'

/** The names of what the absolute timeout counts from. */
export const BEGINNING_NAMES = [METHODS_NAME, BEGAN_NAME]

/** How far the clocks of two servers may differ, in seconds. A time further in the future is ignored: its session would never end. */
const MAX_SKEW = 300

/**
 * The time of the last login or re-authentication, in seconds since 1970. Null if none is recorded. django-allauth
 * records the first factor before the user is logged in, so that entries count only together with a user.
 */
export function authenticatedAt(members: Members, now: Date): number | null {
  const methods = members.get(METHODS_NAME)?.value
  if (!Array.isArray(methods) || !members.has('_auth_user_id')) return null
  const last = methods.at(-1)
  return isPlainObject(last) ? timeOf((last as { at?: unknown }).at, now) : null
}

/** The time from which the absolute timeout counts, in seconds since 1970. Null for a session of unknown age. */
function beganAt(members: Members, now: Date): number | null {
  return authenticatedAt(members, now) ?? timeOf(members.get(BEGAN_NAME)?.value, now)
}

/**
 * The end of a session however much it is used. Null for a session of unknown age.
 *
 * @param absolute seconds
 */
export function absoluteEnd(members: Members, absolute: number, now: Date): Date | null {
  const began = beganAt(members, now)
  return began === null ? null : new Date((began + absolute) * 1000)
}

/** Whether the absolute timeout has passed. */
export function isTooOld(members: Members, { absolute }: { readonly absolute?: number }, clock: () => Date): boolean {
  if (absolute === undefined) return false
  const now = clock()
  const end = absoluteEnd(members, absolute, now)
  return end !== null && end <= now
}

/**
 * The members with the time at which the session began: the one that they have, or that `before` has, or now.
 *
 * @param before the members before the changes, from which `clear()` may have removed the time
 */
export function withBeginning(serializer: MemberSerializer, members: Members, before: Members | null, now: Date): Members {
  if (beganAt(members, now) !== null) return members
  const began = (before && beganAt(before, now)) ?? Math.floor(now.getTime() / 1000)
  return new Map(members).set(BEGAN_NAME, serializer.member(BEGAN_NAME, began))
}

function timeOf(value: unknown, now: Date): number | null {
  return typeof value === 'number' && value >= 0 && value <= now.getTime() / 1000 + MAX_SKEW ? value : null
}
