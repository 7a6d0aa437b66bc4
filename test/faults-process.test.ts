/** A process is killed amid the requests of its visitors: each save that it confirmed is there, none is incomplete, and the next process carries on. */
import { readdir } from 'node:fs/promises'
import createKnex from 'knex'
import t, { type Test } from 'tap'
import { FileEngine } from '../lib/engines/file/engine.ts'
import { migrationSource } from '../lib/migrations.ts'
import { createDatabase, databases, missing } from './fixtures/databases.ts'
import { createCodec } from './fixtures/engines.ts'
import { privateFolder } from './fixtures/folders.ts'
import { type Site, startSite } from './fixtures/site.ts'
import type { SiteOptions } from './fixtures/site-app.ts'
import { unhurried } from './fixtures/unhurried.ts'
import { decodeVisited, random, readVisited, type Visited, Visitors } from './fixtures/visitors.ts'

const seed = Number(process.env.SEED ?? 20_300_101)
const KILLS = 2

interface Storage {
  options: SiteOptions
  /** The stored sessions by key. */
  read(): Promise<Map<string, Visited>>
}

/** Kills one process after another while it saves. The next one is already running, as behind a load balancer. */
async function assertNothingIsLost(t: Test, { options, read }: Storage) {
  const next = random(seed)
  const [first, ...successors] = await Promise.all(Array.from({ length: KILLS + 1 }, () => startSite(t, options)))
  let site = first as Site
  const visitors = new Visitors(() => site, { count: 8, seed })
  for (const successor of successors) {
    await visitors.answered(Math.ceil(next() * 40))
    const killed = site
    site = successor
    await killed.kill()
    await visitors.served(2)
  }
  await visitors.stop()
  t.ok(visitors.refusals >= KILLS, `${visitors.refusals} requests were under way`)
  t.strictSame(
    [...visitors.statuses].filter((status) => ![200, 400, 503].includes(status)),
    []
  )
  t.strictSame(visitors.compare(await read()), [], `nothing is lost, of the seed ${seed}`)
  t.strictSame(await site.close(), [0, null])
}

for (const database of databases) {
  t.test(`killed while it saves on ${database}`, { skip: missing(database) }, async (t) => {
    const config = await createDatabase(t, database)
    const knex = createKnex(config)
    t.teardown(() => knex.destroy())
    await knex.migrate.latest({ migrationSource })
    await assertNothingIsLost(t, { options: { knex: config }, read: () => readVisited(knex) })
  })
}

t.test('killed while it saves files', async (t) => {
  const folder = privateFolder(t)
  const clock = () => new Date()
  const engine = unhurried(
    new FileEngine({ folder, cookieName: 'sessionid', cookieAge: 1_209_600, maxSize: 1_048_576, codec: createCodec(), clock })
  )
  const read = async () => {
    await engine.clearExpired()
    const names = await readdir(folder)
    t.strictSame(
      names.filter((name) => !/^sessionid[a-z0-9]{32}$/.test(name)),
      [],
      'locks and temporary files of killed processes are removed'
    )
    const visited = new Map<string, Visited>()
    for (const key of names.map((name) => name.slice('sessionid'.length))) {
      const text = (await engine.load(key))?.sessionData
      // The process was killed between creating the file of a new session and writing it: no visitor has the key.
      if (text !== '') visited.set(key, decodeVisited(String(text)))
    }
    return visited
  }
  await assertNothingIsLost(t, { options: { engine: 'file', filePath: folder, storeTimeout: 1 }, read })
})
