/** Judges a session that was read from the store, and logs why one is not used. */
import type { SessionLog, StoredSession } from '../contract.js'
import { UnknownKey } from '../errors.js'
import { events } from '../events.js'
import { report, type Subject } from './reports.js'
import { decode, type SessionContext, Snapshot } from './saving.js'
import { isTooOld } from './timeouts.js'

/** The session that was found. Null if there is none, or it is too old. @throws SessionTooLarge */
export function liveSnapshot(context: SessionContext, stored: StoredSession | null, subject: Subject, log: SessionLog): Snapshot | null {
  const { settings } = context
  if (stored === null) {
    // Visitors come back after their session has expired.
    refuseKey('debug', 'it has expired, was deleted, or never existed', subject, 'absent', log)
    return null
  }
  const members = decode(context, stored, log, subject)
  if (!isTooOld(members, settings.timeouts, settings.clock)) return new Snapshot(stored, members)
  // Its row may still be live, if Django renewed it.
  const { code, message } = new UnknownKey('its absolute timeout has passed')
  log.debug({ code }, message)
  if (events.expired.hasSubscribers) report('expired', { ...subject, members }, { reason: 'absolute' })
  return null
}

/** Says that the value of a cookie names no session. Forged values are worth a warning. */
export function refuseKey(level: 'debug' | 'warn', why: string, subject: Subject, reason: 'absent' | 'malformed', log: SessionLog): void {
  const { code, message } = new UnknownKey(why)
  log[level]({ code }, message)
  if (events.unknown.hasSubscribers) report('unknown', subject, { reason })
}
