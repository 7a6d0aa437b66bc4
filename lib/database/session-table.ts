/**
 * The table of django.contrib.sessions.models.Session, whose rows are read and written by their
 * keys. Handles keys, signed text and dates, without their meaning.
 */
import type { Deadline, StoredSession } from '../contract.js'
import { bindColumns, type Columns } from './columns.js'
import type { Connections } from './connections.js'
import type { Binding, Dialect, Row } from './dialect.js'
import type { Merged, SessionRows, StoredRow } from './rows.js'
import { isKeyTaken } from './statement-error.js'
import type { Retries } from './use.js'

/** A row as it was read. */
export interface FoundRow extends StoredSession {
  /** The microseconds of the date after the millisecond, from 0 to 999. */
  readonly microseconds: number
}

export interface SessionTableOptions {
  connections: Connections
  tableName: string
}

/** The statements that are built once. */
type Statements = Record<'find' | 'findLive' | 'exists' | 'insert' | 'update' | 'compareAndSwap' | 'touch' | 'cycleKey' | 'delete', string>

/** Idempotent statements are sent again if the connection breaks. */
const REPEATED: Retries = { whenLost: true }
const NOT_REPEATED: Retries = {}

/** All methods that query the database throw StoreUnavailable and StoreRefused. */
export class SessionTable implements SessionRows {
  /** The option `tableName`. */
  readonly tableName: string
  /** The name, quoted. */
  readonly table: string
  readonly connections: Connections
  readonly #dialect: Dialect
  readonly #sql: Statements

  constructor({ connections, tableName }: SessionTableOptions) {
    this.tableName = tableName
    this.connections = connections
    this.#dialect = connections.dialect
    this.table = this.#dialect.quote(tableName)
    this.#sql = this.#statements()
  }

