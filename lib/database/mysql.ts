/** MySQL and MariaDB, by the driver mysql2. */
import { type Binding, type Dialect, fromDjangoText, microsecondsOfDjangoText, quoteWith, type Row, toDjangoText } from './dialect.js'
import { mysqlMeaning } from './driver-errors.js'

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

/** The variables that tell a server from others: besides its address MySQL and MariaDB have one each. */
export const SERVER_NAMES = ['hostname', 'port', 'server_uid', 'server_uuid']

/** Besides these names, what decides about writes. */
const ABOUT_SERVER = `SHOW VARIABLES WHERE Variable_name IN ('${SERVER_NAMES.join("', '")}', 'read_only', 'wsrep_on')`

/** The server of each connection that was greeted. */
const servers = new WeakMap<MysqlConnection, string>()

async function askServer(connection: MysqlConnection): Promise<{ server: string; isReadOnly: boolean; isClustered: boolean }> {
  const rows = mysql.rows(await ask(connection, 'query', { sql: ABOUT_SERVER }))
  const { read_only, wsrep_on, ...names } = Object.fromEntries(rows.map(({ Variable_name, Value }) => [Variable_name, String(Value)]))
  return { server: JSON.stringify(names), isReadOnly: read_only !== 'OFF', isClustered: wsrep_on === 'ON' }
}

/** A node of Galera that is cut off from its cluster refuses each statement but those that ask for its state and its settings. */
async function askCluster(connection: MysqlConnection): Promise<void> {
  const [ready] = mysql.rows(await ask(connection, 'query', { sql: "SHOW STATUS LIKE 'wsrep_ready'" }))
  if (String(ready?.Value) !== 'ON') throw Object.assign(new Error('the node is not ready'), { errno: 1047, sqlState: '08S01' })
}

async function greet(connection: MysqlConnection, isOurs: boolean): Promise<void> {
  const { server, isReadOnly, isClustered } = await askServer(connection)
  servers.set(connection, server)
  if (isClustered) await askCluster(connection)
  // Some users may write to a server that is read-only: this is refused to all others.
  if (isReadOnly) for (const sql of ['START TRANSACTION READ WRITE', 'ROLLBACK']) await ask(connection, 'query', { sql })
  // Otherwise a node of Galera that lags reads old rows, and deletes none of a session that another node has made or moved.
  if (isClustered && isOurs) await ask(connection, 'query', { sql: 'SET SESSION wsrep_sync_wait = @@wsrep_sync_wait | 3' })
}

/** mysql2's class of connections. Those of its own pool (Knex's option `connectionPool`) have a subclass, whose constructor expects the pool. */
function classOf(connection: MysqlConnection): MysqlConnection['constructor'] {
  const { constructor: own } = connection
  return own.name === 'PoolConnection' ? Object.getPrototypeOf(own) : own
}

/**
 * MySQL's KILL, over a connection of its own: a server that waits for a lock does not notice a closed connection.
 * On another server, to which the address may lead by now, the number is that of somebody else's connection.
 */
async function kill(connection: MysqlConnection): Promise<void> {
  const { config, threadId } = connection
  const Connection = classOf(connection)
  const other = new Connection({ config })
  other.stream.unref()
  other.on('error', () => {})
  try {
    const { server } = await askServer(other)
    if (server === servers.get(connection)) await ask(other, 'query', { sql: `KILL ${threadId}` })
  } catch {
    // Then the connection is gone, or no other one can be made.
  } finally {
    other.destroy()
  }
}

/** Overrides settings of the driver that change its answers. */
const MYSQL_OPTIONS = { typeCast: (_field: unknown, next: () => unknown) => next(), rowsAsArray: false, nestTables: false }

/**
 * A string literal in SQL. The driver would escape with backslashes. With the sql_mode
 * NO_BACKSLASH_ESCAPES that would be an SQL injection.
 */
const literal = (text: string) =>
  text.includes('\\') ? `_utf8mb4 X'${Buffer.from(text).toString('hex')}'` : `'${text.replaceAll("'", "''")}'`

/** The size in bytes from which a statement is compared with the server's limit, whose smallest default was 1 MiB. */
const LARGE = 262_144

const packetLimits = new WeakMap<MysqlConnection, number>()

/** `max_allowed_packet` in bytes, which does not change during a connection. */
async function packetLimit(connection: MysqlConnection): Promise<number> {
  const known = packetLimits.get(connection)
  if (known !== undefined) return known
  const answer = await ask(connection, 'query', { sql: 'SELECT @@max_allowed_packet AS bytes' })
  const limit = Number(mysql.rows(answer)[0]?.bytes)
  packetLimits.set(connection, limit)
  return limit
}

