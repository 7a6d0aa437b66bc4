/** Checks at the start of an application that the table of sessions exists. */
import { TableMismatch } from '../errors.js'
import type { Connections } from './connections.js'
import { inspectionOf, readColumns } from './inspection.js'

/**
 * Resolves if the table has Django's columns. Additional columns do not matter.
 *
 * @throws TableMismatch, or StoreUnavailable if the database does not answer
 */
export async function verifyTable(connections: Connections, table: string): Promise<void> {
  const columns = await readColumns(connections, table)
  if (columns.length === 0) {
    throw new TableMismatch(
      `there is no table ${table}: create it with npx fastify-django-sessions migrate, or manage.py migrate where Django shares it, or correct the option tableName`
    )
  }
  const names = new Set(columns.map(({ name }) => name))
  const missing = Object.keys(inspectionOf(connections).django).filter((name) => !names.has(name))
  if (missing.length === 0) return
  throw new TableMismatch(
    `the table ${table} has no column ${missing.join(', ')}: it is not a table of Django's sessions. Correct the option tableName, or rename the table and run npx fastify-django-sessions migrate`
  )
}
