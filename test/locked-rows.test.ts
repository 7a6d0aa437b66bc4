/** Rows that another program has locked: each costs its own session only. */
import { setImmediate as turn } from 'node:timers/promises'
import createKnex, { type Knex } from 'knex'
import t, { type Test } from 'tap'
import { addRoutes, Browser, createApp } from './fixtures/app.ts'
import { missing, openDatabase } from './fixtures/databases.ts'

interface Setting {
  server: 'postgres' | 'mariadb'
  /** Of the pool. */
  connections: number
  batching: boolean
}

/** A site whose every request renews its session, and a transaction of another program. */
async function openSite(t: Test, { server, connections, batching }: Setting, storeTimeout: number) {
  const knex = await openDatabase(t, server, { pool: { min: 0, max: connections } })
  const rival = createKnex(knex.client.config)
  t.teardown(() => rival.destroy())
  const site = await createApp(t, { knex, batching, storeTimeout, saveEveryRequest: true }, addRoutes)
  const visit = async () => {
    const browser = new Browser(site.app)
    await browser.get('/count')
    return browser
  }
  const lock = async (browsers: readonly Browser[]) => {
    // Otherwise MariaDB would lock the gaps between rows too, into which new sessions go.
    const transaction = await rival.transaction({ isolationLevel: 'read committed' })
    const keys = browsers.map(({ cookie }) => cookie as string)
    await transaction('django_session').whereIn('session_key', keys).select().forUpdate()
    return transaction
  }
  return { ...site, knex, rival, visit, lock }
}

const COUNT_CONNECTIONS = {
  postgres: "SELECT COUNT(*) AS count FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'",
  mariadb: 'SELECT COUNT(*) AS count FROM information_schema.processlist WHERE db = DATABASE()'
}

/** Until the server has at most so many connections of the database, the one that asks included. */
async function connectionsLeft(knex: Knex, server: 'postgres' | 'mariadb', most: number): Promise<void> {
  const query = knex.select('count').from(knex.raw(`(${COUNT_CONNECTIONS[server]}) AS connections`))
  while (Number((await query.clone())[0].count) > most);
}

/** Until so many more statements were sent: those on locked rows are refused, and sent again. */
async function statements(knex: Knex, count: number): Promise<void> {
  let sent = 0
  knex.on('query', () => sent++)
  while (sent < count) await turn()
}

const WAYS = ['/count', '/read', '/cycle', '/flush']

for (const server of ['postgres', 'mariadb'] as const) {
  for (const connections of [1, 2, 10]) {
    for (const batching of server === 'postgres' ? [true, false] : [false]) {
      const title = `locked rows hold up nobody else on ${server}, with ${connections} connections, batching: ${batching}`
      t.test(title, { skip: missing(server) }, async (t) => {
        const { app, knex, visit, lock } = await openSite(t, { server, connections, batching }, 60)
        const locked = await Promise.all(Array.from({ length: 20 }, visit))
        const others = await Promise.all(WAYS.map(visit))
        const transaction = await lock(locked)
        let ended = 0
        const waiting = locked.map((browser, index) => browser.get(WAYS[index % WAYS.length] as string).finally(() => ended++))
        await statements(knex, 3 * locked.length)

        t.equal((await new Browser(app).get('/count')).statusCode, 200, 'a new session')
        for (const [index, browser] of others.entries()) {
          const way = WAYS[index] as string
          t.equal((await browser.get(way)).statusCode, 200, way)
        }
        t.equal(ended, 0, 'the locked ones wait')
        await transaction.rollback()
        const statuses = (await Promise.all(waiting)).map(({ statusCode }) => statusCode)
        t.strictSame(new Set(statuses), new Set([200]))
        const counts = await Promise.all(locked.slice(0, 4).map(async (browser) => (await browser.get('/read')).json().count))
        t.strictSame(counts, [2, 1, 1, undefined])
      })
    }
  }

  t.test(`a locked row is read on ${server}`, { skip: missing(server) }, async (t) => {
    const { app, visit, lock } = await openSite(t, { server, connections: 2, batching: true }, 60)
    const browser = await visit()
    const transaction = await lock([browser])
    t.equal((await app.sessions.open(browser.cookie).load()).get('count'), 1)
    await transaction.rollback()
  })

  for (const way of WAYS) {
    t.test(`${way} of a row that stays locked is a 503 on ${server}, and is not done later`, { skip: missing(server) }, async (t) => {
      const { app, knex, rival, logs, visit, lock } = await openSite(t, { server, connections: 2, batching: true }, 1)
      const browser = await visit()
      const find = () => rival('django_session').where('session_key', browser.cookie).first()
      const before = await find()
      const transaction = await lock([browser])
      const replies = await Promise.all(Array.from({ length: 5 }, () => browser.fork().get(way)))
      t.strictSame(new Set(replies.map(({ statusCode }) => statusCode)), new Set([503]))
      t.match(JSON.stringify(logs.map(({ err }) => (err as Error | undefined)?.message)), /row locked|in time|before its deadline/)
      t.equal((await new Browser(app).get('/count')).statusCode, 200)
      // On a busy machine a statement may still be on its way: it is refused, as long as the row is locked.
      await knex.destroy()
      await connectionsLeft(rival, server, 2)
      await transaction.rollback()
      t.strictSame(await find(), before)
    })
  }
}

t.test('of a batch with a locked row the others are written', { skip: missing('postgres') }, async (t) => {
  const { app, visit, lock } = await openSite(t, { server: 'postgres', connections: 10, batching: true }, 60)
  for (const change of ['save', 'flush'] as const) {
    const browsers = await Promise.all([visit(), visit(), visit()])
    const transaction = await lock([browsers[1] as Browser])
    const sessions = await Promise.all(browsers.map(({ cookie }) => app.sessions.open(cookie).load()))
    const [first, second, third] = sessions.map((session) => session.set('count', 2)[change]())
    await Promise.all([first, third])
    await transaction.rollback()
    await second
    const rows = await Promise.all(browsers.map(({ cookie }) => app.sessions.model.find(cookie as string)))
    t.strictSame(
      rows.map((row) => row?.decoded().count),
      change === 'save' ? [2, 2, 2] : [undefined, undefined, undefined]
    )
  }
})
