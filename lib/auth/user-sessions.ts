/** The sessions of the user who is signed in, and the limit of how many there may be. */
import type { FastifyRequest } from 'fastify'
import type { Members } from '../django/serializer.js'
import { InvalidOptions, TooManySessions } from '../errors.js'
import type { Session } from '../session/session.js'
import { Sessions } from '../sessions.js'
import type { Check } from '../settings/check.js'
import type { Client } from '../user-sessions/client.js'
import type { FoundSession, UserSession } from '../user-sessions/finder.js'
import { idOf, toUserSession } from '../user-sessions/sessions-of-user.js'
import type { SessionLimit, UserSessions } from '../user-sessions/user-sessions.js'
import { type AuthUser, sessionOf } from './users.js'

/** The option `maxSessions` of `createAuth`. */
export interface MaxSessions<User extends AuthUser> {
  /** The most sessions of a user: a whole number from 1, or a function of the user that returns one. */
  of: number | ((user: User) => number)
  /** The way to make room for one login more: end the session that was used longest ago, or refuse the login. */
  then: 'endOldest' | 'refuse'
}

/** A session of the user who is signed in. */
export interface OwnSession extends UserSession {
  /** Whether it is the session of the request. */
  readonly isCurrent: boolean
}

export interface OwnSessionsOptions<User extends AuthUser> {
  user: (request: FastifyRequest) => Promise<User | null>
  logout: (request: FastifyRequest) => Promise<void>
  /** Whether the members are those of a login that still counts. */
  isSignedIn: (sessions: Sessions, user: User, members: Members) => boolean
  maxSessions: MaxSessions<User> | undefined
}

export class OwnSessions<User extends AuthUser> {
  readonly #options: OwnSessionsOptions<User>

  constructor(options: OwnSessionsOptions<User>) {
    this.#options = options
  }

  async list(request: FastifyRequest): Promise<OwnSession[]> {
    const session = sessionOf(request)
    const userSessions = userSessionsOf(session, 'sessionsOf')
    const user = await this.#options.user(request)
    if (user === null) return []
    const { sessionKey } = session
    const find = () => this.#find(userSessions, session, user)
    let found = await find()
    // The table is a hint, and of this session it is known better.
    if (sessionKey !== null && !found.some((session) => session.sessionKey === sessionKey)) {
      await userSessions.enter(sessionKey, String(user.id), clientOf(request))
      found = await find()
    }
    return found.map((session) => ({ ...toUserSession(session), isCurrent: session.sessionKey === sessionKey }))
  }

  async end(request: FastifyRequest, id: number | string): Promise<boolean> {
    const session = sessionOf(request)
    const userSessions = userSessionsOf(session, 'endSession')
    const user = await this.#options.user(request)
    const digits = idOf(id)
    if (user === null || digits === null) return false
    const [found] = await userSessions.find(String(user.id), digits)
    if (found?.sessionKey !== session.sessionKey) {
      return (await userSessions.end(String(user.id), { id: digits }, { event: 'ended', request })) > 0
    }
    await this.#options.logout(request)
    return true
  }

  async endOthers(request: FastifyRequest): Promise<number> {
    const session = sessionOf(request)
    const userSessions = userSessionsOf(session, 'endOtherSessions')
    const user = await this.#options.user(request)
    if (user === null) return 0
    const { sessionKey } = session
    return userSessions.end(String(user.id), { but: sessionKey }, { event: 'ended', request })
  }

  /** Called before a login changes anything. @throws TooManySessions */
  async refuseSurplus(session: Session, user: User): Promise<void> {
    const limit = this.#limitOf(user)
    if (limit?.then !== 'refuse') return
    const found = await this.#find(userSessionsOf(session, 'maxSessions'), session, user)
    if (found.filter(({ sessionKey }) => sessionKey !== session.sessionKey).length >= limit.of) throw new TooManySessions(limit.of)
  }

  /**
   * Called when a login has changed the session: stores it, since its key is needed, and enters it.
   *
   * @throws TooManySessions, StoreUnavailable, StoreRefused; then the login is to be undone
   */
  async enter(request: FastifyRequest, session: Session, user: User): Promise<void> {
    const limit = this.#limitOf(user)
    if (limit === null && Sessions.of(session).userSessions === null) return
    const userSessions = userSessionsOf(session, 'maxSessions')
    await session.save()
    if (limit === null) await userSessions.enter(session.sessionKey as string, String(user.id), clientOf(request))
    else await this.#admit(userSessions, request, session, user, limit)
  }

  async #admit(userSessions: UserSessions, request: FastifyRequest, session: Session, user: User, limit: SessionLimit): Promise<void> {
    const sessions = Sessions.of(session)
    const id = String(user.id)
    const isSignedIn = ({ members }: FoundSession) => this.#options.isSignedIn(sessions, user, members)
    const { isAdmitted, surplus } = await userSessions.admit(session.sessionKey as string, id, clientOf(request), limit, isSignedIn)
    // Another login was faster than this one, since `refuseSurplus` looked.
    if (!isAdmitted) throw new TooManySessions(limit.of)
    await Promise.all(surplus.map((evicted) => userSessions.end(id, { id: String(evicted.id) }, { event: 'evicted', request })))
  }

  /** A verified user is using the session of a request. */
  use(request: FastifyRequest, session: Session, user: User): void {
    const { userSessions } = Sessions.of(session)
    if (userSessions?.isDue(session)) userSessions.use(session, String(user.id), clientOf(request))
  }

  async #find(userSessions: UserSessions, session: Session, user: User): Promise<FoundSession[]> {
    const found = await userSessions.find(String(user.id))
    return found.filter(({ members }) => this.#options.isSignedIn(Sessions.of(session), user, members))
  }

  #limitOf(user: User): SessionLimit | null {
    const { maxSessions } = this.#options
    if (maxSessions === undefined) return null
    const { of, then } = maxSessions
    const limit = typeof of === 'function' ? of(user) : of
    if (!isLimit(limit)) throw new TypeError(`Expected maxSessions.of to return a whole number from 1, got ${String(limit)}`)
    return { of: limit, then }
  }
}

/** @throws InvalidOptions without the option of the plugin */
function userSessionsOf(session: Session, name: string): UserSessions {
  const { userSessions } = Sessions.of(session)
  if (userSessions === null) throw new InvalidOptions(`- userSessions: expected true or an object, for ${name} of createAuth, got nothing`)
  return userSessions
}

function clientOf({ ip, headers }: FastifyRequest): Client {
  return { ip, userAgent: headers['user-agent'] }
}

const isLimit = (value: unknown): value is number => Number.isSafeInteger(value) && Number(value) >= 1

export const MAX_SESSIONS_CHECK: Check = [
  "an object with of, a whole number from 1 or a function, and then, 'endOldest' or 'refuse', as in { of: 5, then: 'endOldest' }",
  (maxSessions) => {
    const { of, then, ...unknown } = Object(maxSessions) as Record<string, unknown>
    return (typeof of === 'function' || isLimit(of)) && (then === 'endOldest' || then === 'refuse') && Object.keys(unknown).length === 0
  }
]
