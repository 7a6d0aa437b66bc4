import type { Entry, Sighting, UserSessionsTable } from '../database/user-sessions-table.js'
import { type Deadline, deadlineIn } from '../deadline.js'
import { userIdOf } from '../django/user-id.js'
import type { BulkEngine } from '../engines/bulk.js'
import { followDeadline } from '../engines/indexed.js'
import type { SessionContext } from '../session/saving.js'
import type { Session } from '../session/session.js'
import { type Client, type IpPrivacy, storedIp, storedUserAgent } from './client.js'
import { Ending, type EndingCause, REVOKED, type Selection } from './ending.js'
import { Finder, type FoundSession } from './finder.js'
import { RecentlySeen } from './recently-seen.js'

/** The most sessions of a user, and what a login does that would be one more. */
export interface SessionLimit {
  of: number
  then: 'endOldest' | 'refuse'
}

export interface UserSessionsParts {
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
  readonly #parts: UserSessionsParts
  readonly #context: SessionContext
  readonly #finder: Finder
  readonly #ending: Ending
  readonly #recentlySeen: RecentlySeen
  /** The uses of sessions in requests that have not been replied to yet. */
  readonly #uses = new WeakMap<Session, { userId: string; client: Client }>()
  readonly #writes = new Set<Promise<void>>()

  constructor(parts: UserSessionsParts) {
    this.#parts = parts
    this.#context = parts.context
    this.#finder = new Finder(parts.table, parts.context)
    this.#ending = new Ending({ ...parts, finder: this.#finder })
    this.#recentlySeen = new RecentlySeen(SEEN_EVERY, () => parts.context.settings.clock().getTime())
  }

  /**
   * The live sessions of a user, the one that was used last first.
   *
   * @param id that of the only one to return, in decimal digits
   * @throws StoreUnavailable, StoreRefused
   */
  async find(userId: string, id?: string): Promise<FoundSession[]> {
    return (await this.#finder.look(userId, id)).found
  }

  /**
   * Ends sessions of a user, everywhere.
   *
   * @param cause for the event
   * @returns their number
   * @throws StoreUnavailable, StoreRefused
   */
  end(userId: string, selection: Selection = {}, cause: EndingCause = REVOKED): Promise<number> {
    return this.#ending.end(userId, selection, cause)
  }

  // --- what logins and requests note -------------------------------------------------

  /** Enters a session that its user has just signed in with. A failure is logged. */
  async enter(sessionKey: string, userId: string, client: Client): Promise<void> {
    this.#recentlySeen.add(sessionKey)
    const { table } = this.#parts
    const sighting = this.#sightingOf(client)
    const deadline = followDeadline(this.#deadline())
    const write = async () =>
      (await table.insert(sessionKey, userId, sighting, deadline)) || table.update(sessionKey, userId, sighting, deadline)
    await write().catch((error) => this.#warn(error))
  }

  /**
   * Enters a session whose user has just signed in, unless the user has as many others as the limit allows. No two
   * processes do so for one user at the same time.
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
      const others = this.#finder.sort(userId, entries).found.filter((found) => found.sessionKey !== sessionKey && counts(found))
      if (then === 'endOldest') surplus = others.slice(of - 1)
      return then === 'endOldest' || others.length < of
    }
    const isAdmitted = await this.#parts.table.admit(sessionKey, userId, this.#sightingOf(client), decide, this.#deadline())
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
    if (userIdOf(session.get('_auth_user_id')) !== use.userId) return
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
    const { table } = this.#parts
    const sighting = this.#sightingOf(client)
    const deadline = this.#deadline()
    // Unknown to the table, the session is one of a login through Django.
    if (!(await table.update(sessionKey, userId, sighting, deadline))) await table.insert(sessionKey, userId, sighting, deadline)
  }

  #sightingOf(client: Client): Sighting {
    const { ip, userAgent } = this.#parts
    return { at: this.#context.settings.clock(), ip: storedIp(client.ip, ip), userAgent: storedUserAgent(client.userAgent, userAgent) }
  }

  #deadline(): Deadline {
    return deadlineIn(this.#context.settings.storeTimeout)
  }

  #warn(error: unknown): void {
    this.#context.log.warn({ err: error }, 'A session was not entered in the table of user sessions: a later request tries again')
  }
}
