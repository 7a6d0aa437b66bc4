/** The interface of a database: what differs between them, as data. Each has a file of its own. */
import type { DriverError, Meaning } from './driver-errors.js'

/** A value for a `?` of a statement. */
export type Binding = string | number | bigint | boolean | Buffer | null | readonly (string | null)[]

/** A row as the driver gives it, before any mapping that the Knex instance may be set up for. */
export type Row = Record<string, unknown>

export interface Dialect {
  /** Quotes an identifier; a dot parts schema and table. */
  quote(identifier: string): string
  /** Whether it knows the statements for many sessions at once (arrays, `unnest`, `RETURNING`). */
  canBatch: boolean
  /** Whether the database works in our own process, so that a statement costs no round trip and stops the event loop. */
  isInProcess: boolean
  /** Sends a statement, with `?` for bindings. What is prepared is so once for each connection. Returns a promise, unless `isInProcess`. */
  execute(connection: unknown, sql: string, bindings: readonly Binding[], prepare: boolean): unknown
  /** A Date as it is bound. @param early microseconds to take off, less than 1000. @default 0 */
  bindDate(date: Date, early?: number): string
  /** A boolean as it is bound. */
  bindBoolean(value: boolean): Binding
  /** An integer of 64 bits as it is bound. */
  bindBigInt(value: bigint): Binding
  /** SQL for a bound `expire_date` that keeps the microseconds of the row (`StoredRow.early`). */
  renewedDate: string
  /** SQL for a bound text that a column is compared with, byte for byte. */
  exactParameter: string
  /** SQL for the column `expire_date` in a form that `readDate` understands. */
  selectDate: string
  /** The date, rounded up to the millisecond. */
  readDate(value: unknown): Date
  /** The microseconds after the millisecond, from 0 to 999. */
  readMicroseconds(value: unknown): number
  rows(response: unknown): Row[]
  /** Rows matched by an UPDATE or DELETE, changed or not; rows made by an INSERT. */
  affected(response: unknown): number
  /** Ends an INSERT of a key that may be taken: then no row is made, and it is no error. */
  onConflict: string
  /** The error of such an INSERT, where the database has no words for that. */
  isKeyTaken(error: DriverError): boolean
  /** The statements that start a transaction that will write. */
  begin: readonly string[]
  /**
   * An UPDATE or DELETE of the rows that meet `where`. If one is locked, it fails at once instead of waiting.
   *
   * @param statement the statement up to its WHERE
   * @param movesKey whether it changes the key, or deletes the row
   */
  writeUnlocked(statement: string, table: string, where: string, movesKey: boolean): string
  /** An INSERT that fails at once instead of waiting for a lock. */
  insertUnlocked(statement: string): string
  /** Ends a SELECT that locks its rows, and fails at once if one is locked. */
  forUpdate: string
  /** The statement that deletes at most `limit` sessions which ended from `from` on and before `before`, and its bindings. */
  deleteExpired(table: string, from: string, before: string, limit: number): [string, Binding[]]
  /** Asks for the right to clean up; null where the database lets only one write anyway. */
  tryLock: string | null
  /** Gives it back; null where the end of the transaction does. */
  unlock: string | null
  /** First size of a cleanup batch, and whether it is fitted to what the database makes of it. */
  cleanup: { initialBatchSize: number; adapts: boolean }
  /** The consequences of an error, and its reason. */
  meaning(error: DriverError): Meaning
  /** The reason of a failure in the database's words, without data that it quotes. */
  describe(error: DriverError): string
  /** Ends a connection whose answer is overdue, and the statement on the server: it must not be carried out later. */
  abort(connection: unknown): void
  /** Closes the socket of a connection at once, without a word to the server. */
  disconnect(connection: unknown): void
  /** The driver's option for the milliseconds that connecting may take. Null where nothing connects. */
  connectTimeout: string | null
}

/** The second that was written last. Sessions that are saved together mostly end in the same one. */
let last = { second: Number.NaN, text: '' }

/** A date in ISO 8601, in UTC to the microsecond, without its time zone. @param early microseconds to take off, less than 1000 */
export function isoMicroseconds(date: Date, early: number): string {
  const milliseconds = early === 0 ? date.getTime() : date.getTime() - 1
  const second = Math.floor(milliseconds / 1000)
  if (last.second !== second) last = { second, text: new Date(second * 1000).toISOString().slice(0, -'000Z'.length) }
  const microseconds = (milliseconds - second * 1000) * 1000 + ((1000 - early) % 1000)
  return last.text + String(microseconds).padStart(6, '0')
}

/** Django's format of a datetime, to the microsecond. */
export const toDjangoText = (date: Date, early = 0) => isoMicroseconds(date, early).replace('T', ' ')

/** The digits after the milliseconds in Django's format, of which a fraction may be missing. */
const fractionOf = (text: string) => text.slice('YYYY-MM-DD HH:MM:SS.mmm'.length)

/** The date of a text in Django's format, rounded up to the millisecond. */
export function fromDjangoText(value: unknown): Date {
  const text = String(value)
  const milliseconds = Date.parse(`${text.replace(' ', 'T')}Z`)
  return new Date(Number(fractionOf(text)) > 0 ? milliseconds + 1 : milliseconds)
}

export const microsecondsOfDjangoText = (value: unknown) => Number(fractionOf(String(value)))

export const doubleQuote = (identifier: string) =>
  identifier
    .split('.')
    .map((part) => `"${part.replaceAll('"', '""')}"`)
    .join('.')
