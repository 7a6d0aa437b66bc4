/** `npm run scoreboard`: asks this package and its peers the same questions, prints a table, and writes bench/scoreboard.md. */
import { writeFile } from 'node:fs/promises'
import pg from 'pg'
import { commandLine, names } from '../command-line.ts'
import { checked, versions } from './contenders.ts'
import { page, terminalTable } from './page.ts'
import { runChecks } from './scoreboard.ts'

const { contenders } = commandLine({
  command: 'npm run scoreboard --',
  about: 'Asks this package and its peers the same questions. It writes bench/scoreboard.md where it asks them all.',
  settings: {
    contenders: {
      ...names(
        checked.map(({ name }) => name),
        'Contenders'
      ),
      isOperand: true
    }
  }
})
const chosen = checked.filter(({ name }) => contenders.has(name))

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
if (chosen.length === checked.length) {
  await writeFile(new URL('../scoreboard.md', import.meta.url), page(columns, [await postgresVersion(), ...versions(chosen)]))
  console.log('\nWritten: bench/scoreboard.md')
}
