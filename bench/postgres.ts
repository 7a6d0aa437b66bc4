/** A PostgreSQL of the benchmark's own, with its durability by default: what is committed is on the disk. */
import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import { PostgresServer } from '../test/fixtures/postgres.ts'
import { cpuSeconds, pin } from './processes.ts'

export interface Postgres {
  version: string
  /** Makes an empty database, and returns its URL. */
  createDatabase(name: string): Promise<string>
  /** The statements that were sent to a database while `work` ran. */
  countStatements<T>(database: string, work: () => Promise<T>): Promise<{ result: T; statements: number }>
  /** Removes what updates and deletes have left behind. */
  vacuum(database: string): Promise<void>
  cpuSeconds(): number
  stop(): Promise<void>
}

export async function startPostgres(): Promise<Postgres> {
  const server = await PostgresServer.start('max_connections=300', 'shared_preload_libraries=pg_stat_statements')
  pin('load', server.pid)

  const admin = new pg.Client(server.urlOf('postgres'))
  await admin.connect()
  await admin.query('CREATE EXTENSION pg_stat_statements')
  const { server_version: version } = (await admin.query('SHOW server_version')).rows[0]

  /** Off while time is measured, since it costs time. An option of the command line could not be changed. */
  async function track(what: 'all' | 'none'): Promise<void> {
    await admin.query(`ALTER SYSTEM SET pg_stat_statements.track = '${what}'`)
    await admin.query('SELECT pg_reload_conf()')
    // Until all backends have read it.
    await pause(100)
  }
  await track('none')

  return {
    version,
    async createDatabase(name) {
      await admin.query(`CREATE DATABASE "${name}"`)
      return server.urlOf(name)
    },
    async countStatements(database, work) {
      const count = `SELECT coalesce(sum(calls), 0)::float8 AS calls FROM pg_stat_statements JOIN pg_database ON oid = dbid WHERE datname = $1`
      await track('all')
      await admin.query('SELECT pg_stat_statements_reset()')
      const result = await work()
      await pause(50)
      const { rows } = await admin.query(count, [database])
      await track('none')
      return { result, statements: rows[0].calls }
    },
    async vacuum(database) {
      const client = new pg.Client(server.urlOf(database))
      await client.connect()
      await client.query('VACUUM (ANALYZE)')
      await client.end()
    },
    cpuSeconds: () => cpuSeconds(server.pid),
    async stop() {
      await admin.end()
      await server.stop()
    }
  }
}