/**
 * Does not send a statement that is larger than the server's limit. The server would close the
 * connection, mostly before its error could be read.
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

/** Errors whose messages quote names but no data: missing table or column; no default, NULL, out of range, truncated or too long for a column. */
const QUOTING_NAMES = [1146, 1054, 1364, 1048, 1264, 1265, 1406]

/** Turns waiting for locks off for one statement of MariaDB, which has no NOWAIT for writes. */
const NO_LOCK_WAIT = '/*M!100100 SET STATEMENT innodb_lock_wait_timeout = 0 FOR */'

const bytesOf = (value: Binding) => (typeof value === 'string' || Buffer.isBuffer(value) ? Buffer.byteLength(value) : 0)

export const mysql: Dialect = {
  quote: quoteWith('`'),
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
  // As text, because the driver's option `timezone` would shift a Date.
  bindDate: toDjangoText,
  bindBoolean: Number,
  bindBigInt: String,
  // 0 stays 0, and 1 to 999 count from the millisecond before.
  renewedDate: 'CAST(? AS DATETIME(6)) + INTERVAL ((MICROSECOND(expire_date) + 999) % 1000 - 999) MICROSECOND',
  // The usual collations ignore case and trailing spaces. The cast is on the value, so that the index of the column is
  // used: it finds the rows that are equal by the collation, and their bytes are compared then.
  exactParameter: 'CAST(? AS BINARY)',
  // As text, because the driver would read a datetime in its own time zone, without microseconds, or not at all (`dateStrings`).
  selectDate: (column) => `CAST(${column} AS CHAR(26))`,
  readDate: fromDjangoText,
  readMicroseconds: microsecondsOfDjangoText,
  rows: (response) => (response as [Row[]])[0],
  // Without the flag FOUND_ROWS, `affectedRows` counts changed rows only.
  affected: (response) => {
    const [{ info, affectedRows }] = response as [MysqlHeader]
    return Number(/\d+/.exec(info)?.[0] ?? affectedRows)
  },
  // ON DUPLICATE KEY UPDATE would count the existing row, and INSERT IGNORE would ignore other errors too.
  onConflict: '',
  // The last name in the message is that of the key, in any language, with or without its table. In a table beside that of
  // the sessions, `session_key` is unique and not the primary key.
  isKeyTaken: ({ errno, sqlMessage = '' }) => errno === 1062 && /['.](?:PRIMARY|session_key)'[^']*$/.test(sqlMessage),
  // REPEATABLE READ would also lock the gaps between rows, and so block the creation of sessions.
  begin: ['SET TRANSACTION ISOLATION LEVEL READ COMMITTED', 'START TRANSACTION'],
  // MariaDB runs the comments /*M! */, MySQL from 8.0.1 on the comments /*!80001 */. Without LIMIT, MySQL would merge the derived table, and wait.
  writeUnlocked: (statement, table, where) =>
    `${NO_LOCK_WAIT} ${statement} WHERE /*!80001 session_key = (SELECT session_key FROM (SELECT session_key FROM ${table} WHERE */ ${where} /*!80001 LIMIT 1 FOR UPDATE NOWAIT) AS free) */`,
  insertUnlocked: (statement) => `${NO_LOCK_WAIT} ${statement}`,
  forUpdate: 'FOR UPDATE NOWAIT',
  deleteExpired: (table, from, before, limit) => [
    `DELETE FROM ${table} WHERE expire_date >= ? AND expire_date < ? ORDER BY expire_date LIMIT ?`,
    [from, before, limit]
  ],
  // Such locks are the server's, names have at most 64 characters, and the connection keeps them beyond the transaction.
  // 224 bits are 56 characters. MySQL 9.7 has no SHA1(). HEX(), since DATABASE() cannot be joined to characters of four bytes.
  // A text, since the driver may give numbers as text, and '0' is true.
  tryLock: "SELECT IF(GET_LOCK(SHA2(CONCAT_WS('.', DATABASE(), HEX(?)), 224), 0), 'yes', NULL) AS held",
  unlock: "DO RELEASE_LOCK(SHA2(CONCAT_WS('.', DATABASE(), HEX(?)), 224))",
  pages: null,
  cleanup: { initialBatchSize: 1000, adapts: false },
  greet: (connection, { isOurs }) => greet(connection as MysqlConnection, isOurs),
  meaning: mysqlMeaning,
  // All other messages quote values, cut or escaped: Duplicate entry 'Ann' for key 'email'.
  describe: (error) => {
    const message = error.sqlMessage ?? error.message
    return QUOTING_NAMES.includes(error.errno ?? 0) ? message : message.replace(/'.*'(?!\w)/s, "'?'")
  },
  abort: (connection) => {
    kill(connection as MysqlConnection)
    mysql.disconnect(connection)
  },
  disconnect: (connection) => (connection as MysqlConnection).stream.destroy(),
  connectTimeout: 'connectTimeout'
}
