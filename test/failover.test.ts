/** The database cannot be used for a while: visitors wait, and after `storeTimeout` they are told so. Nothing is asked of it without a pause. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server } from 'node:net'
import createKnex, { type Knex } from 'knex'
import t, { type Test } from 'tap'
import { up } from '../migrations/20261121000000_create_django_session.js'
import { createAddress } from './fixtures/address.ts'
import { addRoutes, Browser, createApp, warnings } from './fixtures/app.ts'
import { createDatabase, holdUpdates, missing, openDatabase } from './fixtures/databases.ts'
import { MariadbServer, missingMariadbServer } from './fixtures/mariadb.ts'

const UNAVAILABLE = { statusCode: 503, code: 'FST_SESSION_STORE_UNAVAILABLE' }
const servers = ['postgres', 'mariadb'] as const
const CLIENTS = { postgres: 'pg', mariadb: 'mysql2' }

/** Knex tells the console of each connection that is lost. */
const QUIET = { log: { warn: () => {} } }

async function createSite(t: Test, knex: Knex | Knex.Config, options = {}) {
  const site = await createApp(t, { knex, ...options }, addRoutes)
  const reason = () => (site.logs as { err?: Error }[]).findLast(({ err }) => err !== undefined)?.err?.message
  return { ...site, reason, browser: new Browser(site.app) }
}

/** The URL of a migrated database, and a Knex instance on it. */
async function createMigrated(t: Test, server: (typeof servers)[number]): Promise<{ direct: Knex; url: URL }> {
  const config = await createDatabase(t, server)
  const direct = createKnex(config)
  t.teardown(() => direct.destroy())
  await up(direct)
  return { direct, url: new URL(config.connection as string) }
}

/** Resolves when the server has been connected to so many times. */
function connections(server: Server, count: number): Promise<void> {
  return new Promise((resolve) => server.on('connection', () => --count === 0 && resolve()))
}

/** Resolves when the pool has failed to connect so many times from now on. */
function failedConnects(knex: Knex, count: number): Promise<void> {
  return new Promise((resolve) => knex.client.pool.on('createFail', () => --count === 0 && resolve()))
}

