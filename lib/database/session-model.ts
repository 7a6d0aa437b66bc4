/** Reading the table of sessions, for applications: `app.sessions.model`. */
import type { Knex } from 'knex'
import type { Codec } from '../django/codec.js'
import { toObject } from '../django/serializer.js'
import { ExpiredSessions } from './expired-sessions.js'
import type { SessionTable } from './session-table.js'

/** A row as Django's `Session` objects show it. */
export interface SessionRow {
  /** The primary key. */
  readonly sessionKey: string
  /** The signed text. */
  readonly sessionData: string
  /** The moment at which the session ends, rounded up to the millisecond. */
  readonly expireDate: Date
  /**
   * Decodes the data, like Django's `get_decoded()`.
   *
   * @throws SuspiciousSession if the text is corrupt or forged
   * @throws SessionTooLarge
   */
  decoded(): Record<string, unknown>
}

/** Reads the table of sessions: `app.sessions.model` (`Session.objects` of django/contrib/sessions/models.py). */
export class SessionModel {
  readonly #table: SessionTable
  readonly #codec: Codec

  /** Made by the plugin. */
  constructor(table: SessionTable, codec: Codec) {
    this.#table = table
    this.#codec = codec
  }

  /** The option `tableName`. */
  get tableName(): string {
    return this.#table.tableName
  }

  /** A Knex query builder on the table, for any other query. */
  query(): Knex.QueryBuilder {
    return this.#table.connections.knex(this.tableName)
  }

  /**
   * The row of a key, live or expired. Null if there is none.
   *
   * @throws StoreUnavailable
   */
  async find(sessionKey: string): Promise<SessionRow | null> {
    // PostgreSQL refuses this character in any text, so no key has it.
    if (sessionKey.includes('\0')) return null
    const row = await this.#table.find(sessionKey)
    if (row === null) return null
    const { sessionData, expireDate } = row
    return { sessionKey, sessionData, expireDate, decoded: () => toObject(this.#codec.decode(sessionData)) }
  }

  /**
   * The number of sessions that ended before a date, and the end of the oldest of them. Scans the
   * index of `expire_date` up to the date. On SQLite this blocks the event loop.
   *
   * @throws StoreUnavailable
   */
  countExpired(before: Date): Promise<{ count: number; oldest: Date | null }> {
    return new ExpiredSessions(this.#table).count(before)
  }
}
