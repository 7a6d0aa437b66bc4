/** Checks at the start of an application that its tables exist. */
import type { Deadline } from '../deadline.js'
import { TableMismatch } from '../errors.js'
import type { Connections } from './connections.js'
import { inspectionOf, readColumns } from './inspection.js'
import { USER_SESSIONS_TABLE } from './user-sessions-table.js'

/**
 * Resolves if the table has Django's columns. Additional columns do not matter.
 *
 * @throws TableMismatch, or StoreUnavailable if the database does not answer
 */
export async function verifyTable(connections: Connections, table: string, deadline: Deadline): Promise<void> {
  const columns = await readColumns(connections, table, deadline)
  if (columns.length === 0) {
    throw new TableMismatch(
      `there is no table ${table}: ${inMemory(connections, 'migrationSource') ?? 'create it with npx fastify-django-sessions migrate, or manage.py migrate where Django shares it'}, or correct the option tableName`
    )
  }
  const names = new Set(columns.map(({ name }) => name))
  const missing = Object.keys(inspectionOf(connections).django).filter((name) => !names.has(name))
  if (missing.length === 0) return
  throw new TableMismatch(
    `the table ${table} has no column ${missing.join(', ')}: it is not a table of Django's sessions. Correct the option tableName, or rename the table and run npx fastify-django-sessions migrate`
  )
}

/** The columns of django-allauth's table that are read or written. */
export const USER_SESSIONS_COLUMNS = ['id', 'user_id', 'session_key', 'created_at', 'last_seen_at', 'ip', 'user_agent', 'data']

/**
 * The same for the table of user sessions.
 *
 * @throws TableMismatch, or StoreUnavailable when the database gives no answer
 */
export async function verifyUserSessionsTable(connections: Connections, deadline: Deadline): Promise<void> {
  const names = (await readColumns(connections, USER_SESSIONS_TABLE, deadline)).map(({ name }) => name)
  const missing = USER_SESSIONS_COLUMNS.filter((name) => !names.includes(name))
  if (missing.length === 0) return
  const problem =
    names.length === 0 ? `there is no table ${USER_SESSIONS_TABLE}` : `the table ${USER_SESSIONS_TABLE} has no column ${missing.join(', ')}`
  const remedy =
    inMemory(connections, 'createUserSessionsMigrationSource()') ??
    "create it with npx fastify-django-sessions migrate --user-sessions, or manage.py migrate where Django has django-allauth's usersessions"
  throw new TableMismatch(`${problem}: ${remedy}, or leave out the option userSessions`)
}

/** How to create a table in memory, which no command reaches. Null for any other database. */
function inMemory({ knex }: Connections, source: string): string | null {
  if (knex.client.connectionSettings?.filename !== ':memory:') return null
  return `the database is in memory. Create it by knex.migrate.latest({ migrationSource }) on the Knex instance in the option knex, with ${source} of fastify-django-sessions/migrations`
}