for (const server of servers) {
  t.test(`${server} is away`, { skip: missing(server) }, async (t) => {
    const { url } = await createMigrated(t, server)
    const target = Number(url.port)
    const open = async (t: Test, storeTimeout: number) => {
      const address = await createAddress(t, target)
      url.port = String(address.port)
      const knex = createKnex({ client: CLIENTS[server], connection: url.href, pool: { min: 0, max: 4 }, ...QUIET })
      t.teardown(() => knex.destroy())
      return { address, knex, ...(await createSite(t, knex, { storeTimeout })) }
    }

    t.test('for less than storeTimeout: reads, saves, logins and logouts wait for it', async (t) => {
      const { app, address, knex, browser } = await open(t, 60)
      await browser.get('/count')
      const leaving = new Browser(app)
      await leaving.get('/count')
      address.moveTo(null)
      address.cut()
      const failed = failedConnects(knex, 5)
      const newcomer = new Browser(app)
      const visits = Promise.all([browser.fork().get('/read'), browser.get('/count'), leaving.get('/flush'), newcomer.get('/count')])
      await failed
      address.moveTo(target)
      t.strictSame(
        (await visits).map(({ statusCode }) => statusCode),
        [200, 200, 200, 200]
      )
      t.strictSame((await browser.get('/read')).json(), { count: 2 })
      t.strictSame((await newcomer.get('/read')).json(), { count: 1 })
    })

    t.test('for longer: 503 with the reason, one warning, and few attempts to connect', async (t) => {
      const { address, browser, reason, logs } = await open(t, 2)
      await browser.get('/count')
      address.moveTo(null)
      address.cut()
      const before = address.connects
      const failovers: unknown[] = []
      const hear = (event: unknown) => failovers.push(event)
      subscribe('fastify-django-sessions:failover', hear)
      t.teardown(() => unsubscribe('fastify-django-sessions:failover', hear))
      const responses = await Promise.all(Array.from({ length: 50 }, () => browser.fork().get('/read')))
      for (const response of responses) t.match(response.json(), UNAVAILABLE)
      t.match(reason(), /cannot be reached/)
      t.equal(logs.filter(({ msg }) => /trying again/.test(String(msg))).length, 1)
      t.match(failovers, [{ error: { code: 'FST_SESSION_STORE_UNAVAILABLE' } }], 'and one event')
      t.equal(failovers.length, 1)
      // Those that had asked for a connection before the first attempt failed get one attempt each.
      t.ok(address.connects - before < 70, `${address.connects - before} attempts in two seconds`)
    })

    t.test('and accepts connections without an answer: a request tries another one before storeTimeout', async (t) => {
      const address = await createAddress(t, target)
      url.port = String(address.port)
      // Of its own, since the time limit of connecting is an option of the driver.
      const knex = { client: CLIENTS[server], connection: url.href, pool: { min: 0, max: 4 } }
      const { browser, logs } = await createSite(t, knex, { storeTimeout: 15 })
      await browser.get('/count')
      const silent = createServer((socket) => socket.on('error', () => {})).listen(0, '127.0.0.1')
      await once(silent, 'listening')
      t.teardown(() => silent.close())
      const second = connections(silent, 2)
      address.moveTo((silent.address() as AddressInfo).port)
      address.cut()
      const reading = browser.get('/read')
      await Promise.race([second, reading])
      address.moveTo(target)
      address.cut()
      t.strictSame((await reading).json(), { count: 1 })
      t.equal(logs.filter(({ msg }) => /trying again/.test(String(msg))).length, 1)
    })

    t.test('before it was ever reached: 503 at once, since the address may be wrong', async (t) => {
      const { address, browser, reason } = await open(t, 600)
      address.moveTo(null)
      t.match((await browser.get('/count')).json(), UNAVAILABLE)
      t.match(reason(), /cannot be reached/)
    })
  })
}

t.test('a name that cannot be resolved for a while is asked for again', { skip: missing('postgres') }, async (t) => {
  const { hostname, port, username, password, pathname } = (await createMigrated(t, 'postgres')).url
  let host = hostname
  let isExpired = false
  const connection = () => {
    isExpired = false
    return { host, port: Number(port), user: username, password, database: pathname.slice(1), expirationChecker: () => isExpired }
  }
  const knex = createKnex({ client: 'pg', connection, pool: { min: 0, max: 4 }, ...QUIET })
  t.teardown(() => knex.destroy())
  const { browser } = await createSite(t, knex, { storeTimeout: 60 })
  await browser.get('/count')
  const lead = (name: string) => {
    host = name
    isExpired = true
  }
  lead('nowhere.invalid')
  const failed = failedConnects(knex, 2)
  const reading = browser.get('/read')
  await failed
  lead(hostname)
  t.strictSame((await reading).json(), { count: 1 })
})

/** A user who may have one connection. */
const LIMITED: Record<string, { skip: string | false; open: (t: Test) => Promise<URL> }> = {
  PostgreSQL: {
    skip: missing('postgres'),
    open: async (t) => {
      const { direct, url } = await createMigrated(t, 'postgres')
      const user = `limited_${url.pathname.slice(-8)}`
      await direct.raw(`CREATE ROLE ${user} LOGIN PASSWORD 'limited' CONNECTION LIMIT 1 IN ROLE pg_read_all_data, pg_write_all_data`)
      t.teardown(() => direct.raw(`DROP ROLE ${user}`))
      return Object.assign(url, { username: user, password: 'limited' })
    }
  },
  MariaDB: {
    skip: missingMariadbServer(),
    open: async (t) => {
      const url = new URL((await MariadbServer.start(t)).url)
      const direct = createKnex({ client: 'mysql2', connection: url.href })
      await up(direct)
      await direct.raw("GRANT ALL ON test.* TO limited@'127.0.0.1' IDENTIFIED BY 'limited' WITH MAX_USER_CONNECTIONS 1")
      await direct.destroy()
      return Object.assign(url, { username: 'limited', password: 'limited' })
    }
  }
}

