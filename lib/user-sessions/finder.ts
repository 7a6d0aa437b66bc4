/** The sessions of a user by the entries of the table, which is a hint: the sessions' own rows decide. */
import type { Entry, UserSessionsTable } from '../database/user-sessions-table.js'
import { deadlineIn } from '../deadline.js'
import type { Members } from '../django/serializer.js'
import { userIdOf } from '../django/user-id.js'
import { earlier, type SessionContext } from '../session/saving.js'
import { absoluteEnd } from '../session/timeouts.js'
import { NO_IP, storedUserAgent } from './client.js'

/** A session of a user. */
export interface UserSession {
  /** The number of the session in the table. Not the session key, which never leaves the server. */
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

/** The id of a session, which stays when its key changes, and its present key. */
export type Named = Pick<FoundSession, 'id' | 'sessionKey'>

/** A session of a user, with what must not leave the server. */
export interface FoundSession extends UserSession {
  readonly sessionKey: string
  readonly members: Members
}

/** The entries of a user, sorted. */
export interface Sight {
  /** The live sessions of the user, the one that was used last first. */
  found: FoundSession[]
  /** Entries that have no session: it is gone, or has another key, which its entry will have a moment later. */
  orphans: Named[]
}

export class Finder {
  readonly #table: UserSessionsTable
  readonly #context: SessionContext

  constructor(table: UserSessionsTable, context: SessionContext) {
    this.#table = table
    this.#context = context
  }

  /**
   * Looks at the entries of a user.
   *
   * @param id that of the only one to look at, in decimal digits
   * @throws StoreUnavailable, StoreRefused
   */
  async look(userId: string, id?: string): Promise<Sight> {
    return this.sort(userId, await this.#table.list(userId, deadlineIn(this.#context.settings.storeTimeout), id))
  }

  sort(userId: string, entries: readonly Entry[]): Sight {
    const { timeouts, clock } = this.#context.settings
    const now = clock()
    const found: FoundSession[] = []
    const orphans: Named[] = []
    for (const { stored, ip, userAgent, ...entry } of entries) {
      if (stored === null) {
        orphans.push(entry)
        continue
      }
      const members = this.#context.codec.tryDecode(stored.sessionData)
      const owner = userIdOf(members?.get('_auth_user_id')?.value)
      if (members === null || owner === null || !this.#table.isSameUser(owner, userId)) continue
      const endsAt = earlier(stored.expireDate, timeouts.absolute === undefined ? null : absoluteEnd(members, timeouts.absolute, now))
      if (endsAt <= now) continue
      // django-allauth stores what a browser sent as it came.
      const device = storedUserAgent(userAgent, true)
      found.push({ ...entry, ip: ip === NO_IP ? null : ip, userAgent: device || null, endsAt, members })
    }
    return { found, orphans }
  }
}
