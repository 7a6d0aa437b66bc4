/** The database server is killed and started again while visitors come: they are told so, and nothing that they were promised is gone. */
import createKnex, { type Knex } from 'knex'
import t, { type Test } from 'tap'
import { migrationSource } from '../lib/migrations.ts'
import { missing } from './fixtures/databases.ts'
import { MariadbServer, missingMariadbServer } from './fixtures/mariadb.ts'
import { PostgresServer } from './fixtures/postgres.ts'
import { startSite } from './fixtures/site.ts'
import { readVisited, Visitors } from './fixtures/visitors.ts'

const seed = Number(process.env.SEED ?? 20_300_101)

/** Seconds. */
const STORE_TIMEOUT = 2

interface Server {
  config: Knex.Config
  crash(): Promise<void>
  start(): Promise<void>
}

const servers: Record<string, { skip: string | false; open: (t: Test) => Promise<Server> }> = {
  PostgreSQL: {
    skip: missing('postgres'),
    open: async (t) => {
      // Commits are in the log before they are acknowledged (synchronous_commit); only the machine's own end needs the disk.
      const server = await PostgresServer.start('fsync=off')
      t.teardown(() => server.stop())
      return { config: { client: 'pg', connection: server.urlOf('postgres') }, crash: () => server.crash(), start: () => server.start() }
    }
  },
  MariaDB: {
    skip: missingMariadbServer(),
    open: async (t) => {
      const server = await MariadbServer.start(t)
      return { config: { client: 'mysql2', connection: server.url }, crash: () => server.crash(), start: () => server.start() }
    }
  }
}

for (const [name, { skip, open }] of Object.entries(servers)) {
  t.test(`${name} is killed and started again under load`, { skip }, async (t) => {
    const server = await open(t)
    // Knex tells the console of each connection that is lost.
    const knex = createKnex({ ...server.config, log: { warn: () => {} } })
    t.teardown(() => knex.destroy())
    await knex.migrate.latest({ migrationSource })
    const site = await startSite(t, { knex: server.config, storeTimeout: STORE_TIMEOUT })
    const visitors = new Visitors(() => site, { count: 8, seed })
    for (let crash = 0; crash < 2; crash++) {
      await visitors.served(5)
      await server.crash()
      await visitors.refused(5)
      t.equal((await site.get('/untouched')).status, 200, 'who needs no session is served all the while')
      await server.start()
    }
    await visitors.served(5)
    await visitors.stop()
    t.strictSame(
      [...visitors.statuses].filter((status) => ![200, 400, 503].includes(status)),
      []
    )
    t.strictSame(visitors.compare(await readVisited(knex)), [], `nothing is lost, of the seed ${seed}`)
    const { slowest, stall } = await site.report()
    t.comment(
      `${visitors.refusals} requests were refused, the slowest reply took ${Math.round(slowest)} ms, the event loop stood still for ${Math.round(stall)} ms at most`
    )
    // A request loads, saves, and looks whether it has; the rest is for a busy machine.
    t.ok(slowest < (3 * STORE_TIMEOUT + 10) * 1000, 'every reply ends in time')
    t.ok(stall < STORE_TIMEOUT * 1000, 'nothing waits for the server in the event loop')
    t.strictSame(await site.close(), [0, null])
  })
}
