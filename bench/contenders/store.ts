/** The stores of express-session on SQL, which @fastify/session takes too, on the database of the environment. */
import createKnex from 'knex'
import pg from 'pg'
import { PgSimple, SessionKnex, type Store } from './peers.ts'
import { database, poolSize } from './serve.ts'

export type StoreKind = 'knex' | 'pg-simple'

/** Nothing is cleaned up by timers: that would be measured along with whatever runs at the time. */
export function openStore(kind: StoreKind, { createTable = true, wal = false } = {}): Store {
  if (kind === 'knex') return new SessionKnex({ knex: openKnex(wal), createTable, cleanupInterval: 0 })
  const pool = new pg.Pool({ connectionString: database, max: poolSize })
  // As the manual of pg demands: otherwise the loss of an idle connection ends the process.
  pool.on('error', () => {})
  return new PgSimple({ pool, createTableIfMissing: createTable, pruneSessionInterval: false })
}

function openKnex(wal: boolean) {
  if (database.startsWith('postgres')) {
    return createKnex({ client: 'pg', connection: database, pool: { min: poolSize, max: poolSize } })
  }
  const afterCreate = (connection: { pragma(text: string): void }, done: (error: Error | null, connection: unknown) => void) => {
    if (wal) for (const setting of ['journal_mode = WAL', 'synchronous = NORMAL']) connection.pragma(setting)
    done(null, connection)
  }
  return createKnex({
    client: 'better-sqlite3',
    connection: { filename: database },
    useNullAsDefault: true,
    pool: { afterCreate }
  })
}
