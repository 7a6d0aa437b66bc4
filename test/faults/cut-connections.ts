/**
 * Two applications count in the same sessions while their connections are cut: each count
 * that was acknowledged is there, and none is there twice. FAULT_ROUNDS and FAULT_SECONDS
 * say for how long, SEED=number cuts at other moments.
 */
import { setTimeout as pause } from 'node:timers/promises'
import createKnex, { type Knex } from 'knex'
import t, { type Test } from 'tap'
import { toObject } from '../../lib/django/serializer.ts'
import { migrationSource } from '../../lib/migrations.ts'
import { createDatabase, missing } from '../fixtures/databases.ts'
import { createCodec } from '../fixtures/engines.ts'
import { createProxy, type FaultyProxy } from '../fixtures/proxy.ts'
import { type Site, startSite } from '../fixtures/site.ts'
import { random } from '../fixtures/visitors.ts'

const ROUNDS = Number(process.env.FAULT_ROUNDS ?? 30)
const SECONDS = Number(process.env.FAULT_SECONDS ?? 60)
const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
const SESSIONS = 6
const CLIENTS = 12

interface Counter {
  cookie: string
  acknowledged: number
  sent: number
}

async function count(site: Site, counter: Counter): Promise<number> {
  counter.sent++
  const { status } = await site.get('/count', counter.cookie)
  if (status === 200) counter.acknowledged++
  return status
}

async function stored(knex: Knex, { cookie }: Counter): Promise<number> {
  const row = await knex('django_session').where('session_key', cookie).first()
  return toObject(createCodec().decode(row.session_data)).count as number
}

/** A new session in which one visit was counted. */
async function createCounter(site: Site): Promise<Counter> {
  const { cookie } = await site.get('/count')
  return { cookie: cookie as string, acknowledged: 1, sent: 1 }
}

/** Two applications on one database, each behind a proxy of its own. */
async function startSites(t: Test, server: 'postgres' | 'mariadb') {
  const config = await createDatabase(t, server)
  const knex = createKnex(config)
  t.teardown(() => knex.destroy())
  await knex.migrate.latest({ migrationSource })
  const proxies = await Promise.all([1, 2].map(() => createProxy(t, config.connection as string)))
  // Without a text that a proxy can recognise, no statement could be cut.
  const options = { storeTimeout: 5, preparedStatements: false }
  const sites = await Promise.all(proxies.map(({ url }) => startSite(t, { knex: { ...config, connection: url }, ...options })))
  return { knex, proxies: proxies as [FaultyProxy, FaultyProxy], sites: sites as [Site, Site] }
}

for (const server of ['postgres', 'mariadb'] as const) {
  t.test(`both count at once on ${server}, and one is cut before or after its UPDATE`, { skip: missing(server) }, async (t) => {
    const { knex, proxies, sites } = await startSites(t, server)
    const counter = await createCounter(sites[0])
    const refused = { before: 0, after: 0 }
    for (let round = 0; round < ROUNDS; round++) {
      const when = round % 4 < 2 ? 'before' : 'after'
      const proxy = proxies[(round % 2) as 0 | 1]
      const failures = proxy.failures
      proxy.fail('UPDATE', when)
      const statuses = await Promise.all(sites.map((site) => count(site, counter)))
      t.equal(proxy.failures, failures + 1)
      refused[when] += statuses.filter((status) => status !== 200).length
      const counted = await stored(knex, counter)
      t.ok(counter.acknowledged <= counted && counted <= counter.sent, `round ${round}: ${counted} of ${counter.sent}`)
    }
    t.comment(`${server}: ${JSON.stringify({ ...counter, cookie: undefined, counted: await stored(knex, counter), refused })}`)
    for (const site of sites) t.strictSame(await site.close(), [0, null])
  })

  t.test(`twelve clients count on ${server} while connections are cut at random`, { skip: missing(server) }, async (t) => {
    const { knex, proxies, sites } = await startSites(t, server)
    const counters = await Promise.all(Array.from({ length: SESSIONS }, () => createCounter(sites[0])))
    const end = Date.now() + SECONDS * 1000
    const statuses = new Map<number, number>()
    const visit = async (next: () => number) => {
      while (Date.now() < end) {
        const counter = counters[Math.floor(next() * SESSIONS)] as Counter
        const status = await count(sites[next() < 0.5 ? 0 : 1], counter)
        statuses.set(status, (statuses.get(status) ?? 0) + 1)
      }
    }
    const cut = async (next: () => number) => {
      while (Date.now() < end) {
        const text = next() < 0.7 ? 'UPDATE' : 'SELECT'
        proxies[next() < 0.5 ? 0 : 1].fail(text, next() < 0.5 ? 'before' : 'after')
        await pause(next() * 100)
      }
    }
    await Promise.all([...Array.from({ length: CLIENTS }, (_, client) => visit(random(seed + client))), cut(random(seed - 1))])
    const failures = proxies[0].failures + proxies[1].failures
    t.ok(failures > SECONDS, `${failures} cuts, of the seed ${seed}; replies: ${JSON.stringify([...statuses])}`)
    t.strictSame(
      [...statuses.keys()].filter((status) => status !== 200 && status !== 503),
      []
    )
    for (const counter of counters) {
      const counted = await stored(knex, counter)
      t.ok(counter.acknowledged <= counted && counted <= counter.sent, `${counter.acknowledged} <= ${counted} <= ${counter.sent}`)
    }
    for (const site of sites) t.strictSame(await site.close(), [0, null])
  })
}
