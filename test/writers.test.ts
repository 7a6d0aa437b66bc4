/** Fifty writers on one session at once: all succeed, every key is kept, and the counter is exact. */
import createKnex from 'knex'
import t, { type Test } from 'tap'
import { migrationSource } from '../lib/migrations.ts'
import { createDatabase, databases, missing } from './fixtures/databases.ts'
import { privateFolder } from './fixtures/folders.ts'
import { get, startSite } from './fixtures/site.ts'
import { createSiteApp, type SiteOptions } from './fixtures/site-app.ts'

const WRITERS = 50
/** Seconds: enough for the last of them, also where others need the machine. */
const PATIENCE = 60

const redisUrl = process.env.REDIS_URL

interface Storage {
  name: string
  skip: string | false
  /** Whether processes share it. */
  shared: boolean
  open(t: Test): Promise<SiteOptions>
}

const skipRedis = redisUrl === undefined && 'REDIS_URL is not set'

async function openDatabase(t: Test, database: (typeof databases)[number]): Promise<SiteOptions> {
  const config = await createDatabase(t, database)
  const knex = createKnex(config)
  await knex.migrate.latest({ migrationSource })
  await knex.destroy()
  return { knex: config }
}

const storages: readonly Storage[] = [
  ...databases.map((database) => ({
    name: `db on ${database}`,
    skip: missing(database),
    shared: true,
    open: (t: Test) => openDatabase(t, database)
  })),
  {
    name: 'cached_db on PostgreSQL and Redis',
    skip: skipRedis || missing('postgres'),
    shared: true,
    open: async (t) => ({ ...(await openDatabase(t, 'postgres')), engine: 'cached_db', redisUrl: redisUrl as string })
  },
  { name: 'cache in Redis', skip: skipRedis, shared: true, open: async () => ({ engine: 'cache', redisUrl: redisUrl as string }) },
  { name: 'cache in memory', skip: false, shared: false, open: async () => ({ engine: 'cache' }) },
  { name: 'file', skip: false, shared: true, open: async (t) => ({ engine: 'file', filePath: privateFolder(t) }) }
]

/** @param origins of the applications that take turns */
async function assertAllAreKept(t: Test, origins: readonly string[]) {
  const originOf = (writer: number) => origins[writer % origins.length] as string
  const { cookie } = await get(`${originOf(0)}/set/start`)
  const names = Array.from({ length: WRITERS }, (_, writer) => `of ${writer}`)
  const replies = await Promise.all(names.map((name, writer) => get(`${originOf(writer)}/set/${encodeURIComponent(name)}`, cookie)))
  t.strictSame(new Set(replies.map(({ status }) => status)), new Set([200]))
  const data = JSON.parse((await get(`${originOf(0)}/read`, cookie)).body)
  t.strictSame(data, { start: true, count: 1 + WRITERS, ...Object.fromEntries(names.map((name) => [name, true])) })
}

for (const { name, skip, shared, open } of storages) {
  t.test(`fifty writers on ${name}`, { skip }, async (t) => {
    const options = { ...(await open(t)), storeTimeout: PATIENCE }
    const app = await createSiteApp(options)
    t.teardown(() => app.close())
    await t.test('in one process', (t) => assertAllAreKept(t, [app.listeningOrigin]))
    if (!shared) return
    const other = await startSite(t, options)
    await t.test('in two processes', (t) => assertAllAreKept(t, [app.listeningOrigin, other.origin]))
    t.strictSame(await other.close(), [0, null])
  })
}
