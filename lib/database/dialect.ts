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
  /** A Date as it is bound. */
  bindDate(date: Date): string
  /** A boolean as it is bound. */
  bindBoolean(value: boolean): Binding
  /** An integer of 64 bits as it is bound. */
  bindBigInt(value: bigint): Binding
  /** SQL for a bound date where its type is not clear from the statement. */
  dateParameter: string
  /** SQL for a bound text that a column is compared with, byte for byte. */
  exactParameter: string
  /** SQL for the column `expire_date` in a form that `readDate` understands. */
  selectDate: string
  readDate(value: unknown): Date
  rows(response: unknown): Row[]
  /** Rows matched by an UPDATE or DELETE, changed or not; rows made by an INSERT. */
  affected(response: unknown): number
  /** Ends an INSERT of a key that may be taken: then no row is made, and it is no error. */
  onConflict: string
  /** The error of such an INSERT, where the database has no words for that. */
  isKeyTaken(error: DriverError): boolean
  /** The statements that start a transaction that will write. */
  begin: readonly string[]
  /** Ends a SELECT that locks its rows. */
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
  /** Ends a connection whose answer is overdue, and what the server does for it: a statement that waits for a lock must not be carried out later. */
  abort(connection: unknown): void
}

/** Formats a date once for all that ask in the same millisecond, which under load are many. */
export function remembered(format: (date: Date) => string): (date: Date) => string {
  let time = Number.NaN
  let text = ''
  return (date) => {
    if (date.getTime() !== time) {
      text = format(date)
      time = date.getTime()
    }
    return text
  }
}

/** Django's format of a datetime, to the microsecond. */
export const toDjangoText = remembered((date) => date.toISOString().replace('T', ' ').replace('Z', '000'))

export const fromDjangoText = (value: unknown) => new Date(`${String(value).replace(' ', 'T')}Z`)

export const doubleQuote = (identifier: string) =>
  identifier
    .split('.')
    .map((part) => `"${part.replaceAll('"', '""')}"`)
    .join('.')
