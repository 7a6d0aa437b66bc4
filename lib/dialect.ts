/** What differs between databases, as data: one object each, and no other place that asks which database it is. */

/** A row as the driver gives it, before any mapping that the Knex instance may be set up for. */
export type Row = Record<string, unknown>

export interface Dialect {
  /** Quotes an identifier; a dot parts schema and table. */
  quote(identifier: string): string
  /** What a Date is bound as. */
  bindDate(date: Date): string
  /** SQL for a bound date where its type is not clear from the statement. */
  dateParameter: string
  /** SQL for the column `expire_date` in a form that `readDate` understands. */
  selectDate: string
  readDate(value: unknown): Date
  rows(response: unknown): Row[]
  /** Rows matched by an UPDATE or DELETE, changed or not; rows made by an INSERT. */
  affected(response: unknown): number
  /** Ends an INSERT of a key that may be taken: then no row is made, and it is no error. */
  onConflict: string
  /** Starts a transaction that will write. */
  begin: string
  /** Ends a SELECT that locks its rows. */
  forUpdate: string
  /** Deletes a batch: the moment, the size, the moment again. */
  deleteExpired(table: string): string
  /** Asks for the right to clean up, until the end of the transaction; null where the database lets only one write anyway. */
  tryLock: string | null
  /** First size of a cleanup batch, and whether it is fitted to what the database makes of it. */
  cleanup: { initialBatchSize: number; adapts: boolean }
  /** Another writer was in the way and nothing was done: the statement may be sent again. */
  isBusy(error: DriverError): boolean
  /** The connection broke: the statement may have been carried out. */
  isConnectionLost(error: DriverError): boolean
  isMissingTable(error: DriverError): boolean
  /** Ends a connection whose answer is overdue. */
  abort(connection: unknown): void
}

export interface DriverError extends Error {
  code?: string
}

const doubleQuote = (identifier: string) =>
  identifier
    .split('.')
    .map((part) => `"${part.replaceAll('"', '""')}"`)
    .join('.')

interface PostgresResult {
  rows: Row[]
  rowCount: number | null
}

const postgres: Dialect = {
  quote: doubleQuote,
  bindDate: (date) => date.toISOString(),
  dateParameter: '?::timestamptz',
  // A number, since applications replace the driver's parsers of dates.
  selectDate: '(extract(epoch from expire_date) * 1000)::float8',
  readDate: (value) => new Date(Number(value)),
  rows: (response) => (response as PostgresResult).rows,
  affected: (response) => (response as PostgresResult).rowCount ?? 0,
  onConflict: 'ON CONFLICT (session_key) DO NOTHING',
  begin: 'BEGIN',
  forUpdate: 'FOR UPDATE',
  // By ctid it costs no more than one DELETE of all. The predicate again spares a session that was renewed meanwhile.
  deleteExpired: (table) =>
    `DELETE FROM ${table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM ${table} WHERE expire_date < ? ORDER BY expire_date LIMIT ? FOR UPDATE SKIP LOCKED)) AND expire_date < ?`,
  tryLock: 'SELECT pg_try_advisory_xact_lock(hashtext(?)) AS held',
  cleanup: { initialBatchSize: 10_000, adapts: false },
  // https://www.postgresql.org/docs/current/errcodes-appendix.html: serialization failure, deadlock.
  isBusy: ({ code }) => code === '40001' || code === '40P01',
  // The server always names a SQLSTATE: what has none comes from the socket. 08 and 57P say that the connection is gone.
  isConnectionLost: ({ code }) => code === undefined || !/^[0-9A-Z]{5}$/.test(code) || code.startsWith('08') || code.startsWith('57P'),
  isMissingTable: ({ code }) => code === '42P01',
  abort: (connection) => (connection as { connection: { stream: { destroy(): void } } }).connection.stream.destroy()
}

const sqlite: Dialect = {
  quote: doubleQuote,
  // Django's format. Knex would bind a Date as an integer, which SQLite orders below every text.
  bindDate: (date) => date.toISOString().replace('T', ' ').replace('Z', '000'),
  dateParameter: '?',
  selectDate: 'expire_date',
  readDate: (value) => new Date(`${String(value).replace(' ', 'T')}Z`),
  rows: (response) => response as Row[],
  affected: (response) => (response as { changes: number }).changes,
  onConflict: 'ON CONFLICT (session_key) DO NOTHING',
  begin: 'BEGIN IMMEDIATE',
  forUpdate: '',
  deleteExpired: (table) =>
    `DELETE FROM ${table} WHERE rowid IN (SELECT rowid FROM ${table} WHERE expire_date < ? ORDER BY expire_date LIMIT ?) AND expire_date < ?`,
  tryLock: null,
  cleanup: { initialBatchSize: 100, adapts: true },
  isBusy: ({ code }) => code !== undefined && (code.startsWith('SQLITE_BUSY') || code.startsWith('SQLITE_LOCKED')),
  isConnectionLost: () => false,
  isMissingTable: ({ message }) => message.startsWith('no such table'),
  abort: () => {}
}

const dialects: Record<string, Dialect> = { pg: postgres, 'better-sqlite3': sqlite }

/**
 * @param driver what Knex calls it: `knex.client.driverName`
 * @returns null for a database that is not supported
 */
export function dialectOf(driver: string): Dialect | null {
  return Object.hasOwn(dialects, driver) ? (dialects[driver] as Dialect) : null
}

export const DRIVERS = Object.keys(dialects)
