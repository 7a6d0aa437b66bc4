/**
 * The table of django-allauth's `allauth.usersessions.models.UserSession`: which session is whose, and where it was seen.
 * A hint: the table of the sessions says which of them are live, and whose they are.
 */
import type { Deadline, StoredSession } from '../contract.js'
import { StoreRefused } from '../errors.js'
import { type Connections, undo } from './connections.js'
import { deleteKeys } from './delete-keys.js'
import type { Dialect, Row } from './dialect.js'
import { readColumns } from './inspection.js'
import type { SessionTable } from './session-table.js'
import { failure, isKeyTaken } from './statement-error.js'
import type { Send } from './use.js'
import { type UserIdColumn, userIdColumn } from './user-ids.js'

/** Django's name of the table. */
export const USER_SESSIONS_TABLE = 'usersessions_usersession'

/** Where a session was seen. */
export interface Sighting {
  readonly at: Date
  /** An address of IPv4 or IPv6. */
  readonly ip: string
  /** At most 200 characters. */
  readonly userAgent: string
}

/** An entry, and the row of its session as it is in the same moment. */
export interface Entry {
  readonly id: number
  readonly sessionKey: string
  readonly createdAt: Date
  readonly lastSeenAt: Date
  readonly ip: string
  readonly userAgent: string
  /** The session, live or expired; null when there is none. */
  readonly stored: StoredSession | null
}

/** Entries that are looked at in one statement. */
const PAGE = 1000

export class UserSessionsTable {
  readonly #sessions: SessionTable
  readonly #connections: Connections
  readonly #dialect: Dialect
  readonly #table: string
  readonly #sql: ReturnType<typeof statementsOf>
  #userIdColumn: UserIdColumn | null = null

  /** @param sessions the table of the sessions, in the same database */
  constructor(sessions: SessionTable) {
    this.#sessions = sessions
    this.#connections = sessions.connections
    this.#dialect = sessions.connections.dialect
    this.#table = this.#dialect.quote(USER_SESSIONS_TABLE)
    this.#sql = statementsOf(this.#table, sessions.table, this.#dialect)
  }

  /**
   * The entries of a user, last seen first.
   *
   * @param id that of the only entry to return, in decimal digits
   * @throws StoreUnavailable, StoreRefused
   */
  async list(userId: string, deadline: Deadline, id?: string): Promise<Entry[]> {
    const column = await this.#column(deadline)
    const bound = column.bind(userId)
    return bound === null ? [] : this.#list(this.#sendUntil(deadline), column, bound, id)
  }

  /**
   * Enters a session that is new to the table. Does nothing where it is there.
   *
   * @returns false when it was there
   * @throws StoreUnavailable, StoreRefused; also for a user whose id does not fit the column
   */
  async insert(sessionKey: string, userId: string, sighting: Sighting, deadline: Deadline): Promise<boolean> {
    const bound = await this.#bound(userId, deadline)
    return this.#insert(this.#sendUntil(deadline), sessionKey, bound, sighting)
  }

  /** Notes whose a session is and where it was seen. False when it is not in the table. @throws StoreUnavailable, StoreRefused */
  async update(sessionKey: string, userId: string, sighting: Sighting, deadline: Deadline): Promise<boolean> {
    const bound = await this.#bound(userId, deadline)
    return this.#update(this.#sendUntil(deadline), sessionKey, bound, sighting)
  }

  /** Follows a session to its new key. @throws StoreUnavailable, StoreRefused */
  async cycleKey(sessionKey: string, newKey: string, deadline: Deadline): Promise<void> {
    await this.#connections.send(this.#sql.cycleKey, [newKey, sessionKey], deadline)
  }

  /** @throws StoreUnavailable, StoreRefused */
  async delete(sessionKey: string, deadline: Deadline): Promise<void> {
    await this.#connections.send(this.#sql.delete, [sessionKey], deadline)
  }

