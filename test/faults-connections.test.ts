/** Connections that are no longer fit for use are replaced, all others are kept, and each error is a 503 or a 500. */
import { setImmediate as turn } from 'node:timers/promises'
import createKnex, { type Knex } from 'knex'
import t, { type Test } from 'tap'
import { migrationSource } from '../lib/migrations.ts'
import { Browser, createApp } from './fixtures/app.ts'
import { createDatabase, missing, openDatabase, recordQueries } from './fixtures/databases.ts'
import { MariadbServer, missingMariadbServer } from './fixtures/mariadb.ts'
import { createProxy, type FaultyProxy } from './fixtures/proxy.ts'

const UNAVAILABLE = { statusCode: 503, code: 'FST_SESSION_STORE_UNAVAILABLE', message: 'The session store is unavailable' }
const REFUSED = { statusCode: 500, code: 'FST_SESSION_STORE_REFUSED', message: 'The session store refused an operation' }

const POOL = { min: 0, max: 4 }

async function createSite(t: Test, knex: Knex | Knex.Config, options = {}) {
  const site = await createApp(t, { knex, ...options }, (app) => {
    app.get('/read', async (request) => (await request.session.load()).toObject())
    app.get('/count', async (request) => {
      request.session.set('count', (count = 0) => count + 1)
      return 'counted'
    })
    app.get('/cycle', async (request) => request.session.cycleKey().then(() => 'cycled'))
    app.get('/flush', async (request) => request.session.flush().then(() => 'flushed'))
    app.get<{ Params: { size: string } }>('/fill/:size', async (request) => {
      request.session.set('filling', 'x'.repeat(Number(request.params.size)))
      return 'filled'
    })
  })
  const reason = () => (site.logs as { err?: Error }[]).findLast(({ err }) => err !== undefined)?.err?.message
  return { ...site, reason, browser: new Browser(site.app) }
}

/** The server's numbers of all connections of the pool, after `sql` on each of them. */
async function onEachConnection(knex: Knex, sql?: string): Promise<number[]> {
  const id = knex.client.driverName === 'pg' ? 'pg_backend_pid()' : 'CONNECTION_ID()'
  const connections: object[] = []
  for (let count = 0; count < POOL.max; count++) connections.push(await knex.client.acquireConnection())
  const ids: number[] = []
  for (const connection of connections) {
    const [row] = await knex.select(knex.raw(`${id} AS id`)).connection(connection)
    ids.push(row.id)
    if (sql !== undefined) await knex.raw(sql).connection(connection)
  }
  for (const connection of connections) await knex.client.releaseConnection(connection)
  return ids
}

/** How the connections of a pool go bad, as nobody but the server knows. */
const SPOILERS: Record<string, { server: 'postgres' | 'mariadb'; spoil: (knex: Knex) => Promise<unknown> }> = {
  'are read-only (PostgreSQL)': {
    server: 'postgres',
    spoil: (knex) => onEachConnection(knex, 'SET default_transaction_read_only = on')
  },
  'were opened to a server that was read-only then (PostgreSQL)': {
    server: 'postgres',
    async spoil(knex) {
      const name = knex.client.database()
      await knex.raw('ALTER DATABASE ?? SET default_transaction_read_only = on', [name])
      await knex.destroy()
      knex.initialize()
      await onEachConnection(knex)
      const admin = createKnex({ client: 'pg', connection: process.env.POSTGRES_URL })
      await admin.raw('ALTER DATABASE ?? RESET default_transaction_read_only', [name])
      await admin.destroy()
    }
  },
  'are without what was prepared on them, by DISCARD ALL': {
    server: 'postgres',
    spoil: (knex) => onEachConnection(knex, 'DISCARD ALL')
  },
  'are without what was prepared on them, by DEALLOCATE ALL': {
    server: 'postgres',
    spoil: (knex) => onEachConnection(knex, 'DEALLOCATE ALL')
  },
  'have prepared statements for a column of another type': {
    server: 'postgres',
    spoil: (knex) => knex.raw('ALTER TABLE django_session ALTER session_data TYPE varchar(100000)')
  },
  'have transactions that are read-only (MariaDB)': {
    server: 'mariadb',
    spoil: (knex) => onEachConnection(knex, 'SET SESSION TRANSACTION READ ONLY')
  }
}