for (const [name, { skip, open }] of Object.entries(LIMITED)) {
  t.test(`${name} has as many connections as it may: a request waits until one is free, and not for ever`, { skip }, async (t) => {
    const url = await open(t)
    const client = url.protocol === 'mysql:' ? 'mysql2' : 'pg'
    const config = { client, connection: url.href, pool: { min: 0, max: 1 }, ...QUIET }
    const [other, knex, another] = [createKnex(config), createKnex(config), createKnex(config)]
    await other.raw('SELECT 1')
    const { browser } = await createSite(t, knex, { storeTimeout: 60 })
    const failed = failedConnects(knex, 3)
    const counting = browser.get('/count')
    await failed
    await other.destroy()
    t.equal((await counting).statusCode, 200)

    const { browser: impatient, reason } = await createSite(t, another, { storeTimeout: 1 })
    t.match((await impatient.get('/count')).json(), UNAVAILABLE)
    t.match(reason(), /as many connections as it may|MAX_USER_CONNECTIONS/)
    await knex.destroy()
    await another.destroy()
  })
}

t.test(
  'a full pool, longer than Knex waits: requests wait until storeTimeout, and it is no failover',
  { skip: missing('postgres') },
  async (t) => {
    let refusals = 0
    const warn = (message: string) => /Acquire connection error/.test(message) && refusals++
    const knex = await openDatabase(t, 'postgres', { pool: { min: 0, max: 1 }, acquireConnectionTimeout: 50, log: { warn } })
    const { browser, logs } = await createSite(t, knex, { storeTimeout: 60 })
    const impatient = await createSite(t, knex, { storeTimeout: 0.2 })
    await browser.get('/count')
    const transaction = await knex.transaction()
    const counting = browser.get('/count')
    t.match((await impatient.browser.get('/count')).json(), UNAVAILABLE)
    t.match(impatient.reason(), /no connection became free in time/)
    while (refusals < 5) await new Promise(setImmediate)
    await transaction.rollback()
    t.equal((await counting).statusCode, 200)
    t.strictSame(warnings(logs), [])
  }
)

t.test(
  'a transaction as Knex instance, whose connection breaks: 503 at once, since it has no other',
  { skip: missing('postgres') },
  async (t) => {
    const knex = await openDatabase(t, 'postgres', QUIET)
    const transaction = await knex.transaction()
    const { browser, reason } = await createSite(t, transaction, { storeTimeout: 600 })
    await browser.get('/count')
    const { rows } = await transaction.raw('SELECT pg_backend_pid() AS id')
    await knex.raw('SELECT pg_terminate_backend(?)', [rows[0].id])
    t.match((await browser.get('/read')).json(), UNAVAILABLE)
    t.match(reason(), /connection was lost/)
    await transaction.rollback()
  }
)

t.test('a user who is read-only for ever: one clear message, no storm of connections', { skip: missing('postgres') }, async (t) => {
  const config = await createDatabase(t, 'postgres')
  const admin = createKnex(config)
  t.teardown(() => admin.destroy())
  const url = new URL(config.connection as string)
  const target = Number(url.port)
  const address = await createAddress(t, target)
  url.port = String(address.port)
  await admin.raw('ALTER DATABASE ?? SET default_transaction_read_only = on', [url.pathname.slice(1)])
  const knex = createKnex({ client: 'pg', connection: url.href, pool: { min: 0, max: 10 }, ...QUIET })
  t.teardown(() => knex.destroy())
  const { app, reason, logs } = await createSite(t, knex, { storeTimeout: 2, verify: false })
  const responses = await Promise.all(Array.from({ length: 100 }, () => new Browser(app).get('/count')))
  for (const response of responses) t.match(response.json(), UNAVAILABLE)
  t.match(reason(), /read-only.*default_transaction_read_only/)
  t.equal(warnings(logs).filter(({ level }) => level === 40).length, 1)
  t.ok(address.connects < 25, `${address.connects} connections in two seconds`)
})

