/**
 * The table of django.contrib.sessions.models.Session: the only module that builds
 * queries. It knows keys, signed text and dates, and nothing of what they mean.
 */
import type { Knex } from 'knex'
import type { SessionRecord, StoredSession } from '../contract.js'
import type { Codec } from '../django/codec.js'
import { toObject } from '../django/serializer.js'
import { monotonicNow } from '../timers.js'
import { Batches } from './batched-table.js'
import { bindColumns, type Columns } from './columns.js'
import { type Database, undo } from './connections.js'
import type { Binding, Dialect, Row } from './dialect.js'
import { isKeyTaken } from './statement-error.js'

/** A row as Django's `Session` objects show it. */
export interface SessionRow {
  /** The primary key. */
  readonly sessionKey: string
  /** The signed text. */
  readonly sessionData: string
  /** The moment from which on it counts as expired. */
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
  /** Whether statements of several sessions leave together, where the database can do that. */
  batching: boolean
}

/** The most frequent ones, for rows of Django's table, made once. */
type Statements = Record<'find' | 'findLive' | 'insert' | 'update' | 'compareAndSwap' | 'delete', string>

/** Rows with further columns are written one by one. */
const isPlain = (columns: Columns) => Object.keys(columns).length === 0

/** The table of sessions. Of `app.sessions.model` use `find` and `query`: the rest is for engines. */
export class Model {
  /** The option `tableName`. */
  readonly tableName: string
  readonly #database: Database
  readonly #dialect: Dialect
  readonly #codec: Codec
  readonly #table: string
  readonly #sql: Statements
  readonly #batches: Batches | null