  /** Deletes entries of a user. One that is another user's by now stays. @throws StoreUnavailable, StoreRefused */
  async deleteAll(userId: string, sessionKeys: readonly string[], deadline: Deadline): Promise<void> {
    const { parameter } = await this.#column(deadline)
    const condition = { sql: `user_id = ${parameter}`, bindings: [await this.#bound(userId, deadline)] }
    await deleteKeys(this.#connections, { table: this.#table, sessionKeys, condition }, deadline)
  }

  /**
   * Deletes the entries of sessions that are gone.
   *
   * @param signal ends it after the statement under way
   * @throws StoreUnavailable, StoreRefused
   */
  async deleteOrphans(signal?: AbortSignal): Promise<void> {
    for (let last = '0', isMore = true; isMore && !signal?.aborted; ) {
      const rows = await this.#connections.rows(this.#sql.page, [last])
      const orphans = rows.filter(({ session_key, stored_key }) => session_key !== stored_key)
      const sessionKeys = orphans.map(({ session_key }) => String(session_key))
      await deleteKeys(this.#connections, { table: this.#table, sessionKeys }, this.#connections.deadline)
      isMore = rows.length === PAGE
      last = String(rows.at(-1)?.id)
    }
  }

  /**
   * Enters a session, if `decide` agrees to the entries of its user, while no other process does so for the same user.
   *
   * @returns whether it was entered
   * @throws StoreUnavailable, StoreRefused
   */
  async admit(
    sessionKey: string,
    userId: string,
    sighting: Sighting,
    decide: (entries: readonly Entry[]) => boolean,
    deadline: Deadline
  ): Promise<boolean> {
    const column = await this.#column(deadline)
    const bound = await this.#bound(userId, deadline)
    return this.#connections.transaction(async (send) => {
      const unlock = await this.#lockUser(send, bound)
      try {
        const isAdmitted = decide(await this.#list(send, column, bound))
        // It is there where the same user signs in again.
        if (isAdmitted && !(await this.#insert(send, sessionKey, bound, sighting))) await this.#update(send, sessionKey, bound, sighting)
        return isAdmitted
      } finally {
        await unlock()
      }
    }, deadline)
  }

  /** Returns the function that opens the lock before the transaction ends, where the database needs it. */
  async #lockUser(send: Send, boundUserId: string): Promise<() => Promise<void>> {
    const { tryLock, unlock } = this.#dialect
    // Without a lock of that kind only one transaction writes at a time.
    if (tryLock === null) return async () => {}
    const name = `${USER_SESSIONS_TABLE} ${boundUserId}`
    const [lock] = this.#dialect.rows(await send(tryLock, [name]))
    // Tried again later, without the connection.
    if (!lock?.held)
      throw failure({ kind: 'busy', reason: 'another login of the user is under way', error: new Error(), message: 'locked' })
    return async () => {
      if (unlock === null) return
      // Others must see the entry once they have the lock, which the connection keeps beyond the transaction.
      await undo(send, 'COMMIT')
      await undo(send, unlock, [name])
    }
  }

  /** Whether two ids are that of the same user, as the column has them. Known after `list`. */
  isSameUser(userId: string, other: string): boolean {
    const bind = this.#userIdColumn?.bind ?? String
    return bind(userId) === bind(other)
  }

  async #list(send: Send, { parameter }: UserIdColumn, boundUserId: string, id?: string): Promise<Entry[]> {
    // As text: a number that is too large for the column is an error on PostgreSQL.
    const [condition, bindings] = id === undefined ? ['', []] : ['AND CAST(entry.id AS CHAR(20)) = ?', [id]]
    const response = await send(this.#sql.list(parameter, condition), [boundUserId, ...bindings])
    return this.#dialect.rows(response).map((row) => this.#read(row))
  }

  async #insert(send: Send, sessionKey: string, boundUserId: string, { at, ip, userAgent }: Sighting): Promise<boolean> {
    const date = this.#dialect.bindDate(at)
    try {
      return this.#dialect.affected(await send(this.#sql.insert, [sessionKey, boundUserId, date, date, ip, userAgent])) > 0
    } catch (error) {
      if (isKeyTaken(error)) return false
      throw error
    }
  }

  async #update(send: Send, sessionKey: string, boundUserId: string, { at, ip, userAgent }: Sighting): Promise<boolean> {
    const bindings = [boundUserId, this.#dialect.bindDate(at), ip, userAgent, sessionKey]
    return this.#dialect.affected(await send(this.#sql.update, bindings)) > 0
  }

  #read(row: Row): Entry {
    const { readDate } = this.#dialect
    // Collations that ignore case join keys that are not the same.
    const isFound = row.stored_key === row.session_key
    return {
      id: Number(row.id),
      sessionKey: String(row.session_key),
      createdAt: readDate(row.created_at),
      lastSeenAt: readDate(row.last_seen_at),
      ip: String(row.ip),
      userAgent: String(row.user_agent),
      stored: isFound ? this.#sessions.read(row) : null
    }
  }

  async #bound(userId: string, deadline: Deadline): Promise<string> {
    const bound = (await this.#column(deadline)).bind(userId)
    if (bound === null) throw new StoreRefused(`the id of the user does not fit the column user_id of the table ${USER_SESSIONS_TABLE}`)
    return bound
  }

  /** Asked of the database once. */
  async #column(deadline: Deadline): Promise<UserIdColumn> {
    if (this.#userIdColumn === null) {
      const columns = await readColumns(this.#connections, USER_SESSIONS_TABLE, deadline)
      const column = columns.find(({ name }) => name === 'user_id')
      if (column === undefined) {
        throw new StoreRefused(
          `there is no table ${USER_SESSIONS_TABLE} of user sessions: npx fastify-django-sessions migrate --user-sessions`
        )
      }
      this.#userIdColumn = userIdColumn(column, this.#dialect)
    }
    return this.#userIdColumn
  }

  /** For statements outside a transaction. */
  #sendUntil(deadline: Deadline): Send {
    return (sql, bindings) => this.#connections.send(sql, bindings, deadline)
  }
}

function statementsOf(table: string, sessions: string, dialect: Dialect) {
  const { selectDate, exactParameter, onConflict } = dialect
  const key = `session_key = ${exactParameter}`
  const join = `LEFT JOIN ${sessions} AS stored ON stored.session_key = entry.session_key`
  return {
    list: (
      userId: string,
      condition: string
    ) => `SELECT entry.id AS id, entry.session_key AS session_key, ${selectDate('entry.created_at')} AS created_at,
        ${selectDate('entry.last_seen_at')} AS last_seen_at, entry.ip AS ip, entry.user_agent AS user_agent,
        stored.session_key AS stored_key, stored.session_data AS session_data, ${selectDate('stored.expire_date')} AS expire_date
      FROM ${table} AS entry ${join} WHERE entry.user_id = ${userId} ${condition} ORDER BY entry.last_seen_at DESC, entry.id DESC`,
    page: `SELECT entry.id AS id, entry.session_key AS session_key, stored.session_key AS stored_key
      FROM (SELECT id, session_key FROM ${table} WHERE id > ? ORDER BY id LIMIT ${PAGE}) AS entry ${join} ORDER BY entry.id`,
    insert: dialect.insertUnlocked(
      `INSERT INTO ${table} (session_key, user_id, created_at, last_seen_at, ip, user_agent, data) VALUES (?, ?, ?, ?, ?, ?, '{}') ${onConflict}`
    ),
    update: dialect.writeUnlocked(`UPDATE ${table} SET user_id = ?, last_seen_at = ?, ip = ?, user_agent = ?`, table, key, false),
    cycleKey: dialect.writeUnlocked(`UPDATE ${table} SET session_key = ?`, table, key, true),
    delete: dialect.writeUnlocked(`DELETE FROM ${table}`, table, key, true)
  }
}