for (const [title, { server, spoil }] of Object.entries(SPOILERS)) {
  t.test(`connections that ${title} are replaced, and no request fails`, { skip: missing(server) }, async (t) => {
    // Knex tells the console of each connection that is discarded.
    const knex = await openDatabase(t, server, { pool: POOL, log: { warn: () => {} } })
    const { app, browser } = await createSite(t, knex, { batching: false })
    const [reader, mover, leaver] = [new Browser(app), new Browser(app), new Browser(app)]
    for (const visitor of [browser, reader, mover, leaver]) await visitor.get('/count')
    // Each of the connections prepares the statements.
    await onEachConnection(knex)
    for (const url of ['/read', '/count']) await Promise.all(Array.from({ length: 8 }, () => browser.fork().get(url)))
    await knex('django_session').insert({ session_key: 'ended', session_data: '', expire_date: '2001-01-01 00:00:00' })
    const { count } = (await browser.get('/read')).json()

    const before = await onEachConnection(knex)
    await spoil(knex)
    t.strictSame((await browser.get('/read')).json(), { count })
    t.equal((await browser.get('/count')).statusCode, 200, 'a save')
    const after = await onEachConnection(knex)
    t.strictSame(
      after.filter((id) => before.includes(id)),
      [],
      'all are new'
    )
    t.strictSame((await browser.get('/read')).json(), { count: count + 1 }, 'it counts once')

    const visits: [string, Browser][] = [
      ['/cycle', mover],
      ['/flush', leaver],
      ['/count', new Browser(app)]
    ]
    for (const [url, visitor] of visits) {
      await spoil(knex)
      t.equal((await visitor.get(url)).statusCode, 200, url)
    }
    await spoil(knex)
    t.match(await app.sessions.clearExpired(), { deleted: 1 }, 'a transaction is begun again')
    t.equal(knex.client.pool.numUsed(), 0)
    t.equal((await onEachConnection(knex)).length, POOL.max, 'there are as many connections as before')
  })
}

interface Trouble {
  /** SQLSTATE, or MySQL's number of the error. */
  code: string
  /** MySQL: the SQLSTATE. @default HY000 */
  state?: string
  response: typeof UNAVAILABLE | typeof REFUSED
  connection: 'kept' | 'replaced'
  /** How often the UPDATE is sent. */
  sent?: number | 'until the deadline'
  reason: RegExp
}

/** A trigger that refuses every UPDATE with an error of this code. */
const TRIGGERS = {
  postgres: (code: string, _state?: string) => [
    `CREATE OR REPLACE FUNCTION refuse() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'of the trigger' USING ERRCODE = '${code}'; END $$ LANGUAGE plpgsql`,
    'CREATE OR REPLACE TRIGGER refuse BEFORE UPDATE ON django_session FOR EACH ROW EXECUTE FUNCTION refuse()'
  ],
  mariadb: (code: string, state = 'HY000') => [
    `CREATE OR REPLACE TRIGGER refuse BEFORE UPDATE ON django_session FOR EACH ROW SIGNAL SQLSTATE '${state}' SET MYSQL_ERRNO = ${code}, MESSAGE_TEXT = 'of the trigger'`
  ]
}

