/** Facts about a server and its table that decide about failovers, for the command `check`: one reader for each database. */
import type { Connections } from './connections.js'
import type { Row } from './dialect.js'
import type { DriverError } from './driver-errors.js'
import { SERVER_NAMES } from './mysql.js'
import { failure } from './statement-error.js'

export interface ServerFacts {
  /** The server and its database: the same at all addresses that lead there. */
  identity: string
  isReadOnly: boolean
  /** Whether statements go through a pooler, which other clients share. */
  isPooled: boolean
  /** Connections that this user may have, all processes together. */
  maxConnections: number
  /** Null where the database does not tell. */
  replication: Replication | null
  /** Null for a server that is no member of a Galera cluster. */
  galera: { cluster: string; size: number; isPrimary: boolean; syncWait: number } | null
  table: { isLogged: boolean; partitions: 'none' | 'hash' | 'other' }
}

interface Replication {
  /** Standbys that follow. */
  standbys: number
  /** How many a commit waits for. */
  required: number
  /** How many there are that a commit may wait for. Null where the user may not see that. */
  synchronous: number | null
}

type Ask = (sql: string, bindings?: readonly string[]) => Promise<Row[]>

// `reserved_connections` came with version 16. Of standbys, an ordinary user sees the number, and not which ones are synchronous.
const POSTGRES = `SELECT (pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean)::text AS read_only,
  concat_ws(' ', extract(epoch FROM pg_postmaster_start_time()), current_database()) AS identity,
  pg_backend_pid()::text AS process,
  least(current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
      - coalesce(current_setting('reserved_connections', true)::int, 0),
    (SELECT CASE rolconnlimit WHEN -1 THEN NULL ELSE rolconnlimit END FROM pg_roles WHERE rolname = current_user),
    (SELECT CASE datconnlimit WHEN -1 THEN NULL ELSE datconnlimit END FROM pg_database WHERE datname = current_database()))::text AS max_connections,
  CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN '' ELSE current_setting('synchronous_standby_names') END AS names,
  (SELECT count(*) FROM pg_stat_replication)::text AS standbys,
  (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum'))::text AS synchronous,
  (SELECT count(*) FROM pg_stat_replication WHERE sync_state IS NULL)::text AS hidden,
  coalesce((SELECT relpersistence::text FROM pg_class WHERE oid = to_regclass(?)), 'p') AS persistence,
  coalesce((SELECT partstrat::text FROM pg_partitioned_table WHERE partrelid = to_regclass(?)), '') AS partitions`

async function readPostgres(ask: Ask, table: string, connection: unknown): Promise<ServerFacts> {
  const [row = {}] = await ask(POSTGRES, [table, table])
  return {
    identity: String(row.identity),
    isReadOnly: row.read_only === 'true',
    // A pooler gives its clients numbers of its own.
    isPooled: Number(row.process) !== (connection as { processID: number }).processID,
    maxConnections: Number(row.max_connections),
    replication: {
      standbys: Number(row.standbys),
      required: requiredStandbys(String(row.names)),
      synchronous: Number(row.hidden) > 0 ? null : Number(row.synchronous)
    },
    galera: null,
    table: { isLogged: row.persistence !== 'u', partitions: row.partitions === '' ? 'none' : row.partitions === 'h' ? 'hash' : 'other' }
  }
}

/** @param names the setting synchronous_standby_names: `a, b`, `2 (a, b)`, `FIRST 2 (a, b)` or `ANY 2 (a, b)` */
function requiredStandbys(names: string): number {
  if (names.trim() === '') return 0
  return Number(/^\s*(?:\w+\s+)?(\d+)\s*\(/.exec(names)?.[1] ?? 1)
}

const MYSQL_NAMES = ['read_only', 'max_connections', 'max_user_connections', 'wsrep_on', 'wsrep_sync_wait', ...SERVER_NAMES]
const GALERA_NAMES = ['wsrep_cluster_size', 'wsrep_cluster_status', 'wsrep_cluster_state_uuid']

async function readMysql(ask: Ask): Promise<ServerFacts> {
  const read = async (what: string, names: readonly string[]) => {
    const rows = await ask(`SHOW ${what} WHERE Variable_name IN (${names.map((name) => `'${name}'`).join(', ')})`)
    return Object.fromEntries(rows.map(({ Variable_name, Value }) => [Variable_name, String(Value)])) as Record<string, string>
  }
  // Those of the connection: its max_user_connections is the limit of this user, and 0 for none.
  const variables = await read('VARIABLES', MYSQL_NAMES)
  const isGalera = variables.wsrep_on === 'ON'
  const status: Record<string, string> = isGalera ? await read('GLOBAL STATUS', GALERA_NAMES) : {}
  const [row] = await ask('SELECT DATABASE() AS name')
  return {
    identity: JSON.stringify([...SERVER_NAMES.map((name) => variables[name]), row?.name]),
    isReadOnly: variables.read_only !== 'OFF',
    isPooled: false,
    maxConnections: Math.min(Number(variables.max_connections), Number(variables.max_user_connections) || Number.POSITIVE_INFINITY),
    replication: null,
    galera: isGalera
      ? {
          cluster: status.wsrep_cluster_state_uuid as string,
          size: Number(status.wsrep_cluster_size),
          isPrimary: status.wsrep_cluster_status === 'Primary',
          syncWait: Number(variables.wsrep_sync_wait)
        }
      : null,
    table: { isLogged: true, partitions: 'none' }
  }
}

/**
 * Reads them over a connection that was not asked whether it takes writes, since a standby is to be told of.
 * Not for a database in our own process.
 *
 * @throws StoreUnavailable where there is no connection, or the driver's error, without data
 */
export async function readServerFacts({ knex, dialect }: Connections, table: string): Promise<ServerFacts> {
  const connection = await knex.client.acquireConnection().catch(unreachable)
  try {
    const ask: Ask = async (sql, bindings = []) => dialect.rows(await dialect.execute(connection, sql, bindings, false))
    return knex.client.driverName === 'pg' ? await readPostgres(ask, dialect.quote(table), connection) : await readMysql(ask)
  } finally {
    await knex.client.releaseConnection(connection)
  }
}

function unreachable(error: DriverError): never {
  throw failure({ kind: 'unreachable', reason: 'it cannot be reached', error, message: error.message })
}
