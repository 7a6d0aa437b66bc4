/** Arguments of other session plugins: callbacks, and the names that `regenerate` keeps. */
import { callbackify } from 'node:util'
import { SessionNotLoaded } from '../errors.js'
import { kindOf } from '../kind-of.js'
import type { Session, SessionCallback } from './session.js'
import { BEGINNING_NAMES } from './timeouts.js'

/**
 * The one enumerable property of a session. With `keepSessionInfo` @fastify/passport passes `Object.keys(session)`
 * to `regenerate`, because in other plugins the properties of a session are its data.
 */
export const ALL_NAMES = 'all names of the data'

/** Calls `work`, then the callback if there is one. @throws TypeError, before calling `work`, if the callback is not a function */
export function answer(work: () => Promise<void>, method: string, callback: SessionCallback | undefined): Promise<void> | void {
  if (callback === undefined) return work()
  if (typeof callback === 'function') return callbackify(work)(callback)
  throw new TypeError(`session.${method}(callback): expected a function, got ${kindOf(callback)}`)
}

/** The data that `regenerate(keep)` keeps. @throws TypeError, SessionNotLoaded */
export function keptData(session: Session, keep: readonly string[]): Record<string, unknown> {
  if (!Array.isArray(keep)) throw new TypeError(`session.regenerate(keep): expected an array of names, got ${kindOf(keep)}`)
  if (keep.length === 0) return {}
  if (!session.isLoaded) throw new SessionNotLoaded('regenerate')
  // A login that goes on is no new one: its absolute timeout does not start again.
  const names: readonly string[] = keep.includes('_auth_user_id') ? [...keep, ...BEGINNING_NAMES] : keep
  return Object.fromEntries(session.entries().filter(([name]) => names.includes(name) || names.includes(ALL_NAMES)))
}
