/** Options of a driver that change its answers do not change what is read. Those of mysql2 are in mariadb.test.ts. */
import { createRequire } from 'node:module'
import createKnex, { type Knex } from 'knex'
import t, { type Test } from 'tap'
import type { SessionRecord } from '../lib/contract.ts'
import { ExpiredSessions } from '../lib/database/expired-sessions.ts'
import { migrationSource } from '../lib/migrations.ts'
import { plain } from '../lib/testing/engine-contract.ts'
import { engineContract } from '../lib/testing.ts'
import { createDatabase, type DatabaseName, missing } from './fixtures/databases.ts'
import { createDbEngine, createTable } from './fixtures/tables.ts'
import { unhurried } from './fixtures/unhurried.ts'

const pg = createRequire(import.meta.url)('pg')

const NOW = new Date('2026-01-02T03:04:05.678Z')
const LATER = new Date('2026-01-16T03:04:05.678Z')

const record = (text: string, expireDate: Date): SessionRecord => ({ sessionData: text, expireDate, data: () => ({ text }) })

interface Setting {
  database: DatabaseName
  /** Options of the driver's connections. */
  connection?: object
  /** Called with each new connection. */
  onConnection?: (connection: never) => void
  /** Changes settings of the driver itself, and returns how to undo that. */
  global?: () => () => void
}

/** Knex itself reads the version of the server with a new connection. */
const anything = (value: string) => (value.startsWith('PostgreSQL') ? value : 'something else')

/** text, varchar, float8, bool, int8, timestamptz and numeric. */
const OIDS = [25, 1043, 701, 16, 20, 1184, 1700]

const settings: Record<string, Setting> = {
  'parsers of pg for all types': {
    database: 'postgres',
    global: () => {
      const parsers = OIDS.map((oid) => pg.types.getTypeParser(oid))
      for (const oid of OIDS) pg.types.setTypeParser(oid, anything)
      return () => {
        for (const [index, oid] of OIDS.entries()) pg.types.setTypeParser(oid, parsers[index])
      }
    }
  },
  'parsers of the connection for all types': { database: 'postgres', connection: { types: { getTypeParser: () => anything } } },
  'answers in binary': { database: 'postgres', connection: { binary: true } },
  'integers of SQLite as bigints': {
    database: 'sqlite',
    onConnection: (connection: { defaultSafeIntegers(): void }) => connection.defaultSafeIntegers()
  }
}

async function open(t: Test, { database, connection = {}, onConnection = () => {} }: Setting): Promise<Knex> {
  const config = await createDatabase(t, database)
  const plain = createKnex(config)
  await plain.migrate.latest({ migrationSource })
  await plain.destroy()
  const given = typeof config.connection === 'string' ? { connectionString: config.connection } : (config.connection as object)
  const afterCreate = (created: never, done: (error: null, created: never) => void) => {
    onConnection(created)
    done(null, created)
  }
  const knex = createKnex({ ...config, connection: { ...given, ...connection }, pool: { afterCreate } })
  t.teardown(() => knex.destroy())
  return knex
}

for (const [name, setting] of Object.entries(settings)) {
  t.test(`with ${name}`, { skip: missing(setting.database) }, async (t) => {
    const knex = await open(t, setting)
    const restore = setting.global?.()
    t.teardown(() => restore?.())
    for (const batching of [true, false]) {
      for (const preparedStatements of [true, false]) {
        const engineOn = (clock: () => Date) => createDbEngine(knex, clock, { preparedStatements, batching })
        t.test(`batching: ${batching}, preparedStatements: ${preparedStatements}`, async (t) => {
          for (const { name, run } of engineContract) await t.test(name, () => run(engineOn))

          await t.test('sessions that leave together are read, and expired ones counted and removed', async (t) => {
            const engine = unhurried(engineOn(() => NOW))
            await engine.clearExpired()
            const table = createTable(knex, { preparedStatements })
            const keys = await Promise.all(['a', 'b'].map((text) => engine.create(record(text, LATER))))
            t.strictSame((await Promise.all(keys.map((key) => engine.load(key)))).map(plain), [
              { sessionData: 'a', expireDate: LATER },
              { sessionData: 'b', expireDate: LATER }
            ])
            await engine.create(record('ended', new Date('2026-01-01T00:00:00.001Z')))
            t.strictSame(await new ExpiredSessions(table).count(NOW), { count: 1, oldest: new Date('2026-01-01T00:00:00.001Z') })
            t.match(await engine.clearExpired(), { deleted: 1, backlogAge: 97_446 })
          })
        })
      }
    }
  })
}
