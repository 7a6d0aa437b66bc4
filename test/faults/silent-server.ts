/** A database that accepts connections and does not answer for 12 s: how soon the site serves again, and with how many connections. */
import { setTimeout as pause } from 'node:timers/promises'
import createKnex from 'knex'
import t from 'tap'
import { migrationSource } from '../../lib/migrations.ts'
import { createDatabase, missing } from '../fixtures/databases.ts'
import { createProxy } from '../fixtures/proxy.ts'
import { startSite } from '../fixtures/site.ts'

const SILENCE = 12_000
const STORE_TIMEOUT = 5
const POOL = 10

for (const server of ['postgres', 'mariadb'] as const) {
  t.test(`${server} is silent for ${SILENCE / 1000} s`, { skip: missing(server) }, async (t) => {
    const config = await createDatabase(t, server)
    const knex = createKnex(config)
    await knex.migrate.latest({ migrationSource })
    await knex.destroy()
    const proxy = await createProxy(t, config.connection as string)
    const site = await startSite(t, {
      knex: { ...config, connection: proxy.url, pool: { min: 0, max: POOL } },
      storeTimeout: STORE_TIMEOUT
    })
    const { cookie } = await site.get('/count')
    const read = async () => (await site.get('/read', cookie)).status
    const readTogether = () => Promise.all(Array.from({ length: 2 * POOL }, read))
    t.strictSame(new Set(await readTogether()), new Set([200]))
    const before = proxy.clients

    proxy.silence('all')
    const silent = Date.now() + SILENCE
    const statuses = new Set<number>()
    while (Date.now() < silent) for (const status of await readTogether()) statuses.add(status)
    t.strictSame(statuses, new Set([503]))

    proxy.heal()
    const healed = performance.now()
    while ((await read()) !== 200) await pause(50)
    const seconds = (performance.now() - healed) / 1000
    t.ok(seconds <= STORE_TIMEOUT + 2, `served again after ${seconds.toFixed(1)} s`)
    t.strictSame(new Set(await readTogether()), new Set([200]))
    t.ok(proxy.clients <= Math.max(before, POOL), `${proxy.clients} connections, ${before} before`)

    proxy.silence('all')
    const visiting = Promise.allSettled(Array.from({ length: 2 * POOL }, read))
    const closing = performance.now()
    t.strictSame(await site.close(), [0, null])
    const taken = (performance.now() - closing) / 1000
    t.ok(taken <= 10, `closed after ${taken.toFixed(1)} s`)
    await visiting
  })
}
