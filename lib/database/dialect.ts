/** The interface for everything that differs between databases. Each database has a file with its implementation. */
import type { DriverError, Meaning } from './driver-errors.js'

/** A value for a `?` of a statement. */
export type Binding = string | number | bigint | boolean | Buffer | null | readonly (string | null)[]

/** A row as the driver returns it, before any mapping by the Knex instance. */
export type Row = Record<string, unknown>

export interface Greeting {
  /** Whether only this package uses the connection, so that its settings may be changed. */
  isOurs: boolean
  /** Called when the server says later that it takes no writes any more. */
  demoted(): void
}

/** Statements on the pages of a table: the blocks of its file. */
export interface PageStatements {
  /** The number of the table's pages as `pages`; 0 if they cannot be deleted from. One binding: the table's quoted name. */
  count: string
  /** The number of sessions as `total` that ended before a date, in a random share of the pages in percent, and its bindings. */
  sampleExpired(table: string, percent: number, before: string): [string, Binding[]]
  /** Deletes at most `limit` of the sessions that ended before a date from the page `from` up to the one before `to`. */
  deleteExpired(table: string, from: number, to: number, before: string, limit: number): [string, Binding[]]
}

export interface Dialect {
  /** Quotes an identifier. A dot separates schema and table. */
  quote(identifier: string): string
  /** Whether the database supports the statements for many sessions at once (arrays, `unnest`, `RETURNING`). */
  canBatch: boolean
  /** Whether the database runs in our own process, so that a statement needs no round trip but blocks the event loop. */
  isInProcess: boolean
  /** Sends a statement, with `?` for bindings. Returns a promise, unless `isInProcess`. @param prepare whether to prepare it, once per connection */
  execute(connection: unknown, sql: string, bindings: readonly Binding[], prepare: boolean): unknown
  /** Binds a Date. @param early microseconds to subtract, less than 1000. @default 0 */
  bindDate(date: Date, early?: number): string
  /** Binds a boolean. */
  bindBoolean(value: boolean): Binding
  /** Binds an integer of 64 bits. */
  bindBigInt(value: bigint): Binding
  /** SQL for a bound `expire_date` that keeps the microseconds of the row (`StoredRow.early`). */
  renewedDate: string
  /** SQL for a bound text that is compared with a column byte by byte. */
  exactParameter: string
  /** SQL that selects a column with a date, such as `expire_date`, in the form that `readDate` reads. */
  selectDate(column: string): string
  /** Reads a date, rounded up to the millisecond. */
  readDate(value: unknown): Date
  /** Reads the microseconds of a date after its millisecond, from 0 to 999. */
  readMicroseconds(value: unknown): number
  rows(response: unknown): Row[]
  /** The number of rows that an UPDATE or DELETE matched, changed or not, or that an INSERT made. */
  affected(response: unknown): number
  /** The end of an INSERT that makes no row, without an error, if the key is taken. */
  onConflict: string
  /** Whether an INSERT failed because its key is taken, for databases without such SQL. */
  isKeyTaken(error: DriverError): boolean
  /** The statements that start a transaction that will write. */
  begin: readonly string[]
  /**
   * An UPDATE or DELETE of the rows that match `where`. If one is locked, it fails at once instead of waiting.
   *
   * @param statement the statement up to its WHERE
   * @param movesKey whether it changes the key, or deletes the row
   */
  writeUnlocked(statement: string, table: string, where: string, movesKey: boolean): string
  /** An INSERT that fails at once instead of waiting for a lock. */
  insertUnlocked(statement: string): string
  /** The end of a SELECT that locks its rows, and that fails at once if one is locked already. */
  forUpdate: string
  /** The statement, with its bindings, that deletes at most `limit` sessions which ended from `from` on and before `before`. */
  deleteExpired(table: string, from: string, before: string, limit: number): [string, Binding[]]
  /** Statements that delete expired sessions page by page of the table. Null where rows have no such places, or are ordered by their key. */
  pages: PageStatements | null
  /** The statement that tries to take the lock of cleanup runs. Null for a database with a single writer. */
  tryLock: string | null
  /** The statement that releases it. Null if the end of the transaction does. */
  unlock: string | null
  /** The size of the first cleanup batch, and whether later sizes adapt to its duration. */
  cleanup: { initialBatchSize: number; adapts: boolean }
  /**
   * Asks a new connection whether its server takes writes, and sets what sessions need of it.
   *
   * @throws DriverError, of the kind `demoted` when it takes none
   */
  greet(connection: unknown, greeting: Greeting): Promise<void>
  /** The consequences of an error, and its reason. */
  meaning(error: DriverError): Meaning
  /** The database's own message for an error, without the data that it quotes. */
  describe(error: DriverError): string
  /** Ends a connection whose answer is overdue, and cancels its statement on the server, which must not be carried out later. */
  abort(connection: unknown): void
  /** Closes the socket of a connection at once, without telling the server. */
  disconnect(connection: unknown): void
  /** The driver's option for the time limit of connecting, in milliseconds. Null if nothing connects. */
  connectTimeout: string | null
}

/** The second that was written last. Sessions that are saved together mostly end in the same one. */
let last = { second: Number.NaN, text: '' }

/** A date in ISO 8601, in UTC with microseconds, without the time zone. @param early microseconds to subtract, less than 1000 */
export function isoMicroseconds(date: Date, early: number): string {
  const milliseconds = early === 0 ? date.getTime() : date.getTime() - 1
  const second = Math.floor(milliseconds / 1000)
  if (last.second !== second) last = { second, text: new Date(second * 1000).toISOString().slice(0, -'000Z'.length) }
  const microseconds = (milliseconds - second * 1000) * 1000 + ((1000 - early) % 1000)
  return last.text + String(microseconds).padStart(6, '0')
}

/** A date in Django's format, with microseconds. */
export const toDjangoText = (date: Date, early = 0) => isoMicroseconds(date, early).replace('T', ' ')

/** The digits after the milliseconds in Django's format, where a zero fraction may be missing. */
const fractionOf = (text: string) => text.slice('YYYY-MM-DD HH:MM:SS.mmm'.length)

/** Reads a date in Django's format, rounded up to the millisecond. */
export function fromDjangoText(value: unknown): Date {
  const text = String(value)
  const milliseconds = Date.parse(`${text.replace(' ', 'T')}Z`)
  return new Date(Number(fractionOf(text)) > 0 ? milliseconds + 1 : milliseconds)
}

export const microsecondsOfDjangoText = (value: unknown) => Number(fractionOf(String(value)))

/** Returns a function that quotes an identifier with a mark, which is doubled inside it. A dot separates schema and table. */
export const quoteWith = (mark: string) => (identifier: string) =>
  identifier
    .split('.')
    .map((part) => mark + part.replaceAll(mark, mark + mark) + mark)
    .join('.')

export const doubleQuote = quoteWith('"')
