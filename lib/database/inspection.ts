/** Queries about a table and the server's time, and the column types of Django's migrations, for each database. */
import type { Deadline } from '../deadline.js'
import type { Connections } from './connections.js'
import { doubleQuote } from './dialect.js'

export interface Column {
  name: string
  type: string
  nullable: boolean
  hasDefault: boolean
  /** Null if it does not matter. */
  collation: string | null
}

/** An index that queries can use: neither partial nor incomplete. */
export interface Index {
  columns: string[]
  primary: boolean
  unique: boolean
}

/** The consequence of a column of another type. */
interface Cost {
  type: RegExp
  status: 'ok' | 'warn' | 'fail'
  message: string
}

interface Expectation {
  type: string
  /** The first match counts. Any other type is worth a warning. */
  costs: readonly Cost[]
}

export interface Inspection {
  /** A query for the columns. No rows if there is no such table. */
  columns: string
  /** A query for the indexes, with a row for each column of an index, in order. */
  indexes: string
  /** The bindings of the two queries for a table. */
  bind(table: string): (string | null)[]
  /** A query for the time in milliseconds since 1970. Null for a database in our own process. */
  now: string | null
  /** Whether dates have a time zone, so that the writer's time zone does not matter. */
  hasTimeZones: boolean
  django: Record<'session_key' | 'session_data' | 'expire_date', Expectation>
}

const SHORT_KEY: Cost = { type: /\(([1-9]|[12]\d|3[01])\)/, status: 'fail', message: 'keys have 32 characters' }

// All columns of an answer are texts: the dialect asks the driver for nothing else.
const postgres: Inspection = {
  columns: `SELECT attname AS name, format_type(atttypid, atttypmod) AS type, (NOT attnotnull)::int::text AS nullable, (atthasdef OR attidentity <> '')::int::text AS has_default
    FROM pg_attribute WHERE attrelid = to_regclass(?) AND attnum > 0 AND NOT attisdropped ORDER BY attnum`,
  indexes: `SELECT indexrelid::text AS name, pg_get_indexdef(indexrelid, position, true) AS column_name, indisprimary::int::text AS is_primary, indisunique::int::text AS is_unique
    FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_am ON pg_am.oid = relam, generate_series(1, indnkeyatts) AS position
    WHERE indrelid = to_regclass(?) AND indisvalid AND indpred IS NULL AND amname = 'btree' ORDER BY indexrelid, position`,
  bind: (table) => [doubleQuote(table)],
  now: 'SELECT (extract(epoch from clock_timestamp()) * 1000)::text AS now',
  hasTimeZones: true,
  django: {
    session_key: { type: 'character varying(40)', costs: [SHORT_KEY] },
    session_data: {
      type: 'text',
      costs: [
        { type: /^character varying$/, status: 'ok', message: 'the same' },
        { type: /^character/, status: 'fail', message: 'larger sessions cannot be saved' },
        { type: /json|bytea/, status: 'fail', message: 'signed text cannot be kept in it' }
      ]
    },
    expire_date: {
      type: 'timestamp with time zone',
      costs: [
        { type: /without time zone/, status: 'fail', message: 'sessions end earlier or later by the time zone of each connection' },
        { type: /^timestamp\(\d\) with time zone/, status: 'warn', message: 'fractions of seconds are rounded' }
      ]
    }
  }
}

const sqlite: Inspection = {
  columns: `SELECT name, lower(type) AS type, NOT "notnull" AS nullable, dflt_value IS NOT NULL AS has_default FROM pragma_table_xinfo(?)`,
  indexes: `SELECT list.name, info.name AS column_name, origin = 'pk' AS is_primary, "unique" AS is_unique
    FROM pragma_index_list(?) AS list, pragma_index_info(list.name) AS info WHERE NOT partial ORDER BY list.name, seqno`,
  bind: (table) => table.split('.').slice(-1),
  now: null,
  hasTimeZones: false,
  django: {
    // SQLite checks no lengths.
    session_key: { type: 'varchar(40)', costs: [{ type: /char|text/, status: 'ok', message: 'the same' }] },
    session_data: { type: 'text', costs: [{ type: /char|text/, status: 'ok', message: 'the same' }] },
    expire_date: { type: 'datetime', costs: [{ type: /text/, status: 'ok', message: 'the same' }] }
  }
}

