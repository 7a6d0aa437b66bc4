/**
 * The table of django.contrib.sessions.models.Session: the only module that builds
 * queries. It knows keys, signed text and dates, and nothing of what they mean.
 */
import type { Knex } from 'knex'
import type { Codec } from './codec.js'
import type { Binding, Database } from './database.js'
import type { Dialect, Row } from './dialect.js'
import type { SessionRecord, StoredSession } from './engines/engine.js'
import { toObject } from './serializer.js'

/** Further columns of a table that extends Django's, by name. */
export type Columns = Record<string, Binding>

/** A row as Django's `Session` objects show it. */
export interface SessionRow {
  readonly sessionKey: string
  /** The signed text. */
  readonly sessionData: string
  readonly expireDate: Date
  /**
   * The data, as Django's `get_decoded()`.
   *
   * @throws SuspiciousSession when the text is corrupt or forged
   * @throws SessionTooLarge
   */
  decoded(): Record<string, unknown>
}

export interface ModelOptions {
  database: Database
  codec: Codec
  tableName: string
}

export class Model {
  readonly tableName: string
  readonly #database: Database
  readonly #dialect: Dialect
  readonly #codec: Codec
  readonly #table: string

  constructor({ database, codec, tableName }: ModelOptions) {
    this.tableName = tableName
    this.#database = database
    this.#dialect = database.dialect
    this.#codec = codec
    this.#table = database.dialect.quote(tableName)
  }

  /** A Knex query builder on the table, for whatever else an application wants to know. */
  query(): Knex.QueryBuilder {
    return this.#database.knex(this.tableName)
  }

  /**
   * The row of a key, live or expired; null when there is none.
   *
   * @throws StoreUnavailable
   */
  async find(sessionKey: string): Promise<SessionRow | null> {
    const [row] = await this.#select('session_key = ?', [sessionKey])
    if (row === undefined) return null
    const { text, expireDate } = this.#read(row)
    return { sessionKey, sessionData: text, expireDate, decoded: () => toObject(this.#codec.decode(text)) }
  }

  /** The row of a key that ends after `now`. */
  async findLive(sessionKey: string, now: Date): Promise<StoredSession | null> {
    const [row] = await this.#select('session_key = ? AND expire_date > ?', [sessionKey, this.#dialect.bindDate(now)])
    return row === undefined ? null : this.#read(row)
  }

  async exists(sessionKey: string): Promise<boolean> {
    const response = await this.#database.send(`SELECT 1 AS found FROM ${this.#table} WHERE session_key = ?`, [sessionKey])
    return this.#dialect.rows(response).length > 0
  }

  /** False when the key is taken. */
  insert(sessionKey: string, { text, expireDate }: StoredSession, columns: Columns): Promise<boolean> {
    const names = ['session_key', 'session_data', 'expire_date', ...this.#quoted(columns)]
    const sql = `INSERT INTO ${this.#table} (${names.join(', ')}) VALUES (${names.map(() => '?').join(', ')}) ${this.#dialect.onConflict}`
    return this.#write(sql, [sessionKey, text, this.#dialect.bindDate(expireDate), ...Object.values(columns)])
  }

  /** False when there is no such row, or it does not hold the text `snapshot` any more. */
  update(sessionKey: string, record: StoredSession, columns: Columns, snapshot: string | null): Promise<boolean> {
    const [sql, bindings] = this.#updateStatement(sessionKey, record, columns)
    return snapshot === null ? this.#write(sql, bindings) : this.#write(`${sql} AND session_data = ?`, [...bindings, snapshot])
  }

  /** Replaces the live row by what `merge` makes of it, under its lock. False when there is none. */
  updateLocked(
    sessionKey: string,
    now: Date,
    merge: (stored: StoredSession) => { record: SessionRecord; columns: Columns }
  ): Promise<boolean> {
    return this.#database.transaction(async (send) => {
      const where = `session_key = ? AND expire_date > ? ${this.#dialect.forUpdate}`
      const [row] = this.#dialect.rows(await send(this.#selectStatement(where), [sessionKey, this.#dialect.bindDate(now)]))
      if (row === undefined) return false
      const { record, columns } = merge(this.#read(row))
      return this.#dialect.affected(await send(...this.#updateStatement(sessionKey, record, columns))) > 0
    })
  }

  /** False when there is no such row, or it does not hold the text `snapshot` any more. */
  updateExpireDate(sessionKey: string, expireDate: Date, snapshot: string): Promise<boolean> {
    const sql = `UPDATE ${this.#table} SET expire_date = ? WHERE session_key = ? AND session_data = ?`
    return this.#write(sql, [this.#dialect.bindDate(expireDate), sessionKey, snapshot])
  }

  /** False when there is no such row. The date is set only while the row holds the text `snapshot`. */
  updateSessionKey(sessionKey: string, newKey: string, expireDate: Date, snapshot: string): Promise<boolean> {
    const sql = `UPDATE ${this.#table} SET session_key = ?, expire_date = CASE WHEN session_data = ? THEN ${this.#dialect.dateParameter} ELSE expire_date END WHERE session_key = ?`
    return this.#write(sql, [newKey, snapshot, this.#dialect.bindDate(expireDate), sessionKey])
  }

  delete(sessionKey: string): Promise<boolean> {
    return this.#write(`DELETE FROM ${this.#table} WHERE session_key = ?`, [sessionKey])
  }

  /** How `deleteExpired` is best called on this database. */
  get cleanup(): Dialect['cleanup'] {
    return this.#dialect.cleanup
  }

  /** Deletes at most `limit` rows that ended before the date. Null when another cleaner is at work. */
  deleteExpired(before: Date, limit: number): Promise<number | null> {
    const date = this.#dialect.bindDate(before)
    const { tryLock } = this.#dialect
    return this.#database.transaction(async (send) => {
      if (tryLock !== null) {
        const [lock] = this.#dialect.rows(await send(tryLock, [`clearsessions ${this.tableName}`]))
        if (!lock?.held) return null
      }
      return this.#dialect.affected(await send(this.#dialect.deleteExpired(this.#table), [date, limit, date]))
    })
  }

  async #select(where: string, bindings: Binding[]): Promise<Row[]> {
    return this.#dialect.rows(await this.#database.send(this.#selectStatement(where), bindings))
  }

  async #write(sql: string, bindings: Binding[]): Promise<boolean> {
    return this.#dialect.affected(await this.#database.send(sql, bindings)) > 0
  }

  #selectStatement(where: string): string {
    return `SELECT session_data, ${this.#dialect.selectDate} AS expire_date FROM ${this.#table} WHERE ${where}`
  }

  #updateStatement(sessionKey: string, { text, expireDate }: StoredSession, columns: Columns): [string, Binding[]] {
    const assignments = ['session_data', 'expire_date', ...this.#quoted(columns)].map((name) => `${name} = ?`)
    const sql = `UPDATE ${this.#table} SET ${assignments.join(', ')} WHERE session_key = ?`
    return [sql, [text, this.#dialect.bindDate(expireDate), ...Object.values(columns), sessionKey]]
  }

  #quoted(columns: Columns): string[] {
    return Object.keys(columns).map((name) => this.#dialect.quote(name))
  }

  #read(row: Row): StoredSession {
    return { text: row.session_data as string, expireDate: this.#dialect.readDate(row.expire_date) }
  }
}
