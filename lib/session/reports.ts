/** Publishes what happens to a session on the channels of `events`. */
import type { SessionLog } from '../contract.js'
import type { Members } from '../django/serializer.js'
import { userIdOf } from '../django/user-id.js'
import { SessionInterrupted, SuspiciousSession } from '../errors.js'
import { engineName, events, type SessionEvent, type SessionEvents, sessionRef } from '../events.js'

/** The settings by which an event names its session and engine. */
export interface ReportSettings {
  readonly secretKey: string
  readonly engine: unknown
}

/** The channels whose payloads are about one session. */
type Name = Exclude<keyof SessionEvents, 'cleaned' | 'failover'>

export interface Subject {
  settings: ReportSettings
  sessionKey: string
  /** Null before they are loaded. */
  members: Members | null
  request: object | null
}

/** A payload. `request` is a getter of the class, so that neither `console.log` nor JSON shows its cookie. */
class Payload implements SessionEvent {
  readonly engine: string
  readonly sessionRef: string
  readonly userId: string | null
  readonly #request: object | null

  constructor({ settings, sessionKey, members, request }: Subject, details: object) {
    this.engine = engineName(settings.engine)
    this.sessionRef = sessionRef(settings.secretKey, sessionKey)
    this.userId = userIdOf(members?.get('_auth_user_id')?.value)
    this.#request = request
    Object.assign(this, details)
  }

  get request(): object | null {
    return this.#request
  }
}

/**
 * Publishes an event about a session. Check first whether its channel has subscribers.
 *
 * @param details may have the id of a user who is about to sign in
 */
export function report<N extends Name>(
  name: N,
  subject: Subject,
  details: Omit<SessionEvents[N], keyof SessionEvent> & { userId?: string }
): void {
  events[name].publish(new Payload(subject, details) as never)
}

/** Logs that what is stored is forged or damaged, and returns null: it counts as no session. @throws any other error */
export function unlessForged(error: unknown, subject: Subject, log: SessionLog): null {
  if (!(error instanceof SuspiciousSession)) throw error
  log.warn({ code: error.code }, error.message)
  if (events.suspicious.hasSubscribers) report('suspicious', subject, {})
  return null
}

const REASONS = {
  deleted: 'was deleted',
  login: 'was signed in or out by another request',
  conflict: 'was changed by another request'
}

/** Publishes that a request was interrupted, and returns the error to throw. */
export function interrupted(subject: Subject, reason: keyof typeof REASONS): Error {
  if (events.interrupted.hasSubscribers) report('interrupted', subject, { reason })
  return new SessionInterrupted(REASONS[reason])
}
