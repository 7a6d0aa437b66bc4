/** A session in the store: its key, its snapshot as last read or written, and its operations, which run one after another. */
import type { SessionLog } from '../contract.js'
import { type Deadline, deadlineIn, halfwayTo } from '../deadline.js'
import { EXPIRY_NAME, fixedDate, hasEnded } from '../django/expiry.js'
import { isSessionKey } from '../django/keys.js'
import type { Members } from '../django/serializer.js'
import { events, sessionRef } from '../events.js'
import { callEngine } from './engine-call.js'
import { liveSnapshot, refuseKey } from './loading.js'
import { interrupted, report, type Subject, unlessForged } from './reports.js'
import {
  earlier,
  expireDateOf,
  Replacement,
  recordOf,
  replace,
  Saved,
  type SessionContext,
  Snapshot,
  withBeginningIfTimed
} from './saving.js'
import { SerialQueue } from './serial-queue.js'
import type { SessionEnd } from './session.js'
import { absoluteEnd, isTooOld } from './timeouts.js'
import { type PendingSave, WorkingCopy } from './working-copy.js'

const NOTHING = Promise.resolve()

export class SessionLifecycle {
  readonly data: WorkingCopy
  /** The operations under way, for which the reply waits. */
  readonly queue: SerialQueue
  /** Whether saves and rotations leave the end of the session where it is, because the request does not count as activity. */
  keepsEnd = false
  readonly #context: SessionContext
  readonly #log: SessionLog
  readonly #request: object | null
  #key: string | null
  #snapshot: Snapshot | null = null
  /** Whether a save failed that the store may have carried out. */
  #isUnsettled = false
  #cookieIsDue = false

