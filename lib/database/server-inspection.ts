/** Facts about a server and its table that decide about failovers, for the command `check`: one reader for each database. */
import type { Connections } from './connections.js'
import type { Row } from './dialect.js'

export interface ServerFacts {
  /** Of another server of the same cluster they are the same; null where the database does not tell. */
  cluster: string | null
  isReadOnly: boolean
  /** Whether statements go through a pooler, which other clients share. */
  isPooled: boolean
  /** Connections that this user may have, all processes together. */
  maxConnections: number
  /** Standbys that follow, and whether a commit waits for one. Null where the database does not tell. */
  replication: { standbys: number; isSynchronous: boolean } | null
  /** Null for a server that is no member of a Galera cluster. */
  galera: { size: number; isPrimary: boolean; syncWait: number } | null
  table: { isLogged: boolean; partitions: 'none' | 'hash' | 'other' }
}

type Ask = (sql: string, bindings?: readonly string[]) => Promise<Row[]>

const POSTGRES = `SELECT (pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean)::text AS read_only,
  pg_backend_pid()::text AS process,
  least(current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
    (SELECT CASE rolconnlimit WHEN -1 THEN NULL ELSE rolconnlimit END FROM pg_roles WHERE rolname = current_user),
    (SELECT CASE datconnlimit WHEN -1 THEN NULL ELSE datconnlimit END FROM pg_database WHERE datname = current_database()))::text AS max_connections,
  (SELECT count(*) FROM pg_stat_replication)::text AS standbys,
  (current_setting('synchronous_standby_names') <> '' AND current_setting('synchronous_commit') NOT IN ('off', 'local'))::text AS synchronous,
  coalesce((SELECT relpersistence::text FROM pg_class WHERE oid = to_regclass(?)), 'p') AS persistence,
  coalesce((SELECT partstrat::text FROM pg_partitioned_table WHERE partrelid = to_regclass(?)), '') AS partitions`

async function readPostgres(ask: Ask, table: string, connection: unknown): Promise<ServerFacts> {
  const [row = {}] = await ask(POSTGRES, [table, table])
  return {
    cluster: null,
    isReadOnly: row.read_only === 'true',
    // A pooler gives its clients numbers of its own.
    isPooled: Number(row.process) !== (connection as { processID: number }).processID,
    maxConnections: Number(row.max_connections),
    replication: { standbys: Number(row.standbys), isSynchronous: row.synchronous === 'true' },
    galera: null,
    table: { isLogged: row.persistence !== 'u', partitions: row.partitions === '' ? 'none' : row.partitions === 'h' ? 'hash' : 'other' }
  }
}

const MYSQL_NAMES = ['read_only', 'max_connections', 'wsrep_on', 'wsrep_sync_wait']
const GALERA_NAMES = ['wsrep_cluster_size', 'wsrep_cluster_status', 'wsrep_cluster_state_uuid']

async function readMysql(ask: Ask): Promise<ServerFacts> {
  const read = async (what: string, names: readonly string[]) => {
    const rows = await ask(`SHOW ${what} WHERE Variable_name IN (${names.map((name) => `'${name}'`).join(', ')})`)
    return Object.fromEntries(rows.map(({ Variable_name, Value }) => [Variable_name, String(Value)])) as Record<string, string>
  }
  const variables = await read('GLOBAL VARIABLES', MYSQL_NAMES)
  const isGalera = variables.wsrep_on === 'ON'
  const status: Record<string, string> = isGalera ? await read('GLOBAL STATUS', GALERA_NAMES) : {}
  return {
    cluster: status.wsrep_cluster_state_uuid ?? null,
    isReadOnly: variables.read_only !== 'OFF',
    isPooled: false,
    maxConnections: Number(variables.max_connections),
    replication: null,
    galera: isGalera
      ? {
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
 * Null for a database in our own process.
 *
 * @throws Error of the driver, without data
 */
export async function readServerFacts({ knex, dialect }: Connections, table: string): Promise<ServerFacts | null> {
  if (dialect.isInProcess) return null
  const connection = await knex.client.acquireConnection()
  try {
    const ask: Ask = async (sql, bindings = []) => dialect.rows(await dialect.execute(connection, sql, bindings, false))
    return knex.client.driverName === 'pg' ? await readPostgres(ask, dialect.quote(table), connection) : await readMysql(ask)
  } finally {
    await knex.client.releaseConnection(connection)
  }
}
