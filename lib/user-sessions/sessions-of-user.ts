/** The sessions of one user, for administrators and for applications without `createAuth`. */
import { isUserId } from './user-id.js'
import type { FoundSession, UserSession, UserSessions } from './user-sessions.js'

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
    const found = await findById(this.#sessions, this.#userId, id)
    if (found !== null) await this.#sessions.end(this.#userId, [found])
    return found !== null
  }

  /**
   * Ends all sessions of the user, everywhere.
   *
   * @returns their number
   * @throws StoreUnavailable, StoreRefused
   */
  async endAll(): Promise<number> {
    const found = await this.#sessions.find(this.#userId)
    await this.#sessions.end(this.#userId, found)
    return found.length
  }
}

/** The session of a user with an id, which may come from a request; null when there is none. */
export async function findById(sessions: UserSessions, userId: string, id: unknown): Promise<FoundSession | null> {
  // JSON has objects that cannot be made text.
  if (typeof id === 'object' || !/^[1-9]\d{0,15}$/.test(String(id))) return null
  return sessions.findById(userId, String(id))
}

/** Without what must not leave the server. */
export function toUserSession({ sessionKey, members, ...session }: FoundSession): UserSession {
  return session
}
