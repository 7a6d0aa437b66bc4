/** PostgreSQL, by the driver pg. */
import { createHash } from 'node:crypto'
import { connect } from 'node:net'
import { type Binding, type Dialect, doubleQuote, isoMicroseconds, type Row } from './dialect.js'
import { postgresMeaning } from './driver-errors.js'

interface PostgresResult {
  rows: Row[]
  rowCount: number | null
}

interface PostgresQuery {
  name?: string
  text: string
  values: readonly Binding[]
  types: typeof AS_TEXT
}

interface PostgresClient {
  query(query: PostgresQuery, callback: (error: Error | null, result: PostgresResult) => void): void
  connection: {
    stream: { destroy(): void }
    on(event: 'parameterStatus', listener: (status: { parameterName: string; parameterValue: string }) => void): void
  }
  host: string
  port: number
  processID: number
  secretKey: number
}

/** Reads every column as text, whatever type parsers the application has set for the driver, or its option `binary`. */
const AS_TEXT = { getTypeParser: () => (value: string | Buffer) => String(value) }

/** The reported settings of a server that takes no writes, from version 14 on (its manual, "Asynchronous Operations"). */
const READ_ONLY_SETTINGS = ['default_transaction_read_only', 'in_hot_standby']

/**
 * Not by the promise that pg makes: measured, half a megabyte of what ended requests had then outlives each
 * collection of V8's young generation, of otherwise almost nothing.
 */
function ask(client: PostgresClient, query: PostgresQuery): Promise<PostgresResult> {
  return new Promise((resolve, reject) => {
    client.query(query, (error, result) => (error ? reject(error) : resolve(result)))
  })
}

async function greet(client: PostgresClient, demoted: () => void): Promise<void> {
  const text = "SELECT (pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean)::text AS is_read_only"
  const { rows } = await ask(client, { text, values: [], types: AS_TEXT })
  if (rows[0]?.is_read_only === 'true')
    throw Object.assign(new Error('the server or the user is read-only'), { code: '25006', severity: 'ERROR' })
  client.connection.on('parameterStatus', ({ parameterName, parameterValue }) => {
    if (READ_ONLY_SETTINGS.includes(parameterName) && parameterValue === 'on') demoted()
  })
}

/** Milliseconds for a CancelRequest. */
const CANCEL_TIMEOUT = 1000

/**
 * Sends PostgreSQL's CancelRequest over a connection of its own, without login and answer (manual, "Canceling
 * Requests in Progress"). The server closes that connection when it has passed on the request. The connection
 * of the statement must stay open until then: with it, a pooler would forget which statement to cancel.
 */
function cancel({ host, port, processID, secretKey }: PostgresClient, done: () => void): void {
  const message = Buffer.alloc(16)
  for (const [index, number] of [message.length, 80877102, processID, secretKey].entries()) message.writeInt32BE(number, 4 * index)
  const socket = host.startsWith('/') ? connect(`${host}/.s.PGSQL.${port}`) : connect(port, host)
  socket.on('error', () => {}).on('close', done)
  socket.setTimeout(CANCEL_TIMEOUT, () => socket.destroy())
  socket.write(message)
}

/** Each statement with PostgreSQL's placeholders, and its name. The name is a hash of the text, so that nothing else on a shared pool uses it. */
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

export const postgres: Dialect = {
  quote: doubleQuote,
  canBatch: true,
  isInProcess: false,
  execute: (connection, sql, values, prepare) => {
    const { text, name } = postgresForm(sql)
    const query: PostgresQuery = prepare ? { name, text, values, types: AS_TEXT } : { text, values, types: AS_TEXT }
    return ask(connection as PostgresClient, query)
  },
  bindDate: (date, early = 0) => `${isoMicroseconds(date, early)}Z`,
  bindBoolean: (value) => value,
  bindBigInt: String,
  // 0 stays 0, and 1 to 999 count from the millisecond before.
  renewedDate: "?::timestamptz + ((extract(microseconds from expire_date)::bigint + 999) % 1000 - 999) * interval '1 microsecond'",
  exactParameter: '?',
  selectDate: (column) => `(extract(epoch from ${column}) * 1000)::numeric::text`,
  readDate: (value) => new Date(Math.ceil(Number(value))),
  readMicroseconds: (value) => Number(/\.(\d{3})/.exec(String(value))?.[1] ?? 0),
  rows: (response) => (response as PostgresResult).rows,
  affected: (response) => (response as PostgresResult).rowCount ?? 0,
  onConflict: 'ON CONFLICT (session_key) DO NOTHING',
  isKeyTaken: () => false,
  begin: ['BEGIN'],
  // Not by ctid: a renewal in the meantime would move the row, and nothing would be written.
  writeUnlocked: (statement, table, where, movesKey) =>
    `${statement} WHERE session_key = (SELECT session_key FROM ${table} WHERE ${where} ${movesKey ? 'FOR UPDATE' : 'FOR NO KEY UPDATE'} NOWAIT)`,
  insertUnlocked: (statement) => statement,
  forUpdate: 'FOR UPDATE NOWAIT',
  // By ctid it costs no more than a single DELETE of all. The repeated predicate spares a session that was renewed in the meantime.
  deleteExpired: (table, from, before, limit) => [
    `DELETE FROM ${table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM ${table} WHERE expire_date >= ? AND expire_date < ? ORDER BY expire_date LIMIT ? FOR UPDATE SKIP LOCKED)) AND expire_date < ?`,
    [from, before, limit, before]
  ],
  tryLock: "SELECT CASE WHEN pg_try_advisory_xact_lock(hashtext(?)) THEN 'yes' END AS held",
  unlock: null,
  pages: {
    // Rows are found by a range of pages from PostgreSQL 14 on.
    count: `SELECT CASE WHEN current_setting('server_version_num')::int < 140000 THEN '0'
       ELSE (pg_relation_size(?::regclass) / current_setting('block_size')::int)::text END AS pages`,
    sampleExpired: (table, percent, before) => [
      `SELECT count(*)::text AS total FROM ${table} TABLESAMPLE SYSTEM (?::real) WHERE expire_date < ?`,
      [percent, before]
    ],
    deleteExpired: (table, from, to, before, limit) => [
      `DELETE FROM ${table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM ${table} WHERE ctid >= ?::tid AND ctid < ?::tid AND expire_date < ? LIMIT ? FOR UPDATE SKIP LOCKED)) AND expire_date < ?`,
      [`(${from},0)`, `(${to},0)`, before, limit, before]
    ]
  },
  cleanup: { initialBatchSize: 10_000, adapts: false },
  greet: (connection, { demoted }) => greet(connection as PostgresClient, demoted),
  meaning: postgresMeaning,
  describe: ({ message }) => message,
  abort: (connection) => cancel(connection as PostgresClient, () => postgres.disconnect(connection)),
  disconnect: (connection) => (connection as PostgresClient).connection.stream.destroy(),
  connectTimeout: 'connectionTimeoutMillis'
}