  /**
   * @param sessionKey the value of a cookie; text that cannot be a key is none
   * @param request for events
   */
  constructor(context: SessionContext, sessionKey: string | null, log: SessionLog, request: object | null) {
    this.#context = context
    this.#log = log
    this.#request = request
    this.queue = new SerialQueue(request === null ? (error) => this.#reportForgotten(error) : null)
    this.data = new WorkingCopy(context.codec.serializer, context.settings.saveNestedChanges)
    const canBeKey = sessionKey !== null && isSessionKey(sessionKey, context.engine.keyIsData)
    this.#key = canBeKey ? sessionKey : null
    if (sessionKey && !canBeKey) refuseKey('warn', 'its value cannot be a key', this.#subject(null, sessionKey), 'malformed', log)
  }

  /** The key, or null as long as there is none. Before `load()` it is the key that the browser sent. */
  get key(): string | null {
    return this.#key
  }

  /** Whether there is neither a key nor data. */
  get isEmpty(): boolean {
    return this.#key === null && this.data.isEmpty
  }

  /** Whether the end of the session that follows from its data, such as by `setExpiry`, has passed. False before `load()`. */
  get hasEnded(): boolean {
    const { members } = this.data
    return (
      members !== null &&
      (hasEnded(members.get(EXPIRY_NAME)?.value, this.#context.settings.clock) ||
        isTooOld(members, this.#context.settings.timeouts, this.#context.settings.clock))
    )
  }

  /** A change, or a new key, came too late for the reply. */
  reportTooLate(): void {
    if (events.tooLate.hasSubscribers) report('tooLate', this.#subject(), {})
  }

  /** When the stored session ends. Null if none is stored. */
  get endsAt(): SessionEnd | null {
    if (this.#snapshot === null) return null
    const { expireDate, members } = this.#snapshot
    const { timeouts, clock } = this.#context.settings
    const absolute = timeouts.absolute === undefined ? null : absoluteEnd(members, timeouts.absolute, clock())
    return { idle: earlier(expireDate, absolute), absolute }
  }

  /** The parts that all sessions of one registration share. */
  get context(): SessionContext {
    return this.#context
  }

  /** Whether the store has a new key or a new end of the session, which the browser may not know yet. */
  get cookieIsDue(): boolean {
    return this.#cookieIsDue
  }

  /** Waits for all that was started. @throws the error of what was never awaited; StoreUnavailable if what is followed does not end */
  settled(): Promise<void> {
    return this.queue.settled(this.#deadline())
  }

  // --- operations: the deadline of each counts from its call, and includes waiting for earlier ones ---

  /**
   * Loads the data, once. Does not set `accessed`.
   *
   * @param result the value to resolve with, which saves the caller a promise
   * @throws StoreUnavailable, SessionTooLarge
   */
  load<T>(result: T): Promise<T> {
    const deadline = this.#deadline()
    return this.queue.run(() => this.#load(deadline, result))
  }

  /** Loads a session that has no key, so that there is nothing to ask the store for. Does nothing to any other. */
  loadNew(): void {
    if (this.data.members === null && this.#key === null) this.#loaded(null, null)
  }

  /** Stores the data, whether or not it changed. @throws SessionInterrupted, StoreUnavailable, StoreRefused, SessionTooLarge */
  save(): Promise<void> {
    const deadline = this.#deadline()
    return this.queue.run(() => this.#save(deadline))
  }

  /**
   * Deletes the session from the store. The data must have been cleared: what is set meanwhile is in a new session.
   *
   * @param isExpired whether it is deleted because its end has passed
   * @throws StoreUnavailable
   */
  flush(isExpired = false): Promise<void> {
    const deadline = this.#deadline()
    return this.queue.run(() => this.#flush(deadline, isExpired))
  }

  /**
   * Deletes the session from the store, and continues as another one, which is loaded and may be stored already.
   *
   * @throws StoreUnavailable
   */
  continueAs(next: SessionLifecycle): Promise<void> {
    const deadline = this.#deadline()
    return this.queue.run(async () => {
      await this.#delete(deadline, false)
      // Not before: if the session cannot be deleted, the reply must not save it without its data.
      this.data.clear()
      this.#restart()
      this.#key = next.#key
      this.#snapshot = next.#snapshot
      this.#cookieIsDue = next.#cookieIsDue
      this.data.continueAs(next.data)
    })
  }

  /**
   * Moves a live session to a new key.
   *
   * @param userId that of a user who is about to sign in, for the event
   * @throws SessionInterrupted, StoreUnavailable
   */
  cycleKey(userId?: string): Promise<void> {
    const deadline = this.#deadline()
    return this.queue.run(() => this.#cycleKey(deadline, userId))
  }

  /** Moves the end of an unchanged session, unless it was moved less than `touchAfter` seconds ago. @throws SessionInterrupted, StoreUnavailable */
  touch(): Promise<void> {
    const deadline = this.#deadline()
    return this.queue.run(() => this.#touch(deadline))
  }

  #deadline(): Deadline {
    return deadlineIn(this.#context.settings.storeTimeout)
  }

  // --- loading ---------------------------------------------------------------------

  #load<T>(deadline: Deadline, result: T): Promise<T> {
    if (this.data.members !== null) return Promise.resolve(result)
    const key = this.#key
    // Later than this call, so that a missing await fails for new visitors as well.
    if (key === null) return NOTHING.then(() => this.#loaded(null, result))
    return callEngine(this.#context, deadline, () => this.#context.engine.load(key, deadline)).then(
      (stored) => this.#loaded(liveSnapshot(this.#context, stored, this.#subject(null), this.#log), result),
      (error) => this.#loaded(unlessForged(error, this.#subject(null), this.#log), result)
    )
  }

  #loaded<T>(snapshot: Snapshot | null, result: T): T {
    // An unknown key is never adopted, against session fixation: saving the session makes a new one.
    if (snapshot === null) this.#key = null
    this.#snapshot = snapshot
    this.data.load(snapshot?.members ?? new Map())
    return result
  }

  #reportForgotten(error: unknown): void {
    this.#log.warn({ err: error }, 'An operation of a session outside requests failed, and nothing waits for it: is an await missing?')
  }

  /** The session as it is stored, for an event. */
  #subject(members: Members | null = this.#snapshot?.members ?? null, sessionKey = this.#key ?? ''): Subject {
    return { settings: this.#context.settings, sessionKey, members, request: this.#request }
  }

  // --- saving ----------------------------------------------------------------------

  async #save(deadline: Deadline): Promise<void> {
    if (this.data.members === null) await this.#load(deadline, null)
    const pending = this.data.beginSave()
    try {
      const { sessionKey, snapshot } = await (this.#snapshot === null
        ? this.#create(pending.members, deadline)
        : this.#replace(this.#snapshot, pending, deadline))
      this.#key = sessionKey
      this.#snapshot = snapshot
    } catch (error) {
      this.data.abortSave(pending)
      throw error
    }
    this.#isUnsettled = false
    this.#cookieIsDue = true
    this.data.endSave(this.#snapshot.members)
  }

  async #create(members: Members, deadline: Deadline): Promise<Saved> {
    const stored = withBeginningIfTimed(this.#context, members, null)
    const record = recordOf(this.#context, stored)
    const sessionKey = await callEngine(this.#context, deadline, () => this.#context.engine.create(record, deadline))
    if (events.created.hasSubscribers) report('created', this.#subject(stored, sessionKey), {})
    return new Saved(sessionKey, new Snapshot(record, stored))
  }

  #replace(snapshot: Snapshot, pending: PendingSave, deadline: Deadline): Promise<Saved> {
    const key = this.#key as string
    const members = withBeginningIfTimed(this.#context, pending.members, snapshot.members)
    const record = recordOf(this.#context, members, this.keepsEnd ? snapshot.expireDate : null)
    const { changes } = pending
    const replacement = new Replacement({
      sessionKey: key,
      snapshot,
      members,
      record,
      changes,
      isUnsettled: this.#isUnsettled,
      keepsEnd: this.keepsEnd,
      log: this.#log,
      request: this.#request
    })
    return this.#exclusively(key, deadline, () => {
      this.#isUnsettled = true
      return replace(this.#context, replacement, deadline)
    })
  }

  /** Runs `work` while no other request of this process writes the session. */
  #exclusively<T>(sessionKey: string, deadline: Deadline, work: () => Promise<T>): Promise<T> {
    return callEngine(this.#context, deadline, () => this.#context.mutex.run(sessionKey, deadline, work))
  }

  // --- the other operations --------------------------------------------------------

  async #flush(deadline: Deadline, isExpired: boolean): Promise<void> {
    // Even if the store fails, the browser gets no key of a session that was to end.
    this.#cookieIsDue = false
    await this.#delete(deadline, isExpired)
    this.#restart()
  }

  async #delete(deadline: Deadline, isExpired: boolean): Promise<void> {
    const { engine, watches } = this.#context
    const key = this.#key
    if (key === null) return
    // Subscribers want to know whose session it is. A failed load must not prevent the delete, so that it gets half of the time.
    if (events.ended.hasSubscribers) await this.#load(halfwayTo(deadline), null).catch(() => {})
    const isKnown = this.#key !== null
    // The watches are told inside the work, which may end after its caller has given up.
    await this.#exclusively(key, deadline, async () => {
      await engine.delete(key, deadline)
      watches.ended(key)
    })
    if (isExpired && events.expired.hasSubscribers) report('expired', this.#subject(), { reason: 'date' })
    if (!isExpired && isKnown && events.ended.hasSubscribers) report('ended', this.#subject(), { reason: 'flush' })
  }

  /** Continues as a session that has no key, with the data since `clear()` only. */
  #restart(): void {
    this.#key = null
    this.#snapshot = null
    this.#isUnsettled = false
    this.data.restart()
  }

  async #cycleKey(deadline: Deadline, userId?: string): Promise<void> {
    await this.#load(deadline, null)
    const key = this.#key
    const snapshot = this.#snapshot
    // Without a live session there is nothing to move: the first save makes a key.
    if (key === null || snapshot === null) return
    const { engine, watches } = this.#context
    const expireDate = earlier(expireDateOf(this.#context.settings, snapshot.members), this.keepsEnd ? snapshot.expireDate : null)
    const newKey = await this.#exclusively(key, deadline, async () => {
      const moved = await engine.cycleKey(key, expireDate, snapshot.sessionData, deadline)
      if (moved !== key) watches.ended(key)
      return moved
    })
    if (newKey === null) throw interrupted(this.#subject(), 'deleted')
    this.#key = newKey
    if (events.rotated.hasSubscribers && newKey !== key) {
      const previousRef = sessionRef(this.#context.settings.secretKey, key)
      report('rotated', this.#subject(), { previousRef, ...(userId !== undefined && { userId }) })
    }
    this.#cookieIsDue = true
    this.#snapshot = snapshot.endingAt(expireDate)
  }

  async #touch(deadline: Deadline): Promise<void> {
    await this.#load(deadline, null)
    const key = this.#key
    const snapshot = this.#snapshot
    if (key === null || snapshot === null) return
    const { engine, settings } = this.#context
    if (settings.timeouts.idle === undefined && fixedDate(snapshot.members.get(EXPIRY_NAME)?.value) !== null) return
    const expireDate = expireDateOf(settings, snapshot.members)
    if (expireDate.getTime() - snapshot.expireDate.getTime() < settings.touchAfter * 1000) return
    if (engine.keyIsData) return this.#save(deadline)
    const isThere = await this.#exclusively(key, deadline, () => engine.touch(key, expireDate, snapshot.sessionData, deadline))
    if (!isThere) throw interrupted(this.#subject(), 'deleted')
    this.#snapshot = snapshot.endingAt(expireDate)
  }
}
