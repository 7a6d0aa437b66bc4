import type { Entry, Sighting, UserSessionsTable } from '../database/user-sessions-table.js'
import { type Deadline, deadlineIn } from '../deadline.js'
import type { Members } from '../django/serializer.js'
import type { BulkEngine } from '../engines/bulk.js'
import { events } from '../events.js'
import { callEngine } from '../session/engine-call.js'
import { report } from '../session/reports.js'
import { earlier, type SessionContext } from '../session/saving.js'
import type { Session } from '../session/session.js'
import { absoluteEnd } from '../session/timeouts.js'
import { type Client, type IpPrivacy, NO_IP, storedIp, storedUserAgent } from './client.js'
import { RecentlySeen } from './recently-seen.js'
import { userIdOf } from './user-id.js'

/** A session of a user. */
export interface UserSession {
  /** Names it among those of its user. Not the session key, which never leaves the server. */
  readonly id: number
  /** The login, or its first request here where Django does not use django-allauth. */
  readonly createdAt: Date
  /** Its last use, to five minutes. */
  readonly lastSeenAt: Date
  /** The address of that use. Null where none is stored. */
  readonly ip: string | null
  /** The header `User-Agent` of that use, without control characters and cut at 200. Null where none is stored. */
  readonly userAgent: string | null
  /** The moment from which on it is no longer found, if it is not renewed before. With `timeouts`, the earlier of the two. */
  readonly endsAt: Date
}

/** A session of a user, with what must not leave the server. */
export interface FoundSession extends UserSession {
  readonly sessionKey: string
  readonly members: Members
}

/** The most sessions of a user, and what a login does that would be one more. */
export interface SessionLimit {
  of: number
  then: 'endOldest' | 'refuse'
}

/** Why sessions are ended, and in which request. */
export interface EndingCause {
  event: 'ended' | 'evicted'
  request: object | null
}

const REVOKED: EndingCause = { event: 'ended', request: null }

export interface UserSessionsOptions {
  table: UserSessionsTable
  context: SessionContext
  /** The engine on the table, for many sessions at once. */
  bulk: BulkEngine
  ip: IpPrivacy
  userAgent: boolean
}

/** Seconds between two writes of the last use of a session, in one process. */
const SEEN_EVERY = 300

export class UserSessions {
  readonly #options: UserSessionsOptions
  readonly #context: SessionContext
  readonly #recentlySeen: RecentlySeen
  /** The uses of sessions in requests that have not been replied to yet. */
  readonly #uses = new WeakMap<Session, { userId: string; client: Client }>()
  readonly #writes = new Set<Promise<void>>()

  constructor(options: UserSessionsOptions) {
    this.#options = options
    this.#context = options.context
    this.#recentlySeen = new RecentlySeen(SEEN_EVERY, () => options.context.settings.clock().getTime())
  }

