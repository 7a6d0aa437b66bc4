/** Ends sessions of a user, everywhere. */
import type { UserSessionsTable } from '../database/user-sessions-table.js'
import { type Deadline, deadlineIn, hasPassed } from '../deadline.js'
import type { BulkEngine } from '../engines/bulk.js'
import { FOLLOW_TIMEOUT, followDeadline } from '../engines/indexed.js'
import { StoreUnavailable } from '../errors.js'
import { events } from '../events.js'
import { callEngine } from '../session/engine-call.js'
import { report } from '../session/reports.js'
import type { SessionContext } from '../session/saving.js'
import { pause } from '../timers.js'
import type { Finder, FoundSession, Named } from './finder.js'

/** Why sessions are ended, and in which request. */
export interface EndingCause {
  event: 'ended' | 'evicted'
  request: object | null
}

export const REVOKED: EndingCause = { event: 'ended', request: null }

/** Which sessions of a user to end. */
export interface Selection {
  /** The only one, in decimal digits. @default all */
  id?: string
  /** The key of one to spare. */
  but?: string | null
}

/** Milliseconds between the first two looks for the entry of a session that may have moved. Each pause is twice as long as the one before. */
const FIRST_PAUSE = 20

export interface EndingOptions {
  finder: Finder
  table: UserSessionsTable
  context: SessionContext
  /** The engine on the table, for many sessions at once. */
  bulk: BulkEngine
}

export class Ending {
  readonly #options: EndingOptions

  constructor(options: EndingOptions) {
    this.#options = options
  }

  /**
   * A key may be cycled between our read and our delete, and its entry follows a moment later. So repeat until no session
   * is left, nor any entry whose session may have moved.
   *
   * @param cause for the event
   * @returns the number of sessions that were ended
   * @throws StoreUnavailable, StoreRefused
   */
  async end(userId: string, { id, but }: Selection, cause: EndingCause): Promise<number> {
    const spared = new Set<number>()
    const isMeant = ({ id, sessionKey }: Named) => {
      // It may get another key before the next look, and its entry keeps the id.
      if (sessionKey === but) spared.add(id)
      return !spared.has(id)
    }
    const deadline = this.#deadline()
    const seen = new Set<number>()
    const ended = new Set<number>()
    for (let moved = deadlineIn(FOLLOW_TIMEOUT), wait = FIRST_PAUSE; ; ) {
      const look = await this.#options.finder.look(userId, id)
      const [found, orphans] = [look.found.filter(isMeant), look.orphans.filter(isMeant)]
      if (found.length > 0) {
        if (hasPassed(deadline)) throw new StoreUnavailable('the sessions of the user could not all be ended in time')
        for (const { id } of found) seen.add(id)
        for (const { id } of await this.#endAll(found, cause)) ended.add(id)
        moved = deadlineIn(FOLLOW_TIMEOUT)
        wait = FIRST_PAUSE
      } else if (hasPassed(moved) || orphans.every(({ id }) => ended.has(id))) {
        await this.#forget(userId, orphans)
        return seen.size
      } else {
        await pause(wait)
        wait *= 2
      }
    }
  }

  /** Returns the sessions that were there. If the bulk delete fails, each is deleted alone, so that one locked row spares only itself. */
  async #endAll(sessions: readonly FoundSession[], cause: EndingCause): Promise<FoundSession[]> {
    const { bulk, context } = this.#options
    const ended: FoundSession[] = []
    const end = async (some: readonly FoundSession[]) => {
      const deadline = this.#deadline()
      const sessionKeys = some.map(({ sessionKey }) => sessionKey)
      const deleted = new Set(await callEngine(context, deadline, () => bulk.deleteAll(sessionKeys, deadline)))
      for (const session of some.filter(({ sessionKey }) => deleted.has(sessionKey))) {
        ended.push(session)
        this.#tell(session, cause)
      }
    }
    try {
      await end(sessions)
    } catch (error) {
      if (sessions.length === 1) throw error
      const results = await Promise.allSettled(sessions.map((session) => end([session])))
      const failure = results.find((result) => result.status === 'rejected')
      if (failure !== undefined) throw failure.reason
    }
    return ended
  }

  /** Tells the watches and the subscribers of the event that a session was ended. */
  #tell({ sessionKey, members }: FoundSession, { event, request }: EndingCause): void {
    this.#options.context.watches.ended(sessionKey)
    if (!events[event].hasSubscribers) return
    const subject = { settings: this.#options.context.settings, sessionKey, members, request }
    if (event === 'ended') report('ended', subject, { reason: 'revoked' })
    else report('evicted', subject, {})
  }

  /** Deletes the entries of sessions that are gone. A failure is logged. */
  async #forget(userId: string, orphans: readonly Named[]): Promise<void> {
    if (orphans.length === 0) return
    const { table, context } = this.#options
    const sessionKeys = orphans.map(({ sessionKey }) => sessionKey)
    const warn = (error: unknown) => context.log.warn({ err: error }, 'Entries of ended sessions stay in the table of user sessions')
    await table.deleteAll(userId, sessionKeys, followDeadline(this.#deadline())).catch(warn)
  }

  #deadline(): Deadline {
    return deadlineIn(this.#options.context.settings.storeTimeout)
  }
}