const TROUBLES: Record<'postgres' | 'mariadb', Trouble[]> = {
  postgres: [
    { code: '23505', response: REFUSED, connection: 'kept', reason: /refused a statement/ }, // unique violation
    { code: '22001', response: REFUSED, connection: 'kept', reason: /refused a statement/ }, // too long
    { code: '42P01', response: REFUSED, connection: 'kept', reason: /table is missing, run the migration/ },
    { code: '42703', response: REFUSED, connection: 'kept', reason: /column is missing/ },
    { code: '42501', response: REFUSED, connection: 'kept', reason: /lacks a privilege/ },
    { code: 'P0001', response: REFUSED, connection: 'kept', reason: /refused a statement/ }, // RAISE EXCEPTION
    { code: '53100', response: UNAVAILABLE, connection: 'kept', reason: /disk is full/ },
    { code: '57014', response: UNAVAILABLE, connection: 'kept', reason: /could not carry out/ }, // statement_timeout
    { code: '25006', response: UNAVAILABLE, connection: 'replaced', sent: 'until the deadline', reason: /server is read-only/ },
    { code: '26000', response: UNAVAILABLE, connection: 'replaced', sent: 3, reason: /preparedStatements/ },
    { code: '0A000', response: UNAVAILABLE, connection: 'replaced', sent: 3, reason: /preparedStatements/ },
    { code: 'XX000', response: UNAVAILABLE, connection: 'replaced', reason: /a statement failed/ }, // internal error
    { code: 'MY001', response: UNAVAILABLE, connection: 'replaced', reason: /a statement failed/ },
    { code: '57P01', response: UNAVAILABLE, connection: 'replaced', sent: 4, reason: /connection was lost/ } // admin shutdown
  ],
  mariadb: [
    { code: '1267', response: REFUSED, connection: 'kept', reason: /refused a statement/ }, // illegal mix of collations
    { code: '1366', response: REFUSED, connection: 'kept', reason: /refused a statement/ }, // incorrect value
    { code: '1364', response: REFUSED, connection: 'kept', reason: /refused a statement/ }, // no default
    { code: '1146', state: '42S02', response: REFUSED, connection: 'kept', reason: /table is missing, run the migration/ },
    { code: '1054', state: '42S22', response: REFUSED, connection: 'kept', reason: /column is missing/ },
    { code: '1142', state: '42000', response: REFUSED, connection: 'kept', reason: /lacks a privilege/ },
    { code: '1644', state: '45000', response: REFUSED, connection: 'kept', reason: /refused a statement/ }, // SIGNAL
    { code: '1062', state: '23000', response: REFUSED, connection: 'kept', reason: /refused a statement/ }, // duplicate entry
    { code: '1153', state: '08S01', response: REFUSED, connection: 'replaced', reason: /max_allowed_packet.*maxSize/ },
    { code: '1114', response: UNAVAILABLE, connection: 'kept', reason: /disk is full/ },
    { code: '1969', response: UNAVAILABLE, connection: 'kept', reason: /could not carry out/ }, // max_statement_time
    { code: '1290', response: UNAVAILABLE, connection: 'replaced', sent: 'until the deadline', reason: /server is read-only/ },
    { code: '1792', response: UNAVAILABLE, connection: 'replaced', sent: 'until the deadline', reason: /server is read-only/ },
    { code: '1836', response: UNAVAILABLE, connection: 'replaced', sent: 'until the deadline', reason: /server is read-only/ },
    { code: '1615', response: UNAVAILABLE, connection: 'replaced', sent: 3, reason: /preparedStatements/ }, // to be prepared again
    { code: '1105', response: UNAVAILABLE, connection: 'replaced', reason: /a statement failed/ }, // unknown error
    { code: '1927', response: UNAVAILABLE, connection: 'replaced', sent: 4, reason: /connection was lost/ } // killed
  ]
}

for (const server of ['postgres', 'mariadb'] as const) {
  t.test(`errors of ${server}: for now or for good, and whether the connection is kept`, { skip: missing(server) }, async (t) => {
    const knex = await openDatabase(t, server, { pool: { min: 0, max: 1 }, log: { warn: () => {} } })
    const { browser, reason } = await createSite(t, knex, { storeTimeout: 1 })
    await browser.get('/count')
    const id = async () => {
      const [row] = await knex.select(knex.raw(`${server === 'postgres' ? 'pg_backend_pid()' : 'CONNECTION_ID()'} AS id`))
      return row.id
    }
    for (const { code, state, response, connection, sent = 1, reason: expected } of TROUBLES[server]) {
      for (const statement of TRIGGERS[server](code, state)) await knex.raw(statement)
      const before = await id()
      const queries = recordQueries(knex)
      t.match((await browser.get('/count')).json(), response, code)
      // The last try may have been under way.
      const isCutOff = sent === 'until the deadline' && reason()?.includes('no answer in time')
      if (!isCutOff) t.match(reason(), expected, code)
      if (!isCutOff) t.match(reason(), /of the trigger/, `${code}: the log has the words of the database`)
      const updates = queries.filter((sql) => /^UPDATE|^\/\*M!.*UPDATE/.test(sql)).length
      // No more than that: each one takes a new connection.
      if (sent === 'until the deadline')
        t.ok(updates > 1 && updates < 20, `${code}: the statement is sent again and again, ${updates} times`)
      else t.equal(updates, sent, `${code}: the statement is sent ${sent} times`)
      t.equal((await id()) === before ? 'kept' : 'replaced', connection, code)
      t.strictSame((await browser.get('/read')).json(), { count: 1 }, `${code}: the next request is served`)
    }
    t.equal(knex.client.pool.numUsed(), 0)
  })
}