  constructor({ database, codec, tableName, batching }: ModelOptions) {
    this.tableName = tableName
    this.#database = database
    this.#dialect = database.dialect
    this.#codec = codec
    this.#table = database.dialect.quote(tableName)
    this.#sql = this.#statements()
    this.#batches = batching && database.dialect.canBatch ? this.#createBatches() : null
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
    // Which PostgreSQL refuses in any text, and so cannot be in a key.
    if (sessionKey.includes('\0')) return null
    const [row] = await this.#rows(this.#sql.find, [sessionKey])
    if (row === undefined) return null
    const { sessionData, expireDate } = this.#read(row)
    return { sessionKey, sessionData, expireDate, decoded: () => toObject(this.#codec.decode(sessionData)) }
  }

  /** The row of a key that ends after `now`. */
  findLive(sessionKey: string, now: Date): Promise<StoredSession | null> {
    return this.#batches === null ? this.#findLive(sessionKey, now) : this.#batches.findLive(sessionKey, now)
  }

  /**
   * Whether there is a row with the key, live or expired.
   *
   * @throws StoreUnavailable
   */
  async exists(sessionKey: string): Promise<boolean> {
    const rows = await this.#rows(`SELECT 1 AS found FROM ${this.#table} WHERE ${this.#equals('session_key')}`, [sessionKey])
    return rows.length > 0
  }

  /** False when the key is taken. */
  insert(sessionKey: string, stored: StoredSession, columns: Columns): Promise<boolean> {
    if (this.#batches !== null && isPlain(columns)) return this.#batches.insert({ sessionKey, stored })
    return this.#insert(sessionKey, stored, columns)
  }

  /** False when there is no such row, or it does not hold the text `snapshot` any more. */
  update(sessionKey: string, stored: StoredSession, columns: Columns, snapshot: string | null): Promise<boolean> {
    if (this.#batches !== null && isPlain(columns)) return this.#batches.update({ sessionKey, stored, snapshot })
    return this.#update(sessionKey, stored, columns, snapshot)
  }

  /** Replaces the live row by what `merge` makes of it, under its lock. False when there is none. */
  updateLocked(
    sessionKey: string,
    now: Date,
    merge: (stored: StoredSession) => { record: SessionRecord; columns: Columns }
  ): Promise<boolean> {
    return this.#database.transaction(
      async (send) => {
        const sql = `${this.#sql.findLive} ${this.#dialect.forUpdate}`
        const [row] = this.#dialect.rows(await send(sql, [sessionKey, this.#dialect.bindDate(now)]))
        if (row === undefined) return false
        const { record, columns } = merge(this.#read(row))
        return this.#dialect.affected(await send(...this.#updateOf(sessionKey, record, columns))) > 0
      },
      { locking: true }
    )
  }

  /** False when there is no such row, or it does not hold the text `snapshot` any more. */
  updateExpireDate(sessionKey: string, expireDate: Date, snapshot: string): Promise<boolean> {
    const sql = `UPDATE ${this.#table} SET expire_date = ? WHERE ${this.#equals('session_key')} AND ${this.#equals('session_data')}`
    return this.#writeLocking(sql, [this.#dialect.bindDate(expireDate), sessionKey, snapshot])
  }

  /** False when there is no such row. The date is set only while the row holds the text `snapshot`. */
  updateSessionKey(sessionKey: string, newKey: string, expireDate: Date, snapshot: string): Promise<boolean> {
    const sql = `UPDATE ${this.#table} SET session_key = ?, expire_date = CASE WHEN ${this.#equals('session_data')} THEN ${this.#dialect.dateParameter} ELSE expire_date END WHERE ${this.#equals('session_key')}`
    return this.#writeLocking(sql, [newKey, snapshot, this.#dialect.bindDate(expireDate), sessionKey])
  }

  /**
   * Deletes the row of a key. False when there was none.
   *
   * @throws StoreUnavailable
   */
  delete(sessionKey: string): Promise<boolean> {
    return this.#batches === null ? this.#delete(sessionKey) : this.#batches.delete(sessionKey)
  }

  /** How `deleteExpired` is best called on this database. */
  get cleanup(): Dialect['cleanup'] {
    return this.#dialect.cleanup
  }

  /**
   * When the oldest of the sessions ended that did so before the date; null when there is none.
   *
   * @param from sessions that ended earlier are passed over
   */
  async oldestExpired(before: Date, from: Date | null = null): Promise<Date | null> {
    return (await this.#expired('NULL', before, from)).oldest
  }

  /**
   * How many sessions ended before the date, and when the oldest of them did. It reads the
   * index of `expire_date` from its start to the date; SQLite stops the event loop meanwhile.
   *
   * @throws StoreUnavailable
   */
  countExpired(before: Date): Promise<{ count: number; oldest: Date | null }> {
    return this.#expired('count(*)', before, null)
  }

  /**
   * Deletes at most `limit` sessions that ended from `from` on and before `before`, the oldest
   * first. Null when another cleaner is at work.
   *
   * @returns how many, and the milliseconds for which they were locked
   */
  async deleteExpired(from: Date, before: Date, limit: number): Promise<{ deleted: number; milliseconds: number } | null> {
    const { tryLock, unlock } = this.#dialect
    const lockName = `clearsessions ${this.tableName}`
    let started = 0
    const deleted = await this.#database.transaction(async (send) => {
      started = monotonicNow()
      if (tryLock !== null) {
        const [lock] = this.#dialect.rows(await send(tryLock, [lockName]))
        if (!lock?.held) return null
      }
      try {
        const dates = [from, before].map((date) => this.#dialect.bindDate(date)) as [string, string]
        return this.#dialect.affected(await send(...this.#dialect.deleteExpired(this.#table, ...dates, limit)))
      } finally {
        if (unlock !== null) await undo(send, unlock, [lockName])
      }
    })
    return deleted === null ? null : { deleted, milliseconds: monotonicNow() - started }
  }

  #createBatches(): Batches {
    return new Batches({
      database: this.#database,
      table: this.#table,
      read: (row) => this.#read(row),
      single: {
        findLive: ({ sessionKey, now }, since) => this.#findLive(sessionKey, now, since),
        update: ({ sessionKey, stored, snapshot }, since) => this.#update(sessionKey, stored, {}, snapshot, since),
        insert: ({ sessionKey, stored }, since) => this.#insert(sessionKey, stored, {}, since),
        delete: ({ sessionKey }, since) => this.#delete(sessionKey, since)
      }
    })
  }

  /** @param count SQL for the number of sessions, where it is wanted */
  async #expired(count: string, before: Date, from: Date | null): Promise<{ count: number; oldest: Date | null }> {
    const [where, dates] = from === null ? ['expire_date < ?', [before]] : ['expire_date >= ? AND expire_date < ?', [from, before]]
    // The smallest is found by the index: what `readDate` understands is made of that one only.
    const expired = `SELECT ${count} AS total, min(expire_date) AS expire_date FROM ${this.#table} WHERE ${where}`
    const [row] = await this.#rows(
      `SELECT CAST(total AS CHAR(20)) AS total, ${this.#dialect.selectDate} AS oldest FROM (${expired}) AS expired`,
      dates.map((date) => this.#dialect.bindDate(date))
    )
    return { count: Number(row?.total), oldest: row?.oldest == null ? null : this.#dialect.readDate(row.oldest) }
  }

  async #findLive(sessionKey: string, now: Date, since?: number): Promise<StoredSession | null> {
    const [row] = await this.#rows(this.#sql.findLive, [sessionKey, this.#dialect.bindDate(now)], since)
    return row === undefined ? null : this.#read(row)
  }

  async #insert(sessionKey: string, { sessionData, expireDate }: StoredSession, columns: Columns, since?: number): Promise<boolean> {
    const sql = isPlain(columns) ? this.#sql.insert : this.#insertStatement(columns)
    try {
      const bindings = [sessionKey, sessionData, this.#dialect.bindDate(expireDate), ...bindColumns(columns, this.#dialect)]
      return this.#dialect.affected(await this.#database.send(sql, bindings, since)) > 0
    } catch (error) {
      if (isKeyTaken(error)) return false
      throw error
    }
  }

  #update(sessionKey: string, stored: StoredSession, columns: Columns, snapshot: string | null, since?: number): Promise<boolean> {
    const [sql, bindings] = this.#updateOf(sessionKey, stored, columns)
    if (snapshot === null) return this.#writeLocking(sql, bindings, since)
    const swap = isPlain(columns) ? this.#sql.compareAndSwap : this.#comparing(sql)
    return this.#writeLocking(swap, [...bindings, snapshot], since)
  }

  #updateOf(sessionKey: string, { sessionData, expireDate }: StoredSession, columns: Columns): [string, Binding[]] {
    const sql = isPlain(columns) ? this.#sql.update : this.#updateStatement(columns)
    return [sql, [sessionData, this.#dialect.bindDate(expireDate), ...bindColumns(columns, this.#dialect), sessionKey]]
  }

  #delete(sessionKey: string, since?: number): Promise<boolean> {
    return this.#writeLocking(this.#sql.delete, [sessionKey], since)
  }

  async #rows(sql: string, bindings: Binding[], since?: number): Promise<Row[]> {
    return this.#dialect.rows(await this.#database.send(sql, bindings, since))
  }

