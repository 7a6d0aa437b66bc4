/** Parts of the package, and of the documentation's program, without each of which a failover must miss its goals. */
export interface Part {
  /** The whole name of the failover. */
  cell: string
  what: string
  /** From the root of the project. */
  file: string
  /** Its text, which is there once, and what stands there when it is taken out. */
  text: string
  without: string
}

export const parts: readonly Part[] = [
  {
    cell: 'PostgreSQL: one of two applications is led to a standby that lags, for 3 s',
    what: 'a new connection is asked whether its server is a standby',
    file: 'lib/database/postgres.ts',
    text: "if (rows[0]?.is_read_only === 'true')",
    without: "if (rows[0]?.is_read_only === 'never')"
  },
  {
    cell: 'PostgreSQL: primary becomes read-only, address moves, connections stay',
    what: 'an error that says "read-only" replaces the connections',
    file: 'lib/database/driver-errors.ts',
    text: "demoted: ['25006'],",
    without: 'demoted: [],'
  },
  {
    cell: 'PostgreSQL: planned switchover, address follows 3 s late',
    what: 'requests wait while no server takes writes',
    file: 'lib/database/use.ts',
    text: 'const may = isWithoutServer(error) || this',
    without: 'const may = this'
  },
  {
    cell: 'PostgreSQL: kill -9 during COMMITs that the synchronous standby never receives',
    what: 'where the outcome of a write is unknown, the row is read: without it, it counts as written',
    file: 'lib/database/settled-table.ts',
    text: 'if (!isOutcomeUnknown(error)) throw error\n',
    without: 'if (!isOutcomeUnknown(error)) throw error\n    if (Date.now() > 0) return true\n'
  },
  {
    cell: 'PostgreSQL: primary hangs, connections are cut, standby promoted, address follows 1 s late',
    what: 'a connect to a silent server takes 2 seconds at most',
    file: 'lib/assembly.ts',
    text: 'Math.min(timeout / 3, LONGEST_CONNECT)',
    without: 'Math.min(timeout, 10 * LONGEST_CONNECT)'
  },
  {
    cell: 'PostgreSQL: a connection function that finds the primary, which hangs (storeTimeout 2)',
    what: "the limits of the program's search for the primary",
    file: 'docs/high-availability.md',
    text: 'connectionTimeoutMillis: 400, query_timeout: 400',
    without: 'connectionTimeoutMillis: 0'
  },
  {
    cell: 'PgBouncer, transactions: prepared statements left on',
    what: 'lost prepared statements are given up',
    file: 'lib/database/pool.ts',
    text: 'this.#keepsStatements = false\n',
    without: '\n'
  },
  {
    cell: 'Galera: an application on each of two nodes, of which one lags',
    what: 'wsrep_sync_wait',
    file: 'lib/database/mysql.ts',
    text: '@@wsrep_sync_wait | 3',
    without: '@@wsrep_sync_wait | 0'
  },
  {
    cell: 'Galera: two writers of each session at the same time, each on a node of its own',
    what: 'an update compares the stored text with that which was loaded',
    file: 'lib/database/session-table.ts',
    text: '` AND session_data = ',
    without: "` AND '' <> "
  },
  {
    cell: 'Galera: two writers of each session at the same time, each on a node of its own',
    what: 'a save that loses its certification is sent again',
    file: 'lib/database/driver-errors.ts',
    text: "busy: ['1020', '1205', '1213', '3572'],",
    without: "busy: ['1020', '1205', '3572'],"
  }
]
