/** Fake timers in an application's tests: sessions go on, by timers that nobody has replaced. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import createKnex from 'knex'
import t from 'tap'
import { migrationSource } from '../lib/migrations.ts'
import { createDatabase, databases, missing } from './fixtures/databases.ts'

const program = fileURLToPath(new URL('fixtures/stopped-clock.ts', import.meta.url))

for (const database of databases) {
  t.test(`with timers that never fire a session on ${database} is loaded and saved`, { skip: missing(database) }, async (t) => {
    const config = await createDatabase(t, database)
    const knex = createKnex(config)
    t.teardown(() => knex.destroy())
    await knex.migrate.latest({ migrationSource })
    for (const [by, when] of [
      ['globals', 'after'],
      ['globals', 'before'],
      ['node:test', 'after']
    ] as const) {
      const args = ['--import', 'tsx', program, by, when, JSON.stringify(config)]
      const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 30_000 }).catch((error) => error)
      t.equal(stdout, '1\n2\n3\n', `${by}, replaced ${when} the package is imported`)
    }
  })
}