t.test('saves that leave together on a read-only server are not tried one by one', { skip: missing('postgres') }, async (t) => {
  const knex = await openDatabase(t, 'postgres', { log: { warn: () => {} } })
  const { app } = await createSite(t, knex, { storeTimeout: 1 })
  const sessions = [1, 2, 3].map(() => app.sessions.open().set('count', 1))
  await Promise.all(sessions.map((session) => session.save()))
  for (const statement of TRIGGERS.postgres('25006')) await knex.raw(statement)
  const queries = recordQueries(knex)
  const outcomes = await Promise.allSettled(sessions.map((session) => session.set('count', 2).save()))
  t.strictSame(
    outcomes.map(({ status }) => status),
    ['rejected', 'rejected', 'rejected']
  )
  const updates = queries.filter((sql) => sql.includes('UPDATE'))
  t.ok(updates.length > 2)
  t.ok(updates.every((sql) => sql.includes('unnest')))
})

const LIMITS: Record<string, { response: object; connection: 'kept' | 'replaced'; limit: string; work: string }> = {
  'statement_timeout is over: 503, and the connection is kept': {
    response: UNAVAILABLE,
    connection: 'kept',
    limit: 'SET statement_timeout = 50',
    work: 'PERFORM pg_sleep(60)'
  },
  'the server ends the connection: 503, and another one is opened': {
    response: UNAVAILABLE,
    connection: 'replaced',
    limit: 'SELECT 1',
    work: 'PERFORM pg_terminate_backend(pg_backend_pid())'
  }
}

for (const [title, { response, connection, limit, work }] of Object.entries(LIMITS)) {
  t.test(title, { skip: missing('postgres') }, async (t) => {
    const knex = await openDatabase(t, 'postgres', { pool: { min: 0, max: 1 }, log: { warn: () => {} } })
    const { browser } = await createSite(t, knex)
    await browser.get('/count')
    await knex.raw(`CREATE FUNCTION work() RETURNS trigger AS $$ BEGIN ${work}; RETURN NEW; END $$ LANGUAGE plpgsql`)
    await knex.raw('CREATE TRIGGER work BEFORE UPDATE ON django_session FOR EACH ROW EXECUTE FUNCTION work()')
    const { rows } = await knex.raw('SELECT pg_backend_pid() AS id')
    await knex.raw(limit)
    t.match((await browser.get('/count')).json(), response)
    const { rows: now } = await knex.raw('SELECT pg_backend_pid() AS id')
    t.equal(now[0].id === rows[0].id ? 'kept' : 'replaced', connection)
    t.strictSame((await browser.get('/read')).json(), { count: 1 })
  })
}

t.test('a row that is locked for longer than lock_timeout is waited for until storeTimeout', { skip: missing('postgres') }, async (t) => {
  const knex = await openDatabase(t, 'postgres')
  const rival = createKnex(knex.client.config)
  t.teardown(() => rival.destroy())
  await knex.raw('ALTER DATABASE ?? SET lock_timeout = 10', [knex.client.database()])
  await knex.destroy()
  knex.initialize()
  const { browser } = await createSite(t, knex, { storeTimeout: 60 })
  await browser.get('/count')
  const lock = await rival.transaction()
  await lock('django_session').select().forUpdate()
  let refusals = 0
  const refusedTwice = new Promise<void>((resolve) =>
    knex.client.on('query', ({ sql }: { sql: string }) => {
      if (/^UPDATE|^\/\*M!.*UPDATE/.test(sql) && ++refusals === 3) resolve()
    })
  )
  const saving = browser.get('/count')
  await refusedTwice
  await lock.rollback()
  t.equal((await saving).statusCode, 200)
  t.strictSame((await browser.get('/read')).json(), { count: 2 })
})

