/** Deletes many rows of a table by their session keys, in a few statements. */
import type { Deadline } from '../contract.js'
import type { Connections } from './connections.js'
import type { Binding } from './dialect.js'

/** Keys in a statement. Fewer values than any of the databases binds. */
const MAX_KEYS = 1000

export interface KeyedRows {
  /** The name of the table, quoted. */
  table: string
  sessionKeys: readonly string[]
  /** SQL that the rows must meet as well, and its bindings. @default any row with one of the keys */
  condition?: { sql: string; bindings: readonly Binding[] }
}

/**
 * All in one transaction. A row that another one has locked is not waited for in the database: all is tried again until the
 * deadline, as with a statement on a single row.
 *
 * @throws StoreUnavailable, StoreRefused
 */
export async function deleteKeys(
  connections: Connections,
  { table, sessionKeys, condition = { sql: 'true', bindings: [] } }: KeyedRows,
  deadline: Deadline
): Promise<void> {
  if (sessionKeys.length === 0) return
  const { exactParameter, forUpdate } = connections.dialect
  await connections.transaction(async (send) => {
    for (let start = 0; start < sessionKeys.length; start += MAX_KEYS) {
      const keys = sessionKeys.slice(start, start + MAX_KEYS)
      const where = `session_key IN (${keys.map(() => exactParameter).join(', ')}) AND ${condition.sql}`
      const bindings = [...keys, ...condition.bindings]
      // Refused at once where a row is locked, which a DELETE of several rows has no words for.
      await send(`SELECT 1 AS locked FROM ${table} WHERE ${where} ${forUpdate}`, bindings)
      await send(`DELETE FROM ${table} WHERE ${where}`, bindings)
    }
  }, deadline)
}