t.test('an answer that comes with the news that the server is read-only is not believed', { skip: missing('postgres') }, async (t) => {
  const knex = await openDatabase(t, 'postgres', { pool: { min: 0, max: 1 }, ...QUIET })
  const { browser } = await createSite(t, knex)
  await browser.get('/count')
  const { rows } = await knex.raw('SELECT pg_backend_pid() AS id')
  await knex.raw('ALTER TABLE django_session RENAME TO stored')
  // On this connection: no rows, and a server that is read-only from then on.
  await knex.raw(`CREATE VIEW django_session AS SELECT * FROM stored WHERE
    set_config('default_transaction_read_only', CASE pg_backend_pid() WHEN ${rows[0].id} THEN 'on' ELSE 'off' END, false) = 'off'`)
  t.strictSame((await browser.get('/read')).json(), { count: 1 })
})

t.test(
  'prepared statements that are void twice within a minute are given up, with one warning',
  { skip: missing('postgres') },
  async (t) => {
    const knex = await openDatabase(t, 'postgres', { pool: { min: 0, max: 1 }, ...QUIET })
    const { browser, logs } = await createSite(t, knex)
    const prepared = async () =>
      (await knex.raw("SELECT count(*)::int AS total FROM pg_prepared_statements WHERE name LIKE 'sessions_%'")).rows[0].total
    await browser.get('/count')
    await browser.get('/read')
    t.ok((await prepared()) > 0)
    for (let round = 0; round < 3; round++) {
      await knex.raw('DISCARD ALL')
      t.equal((await browser.get('/read')).statusCode, 200)
      t.equal((await browser.get('/count')).statusCode, 200)
    }
    t.equal(await prepared(), 0)
    t.match(
      warnings(logs).map(({ msg }) => msg),
      [/preparedStatements/]
    )
  }
)

t.test(
  'an overdue statement is ended on its own server, and no connection of the same number on another',
  { skip: missingMariadbServer() },
  async (t) => {
    const [first, second] = [await MariadbServer.start(t), await MariadbServer.start(t)]
    const url = new URL(first.url)
    const address = await createAddress(t, Number(url.port))
    const open = (connection: string) => {
      const knex = createKnex({ client: 'mysql2', connection, pool: { min: 0, max: 1 }, ...QUIET })
      t.teardown(() => knex.destroy())
      return knex
    }
    const direct = createKnex({ client: 'mysql2', connection: first.url })
    t.teardown(() => direct.destroy())
    await up(direct)
    const numberOf = async (knex: Knex): Promise<number> => (await knex.raw('SELECT CONNECTION_ID() AS id'))[0][0].id
    // So that the other server has not come so far.
    for (let count = 0; count < 20; count++) {
      const passing = createKnex({ client: 'mysql2', connection: first.url })
      await passing.raw('SELECT 1')
      await passing.destroy()
    }
    url.port = String(address.port)
    const ours = open(url.href)
    const { browser } = await createSite(t, ours, { storeTimeout: 1 })
    await browser.get('/count')
    const number = await numberOf(ours)
    let theirs = open(second.url)
    while ((await numberOf(theirs)) < number) {
      await theirs.destroy()
      theirs = open(second.url)
    }
    t.equal(await numberOf(theirs), number)

    const hold = await holdUpdates(direct, 'mariadb')
    const saving = browser.get('/count')
    await hold.reached()
    const { connects } = address
    address.moveTo(Number(new URL(second.url).port))
    t.match((await saving).json(), UNAVAILABLE)
    while (address.connects === connects || address.open > 0) await theirs.raw('SELECT 1').catch(() => {})
    t.equal(await numberOf(theirs), number, 'it goes on')
    await hold.release()
  }
)
