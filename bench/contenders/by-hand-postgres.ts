/** The pool and the table of the servers that are written by hand for PostgreSQL. */
import pg from 'pg'
import { database, poolSize } from './serve.ts'

export async function openPool(): Promise<pg.Pool> {
  const pool = new pg.Pool({ connectionString: database, max: poolSize })
  await pool.query(
    'CREATE TABLE IF NOT EXISTS django_session (session_key varchar(40) NOT NULL PRIMARY KEY, session_data text NOT NULL, expire_date timestamptz NOT NULL)'
  )
  await pool.query('CREATE INDEX IF NOT EXISTS django_session_key_like ON django_session (session_key varchar_pattern_ops)')
  await pool.query('CREATE INDEX IF NOT EXISTS django_session_expire_date ON django_session (expire_date)')
  return pool
}
