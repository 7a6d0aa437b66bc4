/** MySQL and MariaDB, by the driver mysql2. */
import { type Binding, type Dialect, fromDjangoText, microsecondsOfDjangoText, type Row, toDjangoText } from './dialect.js'
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

/** MySQL's KILL, over a connection of its own: a server that waits for a lock does not notice a closed connection. */
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

/** For one statement of MariaDB, which has no NOWAIT for writes. */
const NO_LOCK_WAIT = '/*M!100100 SET STATEMENT innodb_lock_wait_timeout = 0 FOR */'

const bytesOf = (value: Binding) => (typeof value === 'string' || Buffer.isBuffer(value) ? Buffer.byteLength(value) : 0)

export const mysql: Dialect = {
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
  // 0 stays 0, and 1 to 999 count from the millisecond before.
  renewedDate: 'CAST(? AS DATETIME(6)) + INTERVAL ((MICROSECOND(expire_date) + 999) % 1000 - 999) MICROSECOND',
  // The usual collations ignore case and trailing spaces. Cast is the value, not the column: an index finds what is
  // equal by the collation, of which the bytes are compared then.
  exactParameter: 'CAST(? AS BINARY)',
  // Text, since drivers read a datetime in a time zone of their own, to the millisecond, or not at all (`dateStrings`).
  selectDate: 'CAST(expire_date AS CHAR(26))',
  readDate: fromDjangoText,
  readMicroseconds: microsecondsOfDjangoText,
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
  // MariaDB reads what is for it, and MySQL what is for 8.0.1 and later. Without LIMIT, MySQL would merge the derived table and wait.
  writeUnlocked: (statement, table, where) =>
    `${NO_LOCK_WAIT} ${statement} WHERE /*!80001 session_key = (SELECT session_key FROM (SELECT session_key FROM ${table} WHERE */ ${where} /*!80001 LIMIT 1 FOR UPDATE NOWAIT) AS free) */`,
  insertUnlocked: (statement) => `${NO_LOCK_WAIT} ${statement}`,
  forUpdate: 'FOR UPDATE NOWAIT',
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
    mysql.disconnect(connection)
  },
  disconnect: (connection) => (connection as MysqlConnection).stream.destroy(),
  connectTimeout: 'connectTimeout'
}