t.test('a database in memory outlives any error', async (t) => {
  const knex = createKnex({ client: 'better-sqlite3', connection: ':memory:', useNullAsDefault: true, pool: { min: 1, max: 1 } })
  t.teardown(() => knex.destroy())
  await knex.migrate.latest({ migrationSource })
  const { browser, reason } = await createSite(t, knex)
  await browser.get('/count')
  await knex.raw('PRAGMA query_only = ON')
  t.match((await browser.get('/count')).json(), UNAVAILABLE, 'read-only')
  t.match(reason(), /read-only/)
  await knex.raw('PRAGMA query_only = OFF')
  const connection = await knex.client.acquireConnection()
  connection.function('fail', () => {
    throw new Error('of no kind that is known')
  })
  await knex.client.releaseConnection(connection)
  await knex.raw('CREATE TRIGGER refuse BEFORE UPDATE ON django_session BEGIN SELECT fail(); END')
  t.match((await browser.get('/count')).json(), UNAVAILABLE, 'unknown')
  await knex.raw('DROP TRIGGER refuse')
  await knex.raw("CREATE TRIGGER refuse BEFORE UPDATE ON django_session BEGIN SELECT RAISE(ABORT, 'refused'); END")
  t.match((await browser.get('/count')).json(), REFUSED, 'a trigger')
  await knex.raw('DROP TRIGGER refuse')
  t.equal((await browser.get('/count')).statusCode, 200)
  t.strictSame((await browser.get('/read')).json(), { count: 2 })
})

t.test('a MariaDB server of its own', { skip: missingMariadbServer() }, async (t) => {
  const server = await MariadbServer.start(t)
  const admin = createKnex({ client: 'mysql2', connection: server.url })
  t.teardown(() => admin.destroy())
  await admin.migrate.latest({ migrationSource })
  await admin.raw("CREATE USER 'site'@'127.0.0.1' IDENTIFIED BY 'site'")
  await admin.raw("GRANT ALL ON test.* TO 'site'@'127.0.0.1'")
  const connection = server.url.replace('sessions:sessions', 'site:site')

  t.test('that is read-only: a save waits for the end of that, and after storeTimeout for no longer', async (t) => {
    const knex = createKnex({ client: 'mysql2', connection, pool: POOL, log: { warn: () => {} } })
    t.teardown(() => knex.destroy())
    const { browser, reason } = await createSite(t, knex, { storeTimeout: 1 })
    await browser.get('/count')
    const before = await onEachConnection(knex)
    await admin.raw('SET GLOBAL read_only = 1')
    t.match((await browser.get('/count')).json(), UNAVAILABLE)
    t.match(reason(), /server is read-only/)
    t.match((await browser.get('/read')).json(), UNAVAILABLE, 'its rows may be old')
    const waits = new Promise((resolve) => knex.client.pool.on('createSuccess', resolve))
    const saving = browser.get('/count')
    await waits
    await admin.raw('SET GLOBAL read_only = 0')
    t.equal((await saving).statusCode, 200)
    t.strictSame((await browser.get('/read')).json(), { count: 2 })
    t.strictSame(
      (await onEachConnection(knex)).filter((id) => before.includes(id)),
      []
    )
  })

  for (const preparedStatements of [true, false]) {
    for (const [limit, saved, size] of [
      [32_768, 1, 40_000],
      [2_097_152, 1_200_000, 1_200_001],
      [2_097_152, 1, 15_000_000]
    ] as const) {
      const title = `${size} bytes over ${saved}, and packets of at most ${limit} (${preparedStatements ? '' : 'not '}prepared): 500, and the log names both limits`
      t.test(title, async (t) => {
        await admin.raw('SET GLOBAL max_allowed_packet = ?', [limit])
        const knex = createKnex({ client: 'mysql2', connection, pool: POOL, log: { warn: () => {} } })
        t.teardown(() => knex.destroy())
        const { browser, reason } = await createSite(t, knex, {
          preparedStatements,
          // Signing so much takes seconds of an operation's time on a busy machine.
          storeTimeout: 60,
          compressAbove: Number.MAX_SAFE_INTEGER,
          maxSize: 16_777_216
        })
        t.equal((await browser.get(`/fill/${saved}`)).statusCode, 200)
        for (let attempt = 0; attempt < 2; attempt++) {
          t.match((await browser.get(`/fill/${size}`)).json(), REFUSED)
          t.match(reason(), /max_allowed_packet.*maxSize/)
          t.equal((await browser.get('/read')).json().filling.length, saved)
        }
      })
    }
  }
})

