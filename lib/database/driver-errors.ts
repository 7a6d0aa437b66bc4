/**
 * The meaning of drivers' errors: a table for each database, from its manual. An error in no
 * table is `unknown`, and its connection is discarded.
 */

/** An error of any driver. */
export interface DriverError extends Error {
  /** PostgreSQL: the SQLSTATE. SQLite and MySQL: the name of the error. A socket: the system's code. */
  code?: string
  /** PostgreSQL: set for every error of the server, and for no error of a socket. */
  severity?: string
  /** MySQL: the server's error number, SQLSTATE and message. An error of a socket has neither of the last two. */
  errno?: number
  sqlState?: string
  sqlMessage?: string
  /** MySQL: whether the connection can no longer be used. */
  fatal?: boolean
}

/** The consequences for the statement are in `statement-error.ts`, those for its connection in `use.ts`. */
export type ErrorKind =
  /** Another writer was in the way. Nothing was done, and the statement may be sent again. */
  | 'busy'
  /** The database cannot carry it out for now: a time limit, a full disk. Nothing was done, and the connection is sound. */
  | 'unable'
  /** The database refuses it for good: a constraint, a wrong value, a missing table. Nothing was done, and the connection is sound. */
  | 'refused'
  /** Like `refused`, but the server also closes the connection. */
  | 'tooLarge'
  /** Nothing was done, since what is prepared on the connection is void. */
  | 'outdated'
  /** Nothing was done, since the server takes no writes: it is a standby, was the primary, or is cut off from its cluster. */
  | 'demoted'
  /** Nothing was done, since the server takes no connection for now: it starts, or has as many as it may. */
  | 'closed'
  /** The connection broke. The statement may have been carried out. */
  | 'lost'
  /** The database reported an error, so nothing was done. The state of the connection is not known. */
  | 'unknown'

export interface Meaning {
  kind: ErrorKind
  /** The reason and the remedy, for the log. Contains no data. */
  reason: string
}

/** Codes, or the first characters of codes, by kind. The longest match decides. */
type Kinds = Partial<Record<ErrorKind, readonly string[]>>

const POSTGRES_KINDS: Kinds = {
  // https://www.postgresql.org/docs/current/errcodes-appendix.html
  busy: ['40001', '40P01', '55P03'], // serialization failure, deadlock, lock not available
  unable: ['53100', '53200', '57014'], // disk full, out of memory, query canceled (also by statement_timeout)
  // Triggered action, cardinality, data, constraint, triggered data change, schema, syntax or access rule, CHECK OPTION,
  // program limit, RAISE of PL/pgSQL
  refused: ['09', '21', '22', '23', '27', '3F', '42', '44', '54', 'P0'],
  outdated: ['26000', '42P05', '0A000'], // prepared statement does not exist, exists already, "cached plan must not change result type"
  demoted: ['25006'], // read-only transaction
  closed: ['53300', '57P03'], // too many connections, cannot connect now
  // Connection exception, completion unknown, idle in transaction for too long, transaction timeout, shutdown
  lost: ['08', '40003', '25P03', '25P04', '57P']
}

const MYSQL_KINDS: Kinds = {
  // https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html, https://mariadb.com/kb/en/mariadb-error-codes/
  busy: ['1020', '1205', '1213', '3572'], // record has changed since last read (MariaDB), lock wait timeout, deadlock, NOWAIT is set (MySQL)
  // Disk full, table full, a limit per hour, and statements that were interrupted: by KILL QUERY, max_statement_time, max_execution_time
  unable: ['1021', '1114', '1226', '1317', '1969', '3024'],
  // No default, wrong value, truncated, collations that do not fit, CHECK (MySQL), value for a generated column (MariaDB,
  // MySQL). The rest has an SQLSTATE.
  refused: ['1364', '1366', '1265', '1267', '3819', '1906', '3105'],
  tooLarge: ['1153'], // packet larger than max_allowed_packet
  outdated: ['1243', '1615'], // prepared statement unknown, and to be prepared again
  // Node of Galera that is cut off; table, server, transaction, server and InnoDB read-only
  demoted: ['1047', '1036', '1290', '1792', '1836', '1874'],
  closed: ['1040', '1203'], // too many connections, of the server and of the user
  lost: ['1180', '1927', '4031'] // error during COMMIT, connection killed (MariaDB), idle for too long (MySQL)
}

/** By SQLSTATE, for errors whose number is not in `MYSQL_KINDS`: data, constraint, syntax or access rule, CHECK OPTION, SIGNAL. */
const MYSQL_STATES: Kinds = { refused: ['21', '22', '23', '42', '44', '45'], lost: ['08'] }

const SQLITE_KINDS: Kinds = {
  // https://www.sqlite.org/rescode.html
  busy: ['SQLITE_BUSY', 'SQLITE_LOCKED'],
  unable: ['SQLITE_FULL', 'SQLITE_READONLY', 'SQLITE_INTERRUPT'],
  // "Generic error code": a missing table or column, wrong syntax
  refused: ['SQLITE_CONSTRAINT', 'SQLITE_ERROR', 'SQLITE_MISMATCH', 'SQLITE_TOOBIG', 'SQLITE_AUTH', 'SQLITE_RANGE']
}