  /** Writes a row that may be locked. */
  async #writeLocking(sql: string, bindings: Binding[], since?: number): Promise<boolean> {
    return this.#dialect.affected(await this.#database.sendLocking(sql, bindings, since)) > 0
  }

  #statements(): Statements {
    const where = this.#equals('session_key')
    const find = `SELECT session_data, ${this.#dialect.selectDate} AS expire_date FROM ${this.#table} WHERE ${where}`
    const update = this.#updateStatement({})
    return {
      find,
      findLive: `${find} AND expire_date > ?`,
      insert: this.#insertStatement({}),
      update,
      compareAndSwap: this.#comparing(update),
      delete: `DELETE FROM ${this.#table} WHERE ${where}`
    }
  }

  #insertStatement(columns: Columns): string {
    const names = ['session_key', 'session_data', 'expire_date', ...this.#quoted(columns)]
    return `INSERT INTO ${this.#table} (${names.join(', ')}) VALUES (${names.map(() => '?').join(', ')}) ${this.#dialect.onConflict}`
  }

  #updateStatement(columns: Columns): string {
    const assignments = ['session_data', 'expire_date', ...this.#quoted(columns)].map((name) => `${name} = ?`)
    return `UPDATE ${this.#table} SET ${assignments.join(', ')} WHERE ${this.#equals('session_key')}`
  }

  #comparing(update: string): string {
    return `${update} AND ${this.#equals('session_data')}`
  }

  #equals(column: string): string {
    return `${column} = ${this.#dialect.exactParameter}`
  }

  #quoted(columns: Columns): string[] {
    return Object.keys(columns).map((name) => this.#dialect.quote(name))
  }

  #read(row: Row): StoredSession {
    return { sessionData: row.session_data as string, expireDate: this.#dialect.readDate(row.expire_date) }
  }
}