t.test('a transaction that is read-only, as a Knex instance, is a 503 and stops nothing', { skip: missing('postgres') }, async (t) => {
  const knex = await openDatabase(t, 'postgres', { pool: POOL, log: { warn: () => {} } })
  const transaction = await knex.transaction()
  t.teardown(() => transaction.rollback())
  await transaction.raw('SET TRANSACTION READ ONLY')
  const { browser } = await createSite(t, transaction, { verify: false })
  t.match((await browser.get('/count')).json(), UNAVAILABLE)
})

for (const server of ['postgres', 'mariadb'] as const) {
  /** A site with connections of its own, through a proxy. */
  async function openProxied(t: Test) {
    const config = await createDatabase(t, server)
    const plain = createKnex(config)
    await plain.migrate.latest({ migrationSource })
    await plain.destroy()
    const proxy = await createProxy(t, config.connection as string)
    const site = await createSite(t, { ...config, connection: proxy.url, pool: POOL }, { storeTimeout: 1, verify: false })
    await site.browser.get('/count')
    const visit = async (count: number) => {
      const replies = await Promise.all(Array.from({ length: count }, () => site.browser.fork().get('/read')))
      return replies.map(({ statusCode }) => statusCode)
    }
    return { ...site, proxy, visit }
  }

  const untilNoClient = async (proxy: FaultyProxy) => {
    while (proxy.clients > 0) await turn()
  }

  t.test(
    `${server} accepts connections and does not answer: no socket is left, and service resumes`,
    { skip: missing(server) },
    async (t) => {
      const { app, proxy, visit } = await openProxied(t)
      await visit(POOL.max)
      proxy.silence('all')
      for (let round = 0; round < 5; round++) t.strictSame(new Set(await visit(8)), new Set([503]))
      await untilNoClient(proxy)
      proxy.heal()
      t.strictSame(await visit(1), [200])
      t.strictSame(new Set(await visit(8)), new Set([200]))
      t.ok(proxy.clients <= POOL.max, `${proxy.clients} connections`)
      await app.close()
      await untilNoClient(proxy)
    }
  )

  t.test(`an application closes though ${server} does not answer`, { skip: missing(server) }, async (t) => {
    const { app, proxy, visit } = await openProxied(t)
    await visit(POOL.max)
    proxy.silence('all')
    const visiting = visit(8)
    await app.close()
    t.strictSame(new Set(await visiting), new Set([503]))
    await untilNoClient(proxy)
  })

  t.test(`connections that are idle when ${server} falls silent do not keep the process`, { skip: missing(server) }, async (t) => {
    const { app, proxy, visit } = await openProxied(t)
    await visit(POOL.max)
    proxy.silence('all')
    await app.close()
    await untilNoClient(proxy)
  })

  t.test(`of connections to ${server} that went dead together one costs a 503`, { skip: missing(server) }, async (t) => {
    const { proxy, visit } = await openProxied(t)
    await visit(POOL.max)
    proxy.silence('open')
    t.strictSame([await visit(1), await visit(1), await visit(1), await visit(4)], [[503], [200], [200], [200, 200, 200, 200]])
  })
}
