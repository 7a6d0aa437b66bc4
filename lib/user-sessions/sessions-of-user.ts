/** The sessions of one user, for administrators and for applications without `createAuth`. */
import { isUserId } from '../django/user-id.js'
import type { FoundSession, UserSession } from './finder.js'
import type { UserSessions } from './user-sessions.js'

/** The sessions of one user: `app.sessions.ofUser(id)`. */
export class SessionsOfUser {
  readonly #sessions: UserSessions
  readonly #userId: string

  /**
   * Made by `app.sessions.ofUser`.
   *
   * @throws TypeError when the id is not one of a user
   */
  constructor(sessions: UserSessions, userId: string | number | bigint) {
    if (!isUserId(userId)) throw new TypeError("ofUser: expected a user's id, a string that is not empty, a safe integer or a bigint")
    this.#sessions = sessions
    this.#userId = String(userId)
  }

  /**
   * The live sessions of the user, the one that was used last first, by one statement. A login that changed its
   * password since may be among them, until its next request.
   *
   * @throws StoreUnavailable, StoreRefused
   */
  async list(): Promise<UserSession[]> {
    return (await this.#sessions.find(this.#userId)).map(toUserSession)
  }

  /**
   * Ends a session of the user, everywhere.
   *
   * @param id that of `list()`, also as text
   * @returns false when the user has no such session
   * @throws StoreUnavailable, StoreRefused
   */
  async end(id: number | string): Promise<boolean> {
    const digits = idOf(id)
    return digits !== null && (await this.#sessions.end(this.#userId, { id: digits })) > 0
  }

  /**
   * Ends all sessions of the user, everywhere.
   *
   * @returns their number
   * @throws StoreUnavailable, StoreRefused
   */
  endAll(): Promise<number> {
    return this.#sessions.end(this.#userId)
  }
}

/** The id of a session, which may come from a request, in decimal digits. Null for what is none. */
export function idOf(id: unknown): string | null {
  // JSON has objects that cannot be made text.
  return typeof id !== 'object' && /^[1-9]\d{0,15}$/.test(String(id)) ? String(id) : null
}

/** Without what must not leave the server. */
export function toUserSession({ sessionKey, members, ...session }: FoundSession): UserSession {
  return session
}
