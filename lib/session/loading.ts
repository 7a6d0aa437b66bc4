/** Reading a session from the store, and what is said of one that is not used. */
import type { SessionLog, StoredSession } from '../contract.js'
import type { Deadline } from '../deadline.js'
import { SuspiciousSession, UnknownKey } from '../errors.js'
import { events } from '../events.js'
import { callEngine } from './engine-call.js'
import { report, type Subject } from './reports.js'
import { decode, type SessionContext, Snapshot } from './saving.js'
import { isTooOld } from './timeouts.js'

/**
 * The live session of a key, or null.
 *
 * @param request for events
 * @throws StoreUnavailable, SessionTooLarge
 */
export function readSession(
  context: SessionContext,
  sessionKey: string,
  log: SessionLog,
  request: object | null,
  deadline: Deadline
): Promise<Snapshot | null> {
  const { engine, settings } = context
  const subject: Subject = { settings, sessionKey, members: null, request }
  return callEngine(context, deadline, () => engine.load(sessionKey, deadline)).then(
    (stored) => liveSnapshot(context, stored, log, subject),
    (error) => {
      if (!(error instanceof SuspiciousSession)) throw error
      log.warn({ code: error.code }, error.message)
      if (events.suspicious.hasSubscribers) report('suspicious', subject, {})
      return null
    }
  )
}

/** Null for a session that is not there any more, or too old. */
function liveSnapshot(context: SessionContext, stored: StoredSession | null, log: SessionLog, subject: Subject): Snapshot | null {
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
