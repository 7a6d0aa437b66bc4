/** SQLite, by the driver better-sqlite3, which works in our own process. */
import type { Knex } from 'knex'
import { type Binding, type Dialect, doubleQuote, fromDjangoText, microsecondsOfDjangoText, type Row, toDjangoText } from './dialect.js'
import { sqliteMeaning } from './driver-errors.js'

interface SqliteStatement {
  reader: boolean
  all(...bindings: readonly Binding[]): Row[]
  run(...bindings: readonly Binding[]): { changes: number }
}

interface SqliteConnection {
  prepare(sql: string): SqliteStatement
  pragma(setting: string): unknown
}

const sqliteStatements = new WeakMap<SqliteConnection, Map<string, SqliteStatement>>()

function sqliteStatement(connection: SqliteConnection, sql: string): SqliteStatement {
  const statements = sqliteStatements.get(connection) ?? new Map<string, SqliteStatement>()
  sqliteStatements.set(connection, statements)
  const statement = statements.get(sql) ?? connection.prepare(sql)
  statements.set(sql, statement)
  return statement
}

export const sqlite: Dialect = {
  quote: doubleQuote,
  canBatch: false,
  isInProcess: true,
  execute: (connection, sql, bindings) => {
    const statement = sqliteStatement(connection as SqliteConnection, sql)
    return statement.reader ? statement.all(...bindings) : statement.run(...bindings)
  },
  // Knex would bind a Date as an integer, which SQLite sorts before every text.
  bindDate: toDjangoText,
  // As Django does: SQLite has no type for it, and its driver binds none.
  bindBoolean: Number,
  bindBigInt: (value) => value,
  // Microseconds are not needed, because the outcome of a statement in our own process is always known.
  renewedDate: '?',
  exactParameter: '?',
  selectDate: (column) => column,
  readDate: fromDjangoText,
  readMicroseconds: microsecondsOfDjangoText,
  rows: (response) => response as Row[],
  affected: (response) => (response as { changes: number }).changes,
  onConflict: 'ON CONFLICT (session_key) DO NOTHING',
  isKeyTaken: () => false,
  begin: ['BEGIN IMMEDIATE'],
  // The only lock is that on the file, which fails at once if it is taken.
  writeUnlocked: (statement, _table, where) => `${statement} WHERE ${where}`,
  insertUnlocked: (statement) => statement,
  forUpdate: '',
  // With a single writer nothing renews a session between the two parts of the statement.
  deleteExpired: (table, from, before, limit) => [
    `DELETE FROM ${table} WHERE rowid IN (SELECT rowid FROM ${table} WHERE expire_date >= ? AND expire_date < ? ORDER BY expire_date LIMIT ?)`,
    [from, before, limit]
  ],
  tryLock: null,
  unlock: null,
  pages: null,
  cleanup: { initialBatchSize: 100, adapts: true },
  greet: async () => {},
  meaning: sqliteMeaning,
  describe: ({ message }) => message,
  abort: () => {},
  disconnect: () => {},
  connectTimeout: null
}

type AfterCreate = (connection: unknown, done: (error: Error | null, connection: unknown) => void) => void

/**
 * The configuration of a database that this package opens. SQLite gets WAL, so that readers do not
 * wait for the writer; commits that do not wait for the disk, of which a power cut can lose the last;
 * and no waiting for locks inside SQLite, which would block the event loop. `Use` retries instead.
 */
export function tuned(config: Knex.Config): Knex.Config {
  if (config.client !== 'better-sqlite3') return config
  const own = config.pool?.afterCreate as AfterCreate | undefined
  const afterCreate: AfterCreate = (connection, done) => {
    const sqliteConnection = connection as SqliteConnection
    for (const setting of ['busy_timeout = 0', 'journal_mode = WAL', 'synchronous = NORMAL']) sqliteConnection.pragma(setting)
    if (own === undefined) done(null, connection)
    else own(connection, done)
  }
  return { useNullAsDefault: true, ...config, pool: { ...config.pool, afterCreate } }
}