const mysql: Inspection = {
  columns: `SELECT column_name AS name, column_type AS type, is_nullable = 'YES' AS nullable, column_default IS NOT NULL OR extra <> '' AS has_default, collation_name AS collation
    FROM information_schema.columns WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ? ORDER BY ordinal_position`,
  indexes: `SELECT index_name AS name, column_name AS column_name, index_name = 'PRIMARY' AS is_primary, NOT non_unique AS is_unique
    FROM information_schema.statistics WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ? AND sub_part IS NULL AND index_type = 'BTREE'
    ORDER BY index_name, seq_in_index`,
  bind: (table) => [table.includes('.') ? (table.split('.')[0] as string) : null, table.split('.').at(-1) as string],
  now: 'SELECT UNIX_TIMESTAMP(NOW(6)) * 1000 AS now',
  hasTimeZones: false,
  django: {
    session_key: { type: 'varchar(40)', costs: [SHORT_KEY] },
    session_data: {
      type: 'longtext',
      costs: [
        { type: /^mediumtext/, status: 'warn', message: 'it holds no more than 16 MiB' },
        { type: /char|^tinytext|^text$/, status: 'fail', message: 'sessions of 64 KiB and more cannot be saved' },
        { type: /json|blob|binary/, status: 'fail', message: 'it is compared and converted in another way than text' }
      ]
    },
    expire_date: {
      type: 'datetime(6)',
      costs: [
        { type: /^datetime/, status: 'warn', message: 'fractions of seconds are lost, so that sessions end up to a second early' },
        { type: /^timestamp/, status: 'fail', message: 'dates shift by the time zone of each connection, and end in 2038' }
      ]
    }
  }
}

const INSPECTIONS: Record<string, Inspection> = { pg: postgres, 'better-sqlite3': sqlite, mysql2: mysql }

export function inspectionOf({ knex }: Connections): Inspection {
  return INSPECTIONS[knex.client.driverName] as Inspection
}

/**
 * The columns of a table. Empty if there is no such table.
 *
 * @throws StoreUnavailable, StoreRefused
 */
export async function readColumns(connections: Connections, table: string, deadline?: Deadline): Promise<Column[]> {
  const { columns, bind } = inspectionOf(connections)
  const found = await connections.rows(columns, bind(table), deadline)
  return found.map(({ name, type, nullable, has_default, collation = null }) => ({
    name: String(name),
    type: String(type),
    nullable: isTrue(nullable),
    hasDefault: isTrue(has_default),
    collation: collation as string | null
  }))
}

/** @throws StoreUnavailable, StoreRefused */
export async function readIndexes(connections: Connections, table: string): Promise<Index[]> {
  const { indexes, bind } = inspectionOf(connections)
  const found = new Map<unknown, Index>()
  for (const { name, column_name, is_primary, is_unique } of await connections.rows(indexes, bind(table))) {
    const index = found.get(name) ?? { columns: [], primary: isTrue(is_primary), unique: isTrue(is_unique) }
    index.columns.push(String(column_name))
    found.set(name, index)
  }
  return Array.from(found.values())
}

/**
 * The time of the database. Null for a database in our own process, which has the same clock.
 *
 * @throws StoreUnavailable
 */
export async function readClock(connections: Connections): Promise<Date | null> {
  const { now } = inspectionOf(connections)
  if (now === null) return null
  const [row] = await connections.rows(now, [])
  return new Date(Number(row?.now))
}

/** Drivers give true, 1 or '1'. */
const isTrue = (value: unknown) => Number(value) !== 0
