/**
 * `npm run scoreboard`: asks this package and its peers the same questions, prints a table,
 * and writes bench/scoreboard.md. With names of contenders it asks those, and writes nothing.
 */
import { writeFile } from 'node:fs/promises'
import pg from 'pg'
import { checked, versions } from './contenders.ts'
import { page, terminalTable } from './page.ts'
import { runChecks } from './scoreboard.ts'

const names = process.argv.slice(2)
const unknown = names.filter((wanted) => !checked.some(({ name }) => name === wanted))
if (unknown.length > 0) throw new Error(`Expected names of ${checked.map(({ name }) => `"${name}"`).join(', ')}, got ${unknown.join(', ')}`)
const chosen = checked.filter(({ name }) => names.length === 0 || names.includes(name))

const url = process.env.POSTGRES_URL
if (url === undefined) throw new Error('POSTGRES_URL is not set: use npm run scoreboard')

async function postgresVersion(): Promise<string> {
  const client = new pg.Client(url)
  await client.connect()
  const { rows } = await client.query('SHOW server_version')
  await client.end()
  return `PostgreSQL ${rows[0].server_version}`
}

const columns = await runChecks(chosen, url)
console.log(terminalTable(columns))
if (names.length === 0) {
  await writeFile(new URL('../scoreboard.md', import.meta.url), page(columns, [await postgresVersion(), ...versions(chosen)]))
  console.log('\nWritten: bench/scoreboard.md')
}