  /** The row of a key, live or expired. */
  async find(sessionKey: string, deadline?: Deadline): Promise<FoundRow | null> {
    const [row] = await this.connections.rows(this.#sql.find, [sessionKey], deadline, REPEATED)
    if (row === undefined) return null
    const { sessionData, expireDate } = this.read(row)
    return { sessionData, expireDate, microseconds: this.#dialect.readMicroseconds(row.expire_date) }
  }

  findLive(sessionKey: string, now: Date, deadline: Deadline): Promise<StoredSession | null> {
    const bindings = [sessionKey, this.#dialect.bindDate(now)]
    return this.connections.ask(this.#sql.findLive, bindings, this.#readFirst, deadline, REPEATED)
  }

  /** The live rows of some keys, at most 256, by one statement. */
  async findAllLive(sessionKeys: readonly string[], now: Date, deadline: Deadline): Promise<Map<string, StoredSession>> {
    // Padded to one of a few sizes, so that there are few statements to prepare. Repeating a key is harmless.
    const size = [1, 16, 256].find((size) => size >= sessionKeys.length) as number
    const padded = [...sessionKeys, ...new Array<string>(size - sessionKeys.length).fill(sessionKeys[0] as string)]
    const keys = padded.map(() => '?').join(', ')
    const sql = `SELECT session_key, session_data, ${this.#dialect.selectDate('expire_date')} AS expire_date FROM ${this.table} WHERE session_key IN (${keys}) AND expire_date > ?`
    const rows = await this.connections.rows(sql, [...padded, this.#dialect.bindDate(now)], deadline, REPEATED)
    // On MySQL the comparison may ignore case. The caller looks up the exact key.
    return new Map(rows.map((row) => [row.session_key as string, this.read(row)]))
  }

  /** Whether there is a row with the key, live or expired. */
  async exists(sessionKey: string, deadline: Deadline): Promise<boolean> {
    return (await this.connections.rows(this.#sql.exists, [sessionKey], deadline, REPEATED)).length > 0
  }

  async insert(sessionKey: string, row: StoredRow, columns: Columns, deadline: Deadline): Promise<boolean> {
    const sql = isPlain(columns) ? this.#sql.insert : this.#insertStatement(columns)
    try {
      return await this.#write(sql, [sessionKey, ...this.#bindRow(row, columns)], deadline)
    } catch (error) {
      if (isKeyTaken(error)) return false
      throw error
    }
  }

  update(sessionKey: string, row: StoredRow, columns: Columns, snapshot: string | null, deadline: Deadline): Promise<boolean> {
    const bindings = [...this.#bindRow(row, columns), sessionKey]
    if (snapshot !== null) bindings.push(snapshot)
    return this.#write(this.#updateSql(columns, snapshot !== null), bindings, deadline, NOT_REPEATED)
  }

  /** Replaces a live row by the result of `merge`, under its lock. Returns false if there is none. */
  updateLocked(sessionKey: string, now: Date, merge: (stored: StoredSession) => Merged<StoredRow>, deadline: Deadline): Promise<boolean> {
    return this.connections.transaction(async (send) => {
      const sql = `${this.#sql.findLive} ${this.#dialect.forUpdate}`
      const [found] = this.#dialect.rows(await send(sql, [sessionKey, this.#dialect.bindDate(now)]))
      if (found === undefined) return false
      const { row, columns } = merge(this.read(found))
      return this.#dialect.affected(await send(this.#updateSql(columns, false), [...this.#bindRow(row, columns), sessionKey])) > 0
    }, deadline)
  }

  /** Moves the end of a row whose text is `snapshot`. Returns false if there is no such row. */
  touch(sessionKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<boolean> {
    return this.#write(this.#sql.touch, [this.#dialect.bindDate(expireDate), sessionKey, snapshot], deadline)
  }

  /** Changes the key of a row, and also its end if its text is `snapshot`. Returns false if there is no such row. */
  cycleKey(sessionKey: string, newKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<boolean> {
    return this.#write(this.#sql.cycleKey, [newKey, snapshot, this.#dialect.bindDate(expireDate), sessionKey], deadline)
  }

  delete(sessionKey: string, deadline: Deadline): Promise<boolean> {
    return this.#write(this.#sql.delete, [sessionKey], deadline)
  }

  readonly #hasAffected = (answer: unknown) => this.#dialect.affected(answer) > 0

  readonly #readFirst = (answer: unknown): StoredSession | null => {
    const row = this.#dialect.rows(answer)[0]
    return row === undefined ? null : this.read(row)
  }

  read(row: Row): StoredSession {
    return new ReadSession(row, this.#dialect)
  }

  #write(sql: string, bindings: Binding[], deadline: Deadline, retries: Retries = REPEATED): Promise<boolean> {
    return this.connections.ask(sql, bindings, this.#hasAffected, deadline, retries)
  }

  #bindRow({ sessionData, expireDate, early }: StoredRow, columns: Columns): Binding[] {
    return [sessionData, this.#dialect.bindDate(expireDate, early), ...bindColumns(columns, this.#dialect)]
  }

  #statements(): Statements {
    const { table } = this
    const { selectDate, renewedDate, exactParameter } = this.#dialect
    const [key, data] = ['session_key', 'session_data'].map((column) => `${column} = ${exactParameter}`) as [string, string]
    const find = `SELECT session_data, ${selectDate('expire_date')} AS expire_date FROM ${table} WHERE ${key}`
    const cycleKey = `UPDATE ${table} SET session_key = ?, expire_date = CASE WHEN ${data} THEN ${renewedDate} ELSE expire_date END`
    return {
      find,
      findLive: `${find} AND expire_date > ?`,
      exists: `SELECT 1 AS found FROM ${table} WHERE ${key}`,
      insert: this.#insertStatement({}),
      update: this.#updateStatement({}, false),
      compareAndSwap: this.#updateStatement({}, true),
      touch: this.#dialect.writeUnlocked(`UPDATE ${table} SET expire_date = ${renewedDate}`, table, `${key} AND ${data}`, false),
      cycleKey: this.#dialect.writeUnlocked(cycleKey, table, key, true),
      delete: this.#dialect.writeUnlocked(`DELETE FROM ${table}`, table, key, true)
    }
  }

  #insertStatement(columns: Columns): string {
    const names = ['session_key', 'session_data', 'expire_date', ...this.#quoted(columns)]
    const values = names.map(() => '?').join(', ')
    return this.#dialect.insertUnlocked(`INSERT INTO ${this.table} (${names.join(', ')}) VALUES (${values}) ${this.#dialect.onConflict}`)
  }

  #updateSql(columns: Columns, compares: boolean): string {
    if (!isPlain(columns)) return this.#updateStatement(columns, compares)
    return compares ? this.#sql.compareAndSwap : this.#sql.update
  }

  #updateStatement(columns: Columns, compares: boolean): string {
    const { exactParameter } = this.#dialect
    const assignments = ['session_data', 'expire_date', ...this.#quoted(columns)].map((name) => `${name} = ?`)
    const where = `session_key = ${exactParameter}${compares ? ` AND session_data = ${exactParameter}` : ''}`
    return this.#dialect.writeUnlocked(`UPDATE ${this.table} SET ${assignments.join(', ')}`, this.table, where, false)
  }

  #quoted(columns: Columns): string[] {
    return Object.keys(columns).map((name) => this.#dialect.quote(name))
  }
}

/** A session as it was read. Its date is parsed only if it is asked for: most requests do not. */
class ReadSession implements StoredSession {
  readonly sessionData: string
  readonly #expireDate: unknown
  readonly #dialect: Dialect

  constructor(row: Row, dialect: Dialect) {
    this.sessionData = row.session_data as string
    this.#expireDate = row.expire_date
    this.#dialect = dialect
  }

  get expireDate(): Date {
    return this.#dialect.readDate(this.#expireDate)
  }
}

/** Whether there are no additional columns, as in Django's table. */
export function isPlain(columns: Columns): boolean {
  for (const _ in columns) return false
  return true
}
