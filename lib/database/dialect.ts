/** What differs between databases, as data: one object each, and no other place that asks which database it is. */
import { createHash } from 'node:crypto'
import { connect } from 'node:net'
import type { Knex } from 'knex'
import { type DriverError, type Meaning, mysqlMeaning, postgresMeaning, sqliteMeaning } from './driver-errors.js'

/** What a statement's `?` stands for. */
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
  /** What a Date is bound as. */
  bindDate(date: Date): string
  /** What a boolean is bound as. */
  bindBoolean(value: boolean): Binding
  /** What an integer of 64 bits is bound as. */
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
  /** What went wrong, in the database's words, and without data that it quotes. */
  describe(error: DriverError): string
  /** Ends a connection whose answer is overdue, and what the server does for it: a statement that waits for a lock must not be carried out later. */
  abort(connection: unknown): void
}

/** Formats a date once for all that ask in the same millisecond, which under load are many. */
function remembered(format: (date: Date) => string): (date: Date) => string {
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
const toDjangoText = remembered((date) => date.toISOString().replace('T', ' ').replace('Z', '000'))

const fromDjangoText = (value: unknown) => new Date(`${String(value).replace(' ', 'T')}Z`)

const doubleQuote = (identifier: string) =>
  identifier
    .split('.')
    .map((part) => `"${part.replaceAll('"', '""')}"`)
    .join('.')

interface PostgresResult {
  rows: Row[]
  rowCount: number | null
}

interface PostgresClient {
  query(query: { name?: string; text: string; values: readonly Binding[]; types: typeof AS_TEXT }): Promise<PostgresResult>
  connection: { stream: { destroy(): void } }
  host: string
  port: number
  processID: number
  secretKey: number
}

/** Instead of parsers that applications set for the driver, and of its option `binary`: every column that we read is a text. */
const AS_TEXT = { getTypeParser: () => (value: string | Buffer) => String(value) }

/** How long the server is tried to be reached, in milliseconds, when it is to give up a statement. */
const CANCEL_TIMEOUT = 5000

/** PostgreSQL's CancelRequest, over a connection of its own, without login and answer (its manual, "Canceling Requests in Progress"). */
function cancelRequest({ host, port, processID, secretKey }: PostgresClient): void {
  const message = Buffer.alloc(16)
  for (const [index, number] of [message.length, 80877102, processID, secretKey].entries()) message.writeInt32BE(number, 4 * index)
  const socket = host.startsWith('/') ? connect(`${host}/.s.PGSQL.${port}`) : connect(port, host)
  socket.unref().on('error', () => {})
  socket.setTimeout(CANCEL_TIMEOUT, () => socket.destroy())
  socket.end(message)
}

/** PostgreSQL's own form of each statement, and its name: the text makes it, so that others who share a pool cannot take it. */
const postgresForms = new Map<string, { text: string; name: string }>()

function postgresForm(sql: string): { text: string; name: string } {
  let form = postgresForms.get(sql)
  if (form === undefined) {
    let count = 0
    const text = sql.replaceAll('?', () => `$${++count}`)
    form = { text, name: `sessions_${createHash('sha256').update(text).digest('hex').slice(0, 32)}` }
    postgresForms.set(sql, form)
  }
  return form
}

const postgres: Dialect = {
  quote: doubleQuote,
  canBatch: true,
  isInProcess: false,
  execute: (connection, sql, values, prepare) => {
    const { text, name } = postgresForm(sql)
    return (connection as PostgresClient).query({ ...(prepare && { name }), text, values, types: AS_TEXT })
  },
  bindDate: remembered((date) => date.toISOString()),
  bindBoolean: (value) => value,
  bindBigInt: String,
  dateParameter: '?::timestamptz',
  exactParameter: '?',
  selectDate: '(extract(epoch from expire_date) * 1000)::numeric::text',
  readDate: (value) => new Date(Number(value)),
  rows: (response) => (response as PostgresResult).rows,
  affected: (response) => (response as PostgresResult).rowCount ?? 0,
  onConflict: 'ON CONFLICT (session_key) DO NOTHING',
  isKeyTaken: () => false,
  begin: ['BEGIN'],
  forUpdate: 'FOR UPDATE',
  // By ctid it costs no more than one DELETE of all. The predicate again spares a session that was renewed meanwhile.
  deleteExpired: (table, from, before, limit) => [
    `DELETE FROM ${table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM ${table} WHERE expire_date >= ? AND expire_date < ? ORDER BY expire_date LIMIT ? FOR UPDATE SKIP LOCKED)) AND expire_date < ?`,
    [from, before, limit, before]
  ],
  tryLock: "SELECT CASE WHEN pg_try_advisory_xact_lock(hashtext(?)) THEN 'yes' END AS held",
  unlock: null,
  cleanup: { initialBatchSize: 10_000, adapts: false },
  meaning: postgresMeaning,
  describe: ({ message }) => message,
  abort: (connection) => {
    cancelRequest(connection as PostgresClient)
    ;(connection as PostgresClient).connection.stream.destroy()
  }
}

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

const sqlite: Dialect = {
  quote: doubleQuote,
  canBatch: false,
  isInProcess: true,
  execute: (connection, sql, bindings) => {
    const statement = sqliteStatement(connection as SqliteConnection, sql)
    return statement.reader ? statement.all(...bindings) : statement.run(...bindings)
  },
  // Knex would bind a Date as an integer, which SQLite orders below every text.
  bindDate: toDjangoText,
  // As Django does: SQLite has no type for it, and its driver binds none.
  bindBoolean: Number,
  bindBigInt: (value) => value,
  dateParameter: '?',
  exactParameter: '?',
  selectDate: 'expire_date',
  readDate: fromDjangoText,
  rows: (response) => response as Row[],
  affected: (response) => (response as { changes: number }).changes,
  onConflict: 'ON CONFLICT (session_key) DO NOTHING',
  isKeyTaken: () => false,
  begin: ['BEGIN IMMEDIATE'],
  forUpdate: '',
  // There is one writer: nobody renews a session between the two parts of a statement.
  deleteExpired: (table, from, before, limit) => [
    `DELETE FROM ${table} WHERE rowid IN (SELECT rowid FROM ${table} WHERE expire_date >= ? AND expire_date < ? ORDER BY expire_date LIMIT ?)`,
    [from, before, limit]
  ],
  tryLock: null,
  unlock: null,
  cleanup: { initialBatchSize: 100, adapts: true },
  meaning: sqliteMeaning,
  describe: ({ message }) => message,
  abort: () => {}
}

interface MysqlHeader {
  affectedRows: number
  /** "Rows matched: 1  Changed: 0  Warnings: 0" after an UPDATE, in the server's language. */
  info: string
}

interface MysqlQuery {
  sql: string
  values?: readonly unknown[]
}

interface MysqlConnection {
  query(query: object, done: (error: Error | null, ...answer: unknown[]) => void): void
  execute(query: object, done: (error: Error | null, ...answer: unknown[]) => void): void
  on(event: 'error', listener: () => void): void
  destroy(): void
  stream: { destroy(): void; unref(): void }
  config: object
  threadId: number
  constructor: new (options: { config: object }) => MysqlConnection
}

/** MySQL's KILL, over a connection of its own: a server that waits for a lock does not notice that nobody waits with it. */
function kill({ constructor: Connection, config, threadId }: MysqlConnection): void {
  const connection = new Connection({ config })
  connection.stream.unref()
  connection.on('error', () => {})
  connection.query({ sql: `KILL ${threadId}` }, () => connection.destroy())
}

/** Against settings of the driver that change what it answers. */
const MYSQL_OPTIONS = { typeCast: (_field: unknown, next: () => unknown) => next(), rowsAsArray: false, nestTables: false }

/**
 * A text as SQL. The driver would escape with backslashes, which under the sql_mode
 * NO_BACKSLASH_ESCAPES lets a cookie end the string and go on in SQL.
 */
const literal = (text: string) =>
  text.includes('\\') ? `_utf8mb4 X'${Buffer.from(text).toString('hex')}'` : `'${text.replaceAll("'", "''")}'`

/** Bytes of a statement from which on it is compared with the server's limit, whose smallest default was 1 MiB. */
const LARGE = 262_144

const packetLimits = new WeakMap<MysqlConnection, number>()

/** `max_allowed_packet`, which a connection keeps from its start. */
async function packetLimit(connection: MysqlConnection): Promise<number> {
  const known = packetLimits.get(connection)
  if (known !== undefined) return known
  const answer = await ask(connection, 'query', { sql: 'SELECT @@max_allowed_packet AS bytes' })
  const limit = Number(mysql.rows(answer)[0]?.bytes)
  packetLimits.set(connection, limit)
  return limit
}

/**
 * A statement that is larger than the server's limit is not sent: the server would break the connection
 * off, mostly before it could be read why.
 */
async function sendWithinLimit(connection: MysqlConnection, method: 'query' | 'execute', query: MysqlQuery, size: number) {
  if (size > (await packetLimit(connection))) {
    throw Object.assign(new Error('the statement was not sent'), { code: 'ER_NET_PACKET_TOO_LARGE', errno: 1153, sqlState: '08S01' })
  }
  return ask(connection, method, query)
}

function ask(connection: MysqlConnection, method: 'query' | 'execute', query: MysqlQuery): Promise<unknown> {
  return new Promise((resolve, reject) => {
    connection[method]({ ...MYSQL_OPTIONS, ...query }, (error, ...answer) => (error === null ? resolve(answer) : reject(error)))
  })
}

/** Errors whose messages quote names only: a table or column that is missing, and columns without a default, NULL, out of range, truncated, too short. */
const QUOTING_NAMES = [1146, 1054, 1364, 1048, 1264, 1265, 1406]

const bytesOf = (value: Binding) => (typeof value === 'string' || Buffer.isBuffer(value) ? Buffer.byteLength(value) : 0)

/** MySQL and MariaDB. */
const mysql: Dialect = {
  quote: (identifier) =>
    identifier
      .split('.')
      .map((part) => `\`${part.replaceAll('`', '``')}\``)
      .join('.'),
  canBatch: false,
  isInProcess: false,
  execute: (connection, sql, bindings, prepare) => {
    const toSql = (value: Binding) => (typeof value === 'string' ? { toSqlString: () => literal(value) } : value)
    const query = { sql, values: prepare ? bindings : bindings.map(toSql) }
    const size = bindings.reduce<number>((total, value) => total + bytesOf(value), 0)
    const method = prepare ? 'execute' : 'query'
    return size < LARGE
      ? ask(connection as MysqlConnection, method, query)
      : sendWithinLimit(connection as MysqlConnection, method, query, size)
  },
  // Text, since a Date would be shifted by the driver's option `timezone`.
  bindDate: toDjangoText,
  bindBoolean: Number,
  bindBigInt: String,
  dateParameter: 'CAST(? AS DATETIME(6))',
  // The usual collations ignore case and trailing spaces. Cast is the value, not the column: an index finds what is
  // equal by the collation, of which the bytes are compared then.
  exactParameter: 'CAST(? AS BINARY)',
  // Text, since drivers read a datetime in a time zone of their own, to the millisecond, or not at all (`dateStrings`).
  selectDate: 'CAST(expire_date AS CHAR(26))',
  readDate: fromDjangoText,
  rows: (response) => (response as [Row[]])[0],
  // The count of affected rows is that of changed ones where the flag FOUND_ROWS was taken off.
  affected: (response) => {
    const [{ info, affectedRows }] = response as [MysqlHeader]
    return Number(/\d+/.exec(info)?.[0] ?? affectedRows)
  },
  // ON DUPLICATE KEY UPDATE counts the row that was there as well, INSERT IGNORE passes over other errors too.
  onConflict: '',
  // The last that the message names is the key, in any language, and with or without its table.
  isKeyTaken: ({ errno, sqlMessage = '' }) => errno === 1062 && /['.]PRIMARY'[^']*$/.test(sqlMessage),
  // REPEATABLE READ would lock the gaps between rows too, and so stop others from making sessions.
  begin: ['SET TRANSACTION ISOLATION LEVEL READ COMMITTED', 'START TRANSACTION'],
  forUpdate: 'FOR UPDATE',
  deleteExpired: (table, from, before, limit) => [
    `DELETE FROM ${table} WHERE expire_date >= ? AND expire_date < ? ORDER BY expire_date LIMIT ?`,
    [from, before, limit]
  ],
  // Such locks are the server's, names have at most 64 characters, and the connection keeps them beyond the transaction.
  // A text, since the driver may give numbers as text, and '0' is true.
  tryLock: "SELECT IF(GET_LOCK(SHA1(CONCAT_WS('.', DATABASE(), ?)), 0), 'yes', NULL) AS held",
  unlock: "DO RELEASE_LOCK(SHA1(CONCAT_WS('.', DATABASE(), ?)))",
  cleanup: { initialBatchSize: 1000, adapts: false },
  meaning: mysqlMeaning,
  // All other messages quote values, cut or escaped: Duplicate entry 'Ann' for key 'email'.
  describe: (error) => {
    const message = error.sqlMessage ?? error.message
    return QUOTING_NAMES.includes(error.errno ?? 0) ? message : message.replace(/'.*'(?!\w)/s, "'?'")
  },
  abort: (connection) => {
    kill(connection as MysqlConnection)
    ;(connection as MysqlConnection).stream.destroy()
  }
}

const dialects: Record<string, Dialect> = { pg: postgres, 'better-sqlite3': sqlite, mysql2: mysql }

/**
 * @param driver what Knex calls it: `knex.client.driverName`
 * @returns null for a database that is not supported
 */
export function dialectOf(driver: string): Dialect | null {
  return Object.hasOwn(dialects, driver) ? (dialects[driver] as Dialect) : null
}

export const DRIVERS = Object.keys(dialects)

/** Knex's other names of its client `pg`. */
const POSTGRES_ALIASES = ['postgres', 'postgresql']

const LIKELY_DRIVERS: readonly [name: RegExp, driver: string][] = [
  [/^(?:pg|postgres)/i, 'pg'],
  [/sqlite/i, 'better-sqlite3'],
  [/mysql|maria/i, 'mysql2']
]

/**
 * What is wrong with a Knex client, and which one to use; null for one that is supported.
 * For some names Knex itself would advise to install the package of another driver.
 *
 * @param client its name; a class is judged when there is an instance
 */
export function clientProblem(client: unknown): string | null {
  if (typeof client === 'function' || [...DRIVERS, ...POSTGRES_ALIASES].includes(client as string)) return null
  const expected = `expected ${DRIVERS.slice(0, -1).join(', ')} or ${DRIVERS.at(-1)}`
  if (typeof client !== 'string') return `${expected}, got ${client === null ? 'null' : `a value of type ${typeof client}`}`
  const driver = LIKELY_DRIVERS.find(([name]) => name.test(client))?.[1]
  const advice = driver === undefined ? '' : `: install ${driver} and use client: '${driver}'`
  return `${expected}, got ${JSON.stringify(client)}${advice}`
}

type AfterCreate = (connection: unknown, done: (error: Error | null, connection: unknown) => void) => void

/**
 * The configuration of a database that is opened for sessions. For SQLite: readers and one
 * writer side by side, commits that do not wait for the disk (safe but for a power cut), and
 * no waiting for locks inside SQLite, which would stop the event loop: a busy database is
 * asked again later.
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