  /**
   * The live sessions of a user, the one that was used last first. Entries without a session, or with that of another
   * user, are deleted.
   *
   * @throws StoreUnavailable, StoreRefused
   */
  async find(userId: string, deadline = this.#deadline()): Promise<FoundSession[]> {
    const { table } = this.#options
    const { log } = this.#context
    const { found, stale } = this.#sort(userId, await table.list(userId, deadline))
    const warn = (error: unknown) => log.warn({ err: error }, 'Outdated entries of the table of user sessions could not be deleted')
    if (stale.length > 0) await table.deleteAll(userId, stale, Math.min(deadline, this.#hintDeadline())).catch(warn)
    return found
  }

  /**
   * The live session of a user with an id.
   *
   * @param id in decimal digits
   * @throws StoreUnavailable, StoreRefused
   */
  async findById(userId: string, id: string): Promise<FoundSession | null> {
    return this.#sort(userId, await this.#options.table.list(userId, this.#deadline(), id)).found[0] ?? null
  }

  /**
   * Ends sessions of a user, everywhere.
   *
   * @param cause for the event
   * @throws StoreUnavailable, StoreRefused
   */
  async end(userId: string, sessions: readonly FoundSession[], cause: EndingCause = REVOKED): Promise<void> {
    const { table, bulk } = this.#options
    if (sessions.length === 1) return this.#endOne(sessions[0] as FoundSession, cause)
    const sessionKeys = sessions.map(({ sessionKey }) => sessionKey)
    try {
      await bulk.deleteAll(sessionKeys, this.#deadline())
    } catch {
      // One of them may be locked: then it is the only one that is left.
      const results = await Promise.allSettled(sessions.map((session) => this.#endOne(session, cause)))
      const failure = results.find((result) => result.status === 'rejected')
      if (failure !== undefined) throw failure.reason
      return
    }
    for (const session of sessions) this.#tell(session, cause)
    const warn = (error: unknown) => this.#context.log.warn({ err: error }, 'Entries of ended sessions stay in the table of user sessions')
    await table.deleteAll(userId, sessionKeys, this.#hintDeadline()).catch(warn)
  }

  // --- what logins and requests note -------------------------------------------------

  /** Enters a session that its user has just signed in with. A failure is logged. */
  async enter(sessionKey: string, userId: string, client: Client): Promise<void> {
    this.#recentlySeen.add(sessionKey)
    const { table } = this.#options
    const sighting = this.#sightingOf(client)
    const deadline = this.#hintDeadline()
    const write = async () =>
      (await table.insert(sessionKey, userId, sighting, deadline)) || table.update(sessionKey, userId, sighting, deadline)
    await write().catch((error) => this.#warn(error))
  }

  /**
   * Enters such a session, unless its user has as many others as the limit allows. No two processes do so for one user at
   * the same time.
   *
   * @param counts whether a session of the user is still signed in
   * @returns whether it was entered, and the sessions that are to be ended for it: those that were used longest ago
   * @throws StoreUnavailable, StoreRefused
   */
  async admit(
    sessionKey: string,
    userId: string,
    client: Client,
    { of, then }: SessionLimit,
    counts: (session: FoundSession) => boolean
  ): Promise<{ isAdmitted: boolean; surplus: FoundSession[] }> {
    let surplus: FoundSession[] = []
    const decide = (entries: readonly Entry[]) => {
      const others = this.#sort(userId, entries).found.filter((found) => found.sessionKey !== sessionKey && counts(found))
      if (then === 'endOldest') surplus = others.slice(of - 1)
      return then === 'endOldest' || others.length < of
    }
    const isAdmitted = await this.#options.table.admit(sessionKey, userId, this.#sightingOf(client), decide, this.#deadline())
    if (isAdmitted) this.#recentlySeen.add(sessionKey)
    return { isAdmitted, surplus }
  }

  /** Whether the use of a session is to be noted in this request. */
  isDue({ sessionKey }: Session): boolean {
    return sessionKey === null || !this.#recentlySeen.has(sessionKey)
  }

  /** A user uses a session in a request. It is written after the reply. */
  use(session: Session, userId: string, client: Client): void {
    this.#uses.set(session, { userId, client })
  }

  /** Called after the reply to a request. A failure of what it writes is logged. */
  replied(session: Session): void {
    const use = this.#uses.get(session)
    const { sessionKey } = session
    if (use === undefined || sessionKey === null || !session.isLoaded || !this.isDue(session)) return
    // Another user may have signed in since, or nobody be signed in any more.
    if (String(session.get('_auth_user_id')) !== use.userId) return
    // Noted before it is written: a table that fails is asked no more often than one that does not.
    this.#recentlySeen.add(sessionKey)
    const write = this.#note(sessionKey, use.userId, use.client).catch((error) => this.#warn(error))
    this.#writes.add(write)
    write.then(() => this.#writes.delete(write))
  }

  /** Resolves when everything that was noted is written. */
  async close(): Promise<void> {
    await Promise.all(this.#writes)
  }

  async #note(sessionKey: string, userId: string, client: Client): Promise<void> {
    const { table } = this.#options
    const sighting = this.#sightingOf(client)
    const deadline = this.#deadline()
    // Unknown to the table, the session is one of a login through Django.
    if (!(await table.update(sessionKey, userId, sighting, deadline))) await table.insert(sessionKey, userId, sighting, deadline)
  }

  async #endOne(session: FoundSession, cause: EndingCause): Promise<void> {
    const { sessionKey } = session
    const deadline = this.#deadline()
    const { engine, mutex } = this.#context
    await callEngine(this.#context, deadline, () => mutex.run(sessionKey, deadline, () => engine.delete(sessionKey, deadline)))
    this.#tell(session, cause)
  }

  /** Tells the watches, and who subscribes to events, that a session was ended. */
  #tell({ sessionKey, members }: FoundSession, { event, request }: EndingCause): void {
    this.#context.watches.ended(sessionKey)
    if (!events[event].hasSubscribers) return
    const subject = { settings: this.#context.settings, sessionKey, members, request }
    if (event === 'ended') report('ended', subject, { reason: 'revoked' })
    else report('evicted', subject, {})
  }

  /** The live sessions of a user among the entries, and the keys of entries that belong to no session of the user. */
  #sort(userId: string, entries: readonly Entry[]): { found: FoundSession[]; stale: string[] } {
    const { table } = this.#options
    const { timeouts, clock } = this.#context.settings
    const now = clock()
    const found: FoundSession[] = []
    const stale: string[] = []
    for (const { stored, ip, userAgent, ...entry } of entries) {
      const members = stored === null ? null : this.#context.codec.tryDecode(stored.sessionData)
      const owner = members === null ? null : userIdOf(members)
      // A session without a user may be that of a login under way in Django, which stores the row first.
      if (stored === null || (owner !== null && !table.isSameUser(owner, userId))) stale.push(entry.sessionKey)
      // An expired session is left to the cleanup: the clocks of other processes may see it live.
      else if (members !== null && owner !== null) {
        const endsAt = earlier(stored.expireDate, timeouts.absolute === undefined ? null : absoluteEnd(members, timeouts.absolute, now))
        if (endsAt <= now) continue
        // django-allauth stores what a browser sent as it came.
        const device = storedUserAgent(userAgent, true)
        found.push({ ...entry, ip: ip === NO_IP ? null : ip, userAgent: device || null, endsAt, members })
      }
    }
    return { found, stale }
  }

  #sightingOf(client: Client): Sighting {
    const { ip, userAgent } = this.#options
    return { at: this.#context.settings.clock(), ip: storedIp(client.ip, ip), userAgent: storedUserAgent(client.userAgent, userAgent) }
  }

  #deadline(): Deadline {
    return deadlineIn(this.#context.settings.storeTimeout)
  }

  /** A visitor waits for sessions, and not for long for entries of the table beside them. */
  #hintDeadline(): Deadline {
    return deadlineIn(Math.min(1, this.#context.settings.storeTimeout))
  }

  #warn(error: unknown): void {
    this.#context.log.warn({ err: error }, 'A session was not entered in the table of user sessions: a later request tries again')
  }
}