const REASONS: Record<ErrorKind, string> = {
  busy: 'another writer was in the way',
  unable: 'the database could not carry out a statement',
  refused: 'the database refused a statement',
  tooLarge:
    'a statement was larger than max_allowed_packet of the server, which has to hold the old and the new text of a session: raise it, or lower the option maxSize',
  outdated: 'the connection was outdated',
  demoted: 'its server takes no writes',
  closed: 'its server takes no connection for now',
  lost: 'the connection was lost',
  unknown: 'a statement failed'
}

const TABLE_MISSING = 'its table is missing, run the migration first (npx fastify-django-sessions migrate)'
const COLUMN_MISSING = "a column is missing, compare the table with Django's (fastify-django-sessions check) and with the option columns"
const DENIED = 'the user of the database lacks a privilege: grant reading, creating, changing and deleting of rows'
const FULL = 'its disk is full, make room, or remove expired sessions (fastify-django-sessions clearsessions)'
export const READ_ONLY =
  'its server is read-only, as a standby and a former primary are, or its user is (default_transaction_read_only). Lead connections to the primary'
const CUT_OFF = 'its server is cut off from its Galera cluster. Lead connections to a node of the majority'
const TOO_MANY =
  'its server has as many connections as it may. Keep the sum of the pools of all processes below its limit (max_connections)'
const UNPREPARED =
  'the prepared statements of a connection were invalid. If this persists, a pooler assigns connections per transaction: set the option preparedStatements to false'

/** More specific reasons than that of the kind. */
const POSTGRES_REASONS: Record<string, string> = {
  '42P01': TABLE_MISSING,
  '42703': COLUMN_MISSING,
  '42501': DENIED,
  '53100': FULL,
  '25006': READ_ONLY,
  '53300': TOO_MANY,
  '26000': UNPREPARED,
  '42P05': UNPREPARED,
  '0A000': UNPREPARED
}

const MYSQL_REASONS: Record<string, string> = {
  1146: TABLE_MISSING,
  1054: COLUMN_MISSING,
  1142: DENIED,
  1143: DENIED,
  1021: FULL,
  1114: FULL,
  1226: 'the user of the database has reached a limit of its own: of connections (MAX_USER_CONNECTIONS), or of what it may do in an hour',
  1040: TOO_MANY,
  1203: TOO_MANY,
  1047: CUT_OFF,
  1036: READ_ONLY,
  1290: READ_ONLY,
  1792: READ_ONLY,
  1836: READ_ONLY,
  1874: READ_ONLY,
  1243: UNPREPARED,
  1615: UNPREPARED
}

/** Whether what was prepared is gone, or there already: PostgreSQL's 26000 and 42P05, and MySQL's 1243. */
export function hasLostStatements({ code = '', errno }: DriverError): boolean {
  return code === '26000' || code === '42P05' || errno === 1243
}

function kindOfCode(kinds: Kinds, code: string): ErrorKind | undefined {
  for (let length = code.length; length > 1; length--) {
    const start = code.slice(0, length)
    const found = Object.entries(kinds).find(([, codes]) => codes.includes(start))
    if (found !== undefined) return found[0] as ErrorKind
  }
  return undefined
}

export function postgresMeaning({ code = '', severity }: DriverError): Meaning {
  // An error without a severity comes from the socket.
  const kind = severity === undefined ? 'lost' : (kindOfCode(POSTGRES_KINDS, code) ?? 'unknown')
  return { kind, reason: POSTGRES_REASONS[code] ?? REASONS[kind] }
}

export function mysqlMeaning({ fatal, errno, sqlState }: DriverError): Meaning {
  const kind = kindOfCode(MYSQL_KINDS, String(errno)) ?? mysqlKindOfState(fatal, sqlState)
  return { kind, reason: MYSQL_REASONS[String(errno)] ?? REASONS[kind] }
}

function mysqlKindOfState(fatal = false, sqlState = ''): ErrorKind {
  // An error without an SQLSTATE comes from the socket.
  return fatal || sqlState === '' ? 'lost' : (kindOfCode(MYSQL_STATES, sqlState) ?? 'unknown')
}

export function sqliteMeaning({ code = '', message }: DriverError): Meaning {
  const kind = kindOfCode(SQLITE_KINDS, code) ?? 'unknown'
  return { kind, reason: sqliteReason(code, message) ?? REASONS[kind] }
}

/** SQLite has one code for a missing table and a missing column. Its messages are always in English. */
function sqliteReason(code: string, message: string): string | undefined {
  if (code === 'SQLITE_FULL') return FULL
  if (code.startsWith('SQLITE_READONLY'))
    return 'its file is read-only, check the owner and the permissions of the file and its folder, and restart the application'
  if (message.startsWith('no such table')) return TABLE_MISSING
  return /no such column|has no column named/.test(message) ? COLUMN_MISSING : undefined
}
