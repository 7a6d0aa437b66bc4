/** Deletes many rows of a table by their session keys, in a few statements. */
import type { Deadline } from '../contract.js'
import type { Connections } from './connections.js'
import type { Binding, Row } from './dialect.js'

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
 * @returns the keys of the rows that were there
 * @throws StoreUnavailable, StoreRefused
 */
export async function deleteKeys(
  connections: Connections,
  { table, sessionKeys, condition = { sql: 'true', bindings: [] } }: KeyedRows,
  deadline: Deadline
): Promise<string[]> {
  if (sessionKeys.length === 0) return []
  const { exactParameter, forUpdate, rows } = connections.dialect
  return connections.transaction(async (send) => {
    const found: Row[] = []
    for (let start = 0; start < sessionKeys.length; start += MAX_KEYS) {
      const keys = sessionKeys.slice(start, start + MAX_KEYS)
      const where = `session_key IN (${keys.map(() => exactParameter).join(', ')}) AND ${condition.sql}`
      const bindings = [...keys, ...condition.bindings]
      // The SELECT fails at once if a row is locked; a DELETE of several rows has no NOWAIT.
      found.push(...rows(await send(`SELECT session_key FROM ${table} WHERE ${where} ${forUpdate}`, bindings)))
      await send(`DELETE FROM ${table} WHERE ${where}`, bindings)
    }
    return found.map(({ session_key }) => String(session_key))
  }, deadline)
}
