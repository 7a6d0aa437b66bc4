/** The dialects by the names that Knex has for their drivers. */
import { kindOf } from '../kind-of.js'
import type { Dialect } from './dialect.js'
import { mysql } from './mysql.js'
import { postgres } from './postgres.js'
import { sqlite } from './sqlite.js'

export { tuned } from './sqlite.js'

const dialects: Record<string, Dialect> = { pg: postgres, 'better-sqlite3': sqlite, mysql2: mysql }

/**
 * @param driver what Knex calls it: `knex.client.driverName`
 * @returns null for a database that is not supported
 */
export function dialectOf(driver: string): Dialect | null {
  return Object.hasOwn(dialects, driver) ? (dialects[driver] as Dialect) : null
}

export const DRIVERS = Object.keys(dialects)

/** Knex's other names of its client `pg`. */
const POSTGRES_ALIASES = ['postgres', 'postgresql']

const LIKELY_DRIVERS: readonly [name: RegExp, driver: string][] = [
  [/^(?:pg|postgres)/i, 'pg'],
  [/sqlite/i, 'better-sqlite3'],
  [/mysql|maria/i, 'mysql2']
]

/**
 * The problem with a Knex client, and the client to use instead. Null for a supported client.
 * For some names Knex itself advises to install a driver that is not supported here.
 *
 * @param client its name. A class is accepted here, and checked by the `driverName` of its instance
 */
export function clientProblem(client: unknown): string | null {
  if (typeof client === 'function' || [...DRIVERS, ...POSTGRES_ALIASES].includes(client as string)) return null
  const expected = `expected ${DRIVERS.slice(0, -1).join(', ')} or ${DRIVERS.at(-1)}`
  if (typeof client !== 'string') return `${expected}, got ${kindOf(client)}`
  const driver = LIKELY_DRIVERS.find(([name]) => name.test(client))?.[1]
  const advice = driver === undefined ? '' : `: install ${driver} and use client: '${driver}'`
  return `${expected}, got ${JSON.stringify(client)}${advice}`
}

/** The problem with a Knex configuration that has a client: Knex itself reports it wrongly, or not before the first query. */
export function configProblem(config: { client?: unknown; connection?: unknown; connectionPool?: unknown }): string | null {
  const problem = clientProblem(config.client)
  if (problem !== null) return `client: ${problem}`
  return (config.connection ?? config.connectionPool) == null ? 'connection: expected the database to connect to, got nothing' : null
}
