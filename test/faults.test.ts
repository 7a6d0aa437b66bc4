/** The database is away, busy, broken or wrong: a 503 or a clear error, nothing lost, nothing let in, and no process dies. */
import { mkdir, unlink, writeFile } from 'node:fs/promises'
import { PassThrough } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import createKnex, { type Knex } from 'knex'
import t, { type Test } from 'tap'
import type { Session, SessionOptions } from '../lib/index.ts'
import { migrationSource } from '../lib/migrations.ts'
import { addKeyRoutes, Browser, createApp } from './fixtures/app.ts'
import { createDatabase, databases, lockWaiters, missing, openDatabase, recordQueries } from './fixtures/databases.ts'
import { privateFolder } from './fixtures/folders.ts'
import { createProxy } from './fixtures/proxy.ts'

const rejections: unknown[] = []
process.on('unhandledRejection', (error) => rejections.push(error))

async function createSite(t: Test, options: Partial<SessionOptions>) {
  const site = await createApp(t, options, (app) => {
    app.get('/untouched', async () => 'untouched')
    app.get('/read', async (request) => (await request.session.load()).toObject())
    app.get('/count', async (request) => {
      request.session.set('count', (count = 0) => count + 1)
      return 'counted'
    })
    addKeyRoutes(app)
    for (const name of ['load', 'save', 'flush', 'cycleKey'] as const) {
      app.get(`/forgotten/${name}`, async (request) => {
        request.session[name]()
        return 'did not wait'
      })
    }
  })
  return { ...site, browser: new Browser(site.app) }
}

/** No log line has the key, the data, SQL or the secret. */
function assertNothingLeaks(t: Test, logs: Record<string, unknown>[], ...secrets: (string | null)[]): void {
  const text = JSON.stringify(logs)
  for (const secret of ['the secret key of the tests, as long as Django wants it', ...secrets]) {
    if (secret !== null) t.notMatch(text, secret)
  }
  t.notMatch(text, /SELECT|INSERT|UPDATE|DELETE|session_data|eyJ/)
}

const UNAVAILABLE = { statusCode: 503, code: 'FST_SESSION_STORE_UNAVAILABLE', message: 'The session store is unavailable' }
const REFUSED = { statusCode: 500, code: 'FST_SESSION_STORE_REFUSED', message: 'The session store refused an operation' }

/** The reason of the last failure, which is in the log only. */
const lastReason = (logs: { err?: Error }[]) => logs.findLast(({ err }) => err !== undefined)?.err?.message

for (const database of databases) {
  t.test(`faults on ${database}`, { skip: missing(database) }, async (t) => {
    t.test('the table is missing: 500, the log says what to do, nothing leaks, and service resumes', async (t) => {
      const knex = await openDatabase(t, database)
      const { app, logs, browser } = await createSite(t, { knex })
      await browser.get('/count')
      const key = browser.cookie
      await knex.schema.renameTable('django_session', 'elsewhere')
      for (const url of ['/read', '/count', '/cycle', '/flush']) {
        const response = await browser.get(url)
        t.match(response.json(), REFUSED, url)
        t.match(lastReason(logs), /run the migration/)
        t.notOk(response.headers['set-cookie'])
      }
      t.equal((await browser.get('/untouched')).statusCode, 200, 'a route that leaves the session alone is not affected')
      t.match((await new Browser(app).get('/count')).json(), REFUSED, 'a new session')
      assertNothingLeaks(t, logs, key)
      t.ok(
        logs.some(({ err }) => /elsewhere|django_session|no such table|does not exist/.test(JSON.stringify(err))),
        'the cause is logged'
      )
      await knex.schema.renameTable('elsewhere', 'django_session')
      t.strictSame((await browser.get('/read')).json(), { count: 1 })
    })

    t.test('gone at save: one attempt, one 500, no cookie', async (t) => {
      const knex = await openDatabase(t, database)
      const queries = recordQueries(knex)
      const { app } = await createApp(t, { knex }, (app) => {
        app.get('/', async (request) => {
          const session = await request.session.load()
          await knex.schema.renameTable('django_session', 'elsewhere')
          queries.length = 0
          session.set('a', 1)
          return 'set'
        })
        app.get('/start', async (request) => String(request.session.set('a', 0).modified))
      })
      const browser = new Browser(app)
      await browser.get('/start')
      const response = await browser.get('/')
      t.match(response.json(), REFUSED)
      t.notOk(response.headers['set-cookie'])
      t.equal(queries.length, 1)
    })

    for (const name of ['load', 'save', 'flush', 'cycleKey']) {
      t.test(`a forgotten await on ${name}() fails the reply, and the process lives`, async (t) => {
        const knex = await openDatabase(t, database)
        const { browser, logs } = await createSite(t, { knex })
        await browser.get('/count')
        const key = browser.cookie
        t.equal((await browser.fork().get(`/forgotten/${name}`)).statusCode, 200)
        const other = await createSite(t, { knex })
        await other.browser.get('/count')
        await knex.schema.renameTable('django_session', 'elsewhere')
        t.match((await other.browser.get(`/forgotten/${name}`)).json(), REFUSED)
        t.strictSame(rejections, [])
        assertNothingLeaks(t, [...logs, ...other.logs], key, other.browser.cookie)
      })
    }

    t.test('all connections are taken by the handler’s own transaction: 503, and the log names the cause', async (t) => {
      const config = await createDatabase(t, database)
      const knex = createKnex({ ...config, pool: { min: 0, max: 1 } })
      t.teardown(() => knex.destroy())
      await knex.migrate.latest({ migrationSource })
      const { browser } = await createSite(t, { knex })
      await browser.get('/count')
      const inTransaction = await createApp(t, { knex, storeTimeout: 1 }, (app) => {
        app.get('/', (request) => knex.transaction(async () => (await request.session.load()).toObject()))
      })
      const response = await new Browser(inTransaction.app, browser.cookie).get('/')
      t.match(response.json(), UNAVAILABLE)
      t.match(lastReason(inTransaction.logs), /inside an open transaction/)
      t.strictSame((await browser.get('/read')).json(), { count: 1 }, 'service resumes')
    })
  })
}

/** Whoever waits for what another one holds does not stop the event loop: others are served before it is given back. */
async function assertOthersAreServed(
  t: Test,
  app: FastifyInstance,
  { waiting, others, release }: { waiting: ReturnType<Browser['get']>; others: Browser[]; release: () => unknown }
) {
  let isWaiting = true
  const ended = waiting.finally(() => {
    isWaiting = false
  })
  t.equal((await new Browser(app).get('/untouched')).statusCode, 200)
  t.equal((await new Browser(app).get('/count')).statusCode, 200, 'a new session')
  const [writer, reader] = others as [Browser, Browser]
  t.equal((await writer.get('/count')).statusCode, 200, 'a writer of another session')
  t.strictSame((await reader.get('/read')).json(), { count: 1 }, 'a reader of the same session')
  t.equal(isWaiting, true)
  await release()
  t.equal((await ended).statusCode, 200)
}

/** Refusals by which a server says that nothing was done, and that it is worth another try: the first three updates meet one. */
const BUSY = {
  postgres: {
    // Serialization failure, deadlock.
    codes: ['40001', '40P01'],
    trigger: (code: string) => [
      'CREATE SEQUENCE refusals MINVALUE -1000000000 START WITH 1',
      `CREATE FUNCTION refuse() RETURNS trigger AS $$ BEGIN
         IF nextval('refusals') <= 3 THEN RAISE EXCEPTION 'on purpose' USING ERRCODE = '${code}'; END IF;
         RETURN NEW;
       END $$ LANGUAGE plpgsql`,
      'CREATE TRIGGER refuse BEFORE UPDATE ON django_session FOR EACH ROW EXECUTE FUNCTION refuse()'
    ]
  },
  mariadb: {
    // Deadlock, lock wait timeout, record has changed since last read.
    codes: ['1213', '1205', '1020'],
    trigger: (code: string) => [
      'CREATE SEQUENCE refusals MINVALUE -1000000000 START WITH 1 NOCACHE',
      `CREATE TRIGGER refuse BEFORE UPDATE ON django_session FOR EACH ROW
       IF NEXT VALUE FOR refusals <= 3 THEN SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = ${code}, MESSAGE_TEXT = 'on purpose'; END IF`
    ]
  }
}

/** Each DELETE ends with the error of a connection that was killed. */
const breakers = {
  postgres: [
    "CREATE FUNCTION break_off() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'on purpose' USING ERRCODE = '57P01'; END $$ LANGUAGE plpgsql",
    'CREATE TRIGGER break_off BEFORE DELETE ON django_session FOR EACH ROW EXECUTE FUNCTION break_off()'
  ],
  mariadb: [
    "CREATE TRIGGER break_off BEFORE DELETE ON django_session FOR EACH ROW SIGNAL SQLSTATE '70100' SET MYSQL_ERRNO = 1927, MESSAGE_TEXT = 'on purpose'"
  ]
}

for (const server of ['postgres', 'mariadb'] as const) {
  t.test(`connections to ${server}`, { skip: missing(server) }, async (t) => {
    /** A migrated database, seen through a proxy. */
    async function createFaulty(t: Test, options: Partial<SessionOptions> = {}) {
      const config = await createDatabase(t, server)
      const proxy = await createProxy(t, config.connection as string)
      const knex: Knex = createKnex({ ...config, connection: proxy.url, pool: { min: 0, max: 4 } })
      t.teardown(() => knex.destroy())
      await knex.migrate.latest({ migrationSource })
      return { proxy, config, knex, ...(await createSite(t, { knex, ...options })) }
    }

    t.test('a connection cut before an UPDATE: the row is as it was, and the save is sent again', async (t) => {
      const { proxy, browser } = await createFaulty(t)
      await browser.get('/count')
      proxy.fail('UPDATE', 'before')
      t.equal((await browser.get('/count')).statusCode, 200)
      t.equal(proxy.failures, 1)
      t.strictSame((await browser.get('/read')).json(), { count: 2 })
    })

    t.test('a connection cut before an UPDATE, and the same text from another process: both count', async (t) => {
      const now = new Date()
      const options = { clock: () => now }
      const { proxy, config, app, browser } = await createFaulty(t, options)
      const { app: rival } = await createSite(t, { knex: config, ...options })
      await browser.get('/count')
      const [mine, theirs] = (await Promise.all([app, rival].map(({ sessions }) => sessions.open(browser.cookie).load()))) as [
        Session,
        Session
      ]
      for (const session of [mine, theirs]) session.set('count', (count = 0) => count + 1)
      await theirs.save()
      proxy.fail('UPDATE', 'before')
      await mine.save()
      t.equal(proxy.failures, 1)
      t.strictSame((await browser.get('/read')).json(), { count: 3 })
    })

    t.test('a connection cut after an UPDATE of a column without microseconds: 503, and a second save does not count twice', async (t) => {
      const { proxy, app, browser, knex } = await createFaulty(t)
      await browser.get('/count')
      const column = { postgres: 'ALTER expire_date TYPE timestamptz(0)', mariadb: 'MODIFY expire_date datetime NOT NULL' }
      await knex.raw(`ALTER TABLE django_session ${column[server]}`)
      const session = await app.sessions.open(browser.cookie).load()
      session.set('count', (count = 0) => count + 1)
      proxy.fail('UPDATE', 'after')
      await t.rejects(session.save(), UNAVAILABLE)
      await t.rejects(session.save(), { ...UNAVAILABLE, cause: { message: /an earlier save of the session failed/ } })
      t.strictSame((await browser.get('/read')).json(), { count: 2 })
    })

    t.test('a connection cut after an UPDATE was committed: the row is read once, and counts as saved', async (t) => {
      const { proxy, browser } = await createFaulty(t)
      await browser.get('/count')
      proxy.fail('UPDATE', 'after')
      const response = await browser.get('/count')
      t.equal(response.statusCode, 200)
      t.ok(response.headers['set-cookie'])
      t.equal(proxy.failures, 1)
      t.strictSame((await browser.get('/read')).json(), { count: 2 })
    })

    t.test('a connection cut after an INSERT was committed: the browser gets the key of the row', async (t) => {
      const { proxy, browser, knex } = await createFaulty(t)
      proxy.fail('INSERT', 'after')
      t.equal((await browser.get('/count')).statusCode, 200)
      t.strictSame((await browser.get('/read')).json(), { count: 1 })
      t.equal((await knex('django_session').select()).length, 1)
    })

    t.test('a connection cut after a key was changed: the browser gets the new key', async (t) => {
      const { proxy, browser, knex } = await createFaulty(t)
      await browser.get('/count')
      const before = browser.cookie
      proxy.fail('UPDATE', 'after')
      t.equal((await browser.get('/cycle')).statusCode, 200)
      t.not(browser.cookie, before)
      t.strictSame((await browser.get('/read')).json(), { count: 1 })
      t.equal((await knex('django_session').select()).length, 1)
    })

    t.test('a connection cut while loading, renewing, moving or ending a session: it is done on another one, once', async (t) => {
      const { proxy, browser } = await createFaulty(t, { preparedStatements: false })
      await browser.get('/count')
      for (const when of ['before', 'after'] as const) {
        proxy.fail('SELECT', when)
        t.strictSame((await browser.get('/read')).json(), { count: 1 })
        for (const [url, statement] of [
          ['/cycle', 'UPDATE'],
          ['/flush', 'DELETE'],
          ['/count', 'INSERT']
        ] as const) {
          const before = browser.fork()
          proxy.fail(statement, when)
          t.equal((await browser.get(url)).statusCode, 200, url)
          if (before.cookie !== null) t.strictSame((await before.get('/read')).json(), {}, `${url}: the old key is no session`)
        }
        t.strictSame((await browser.get('/read')).json(), { count: 1 })
      }
      t.equal(proxy.failures, 8)
    })

    t.test('connections cut again and again while loading: 503, never an anonymous visitor', async (t) => {
      const { proxy, browser } = await createFaulty(t, { storeTimeout: 1 })
      await browser.get('/count')
      proxy.fail('SELECT', 'always')
      const response = await browser.get('/read')
      t.match(response.json(), UNAVAILABLE)
      t.notOk(response.headers['set-cookie'])
      proxy.fail('nothing', 'before')
      t.strictSame((await browser.get('/read')).json(), { count: 1 })
    })

    t.test('a logout whose DELETE ends the connection again and again is no logout, and says so', async (t) => {
      const { browser, knex } = await createFaulty(t, { storeTimeout: 1 })
      await browser.get('/count')
      for (const statement of breakers[server]) await knex.raw(statement)
      const response = await browser.get('/flush')
      t.match(response.json(), UNAVAILABLE)
      t.notOk(response.headers['set-cookie'])
      t.strictSame((await browser.get('/read')).json(), { count: 1 })
    })

    t.test('no answer within storeTimeout: 503, and the connection is not used again', async (t) => {
      const { proxy, browser, knex, logs } = await createFaulty(t, { storeTimeout: 0.2 })
      await browser.get('/count')
      proxy.fail('SELECT', 'silence')
      const response = await browser.get('/read')
      t.match(response.json(), UNAVAILABLE)
      t.match(lastReason(logs), /no answer in time/)
      const { app } = await createSite(t, { knex })
      t.strictSame((await new Browser(app, browser.cookie).get('/read')).json(), { count: 1 })
      t.equal(knex.client.pool.numUsed(), 0)
    })

    t.test('a row locked by another transaction: 503 within storeTimeout, and service resumes', async (t) => {
      const knex = await openDatabase(t, server)
      const { browser } = await createSite(t, { knex, storeTimeout: 0.2 })
      await browser.get('/count')
      const trx = await knex.transaction()
      await trx('django_session').select().forUpdate()
      t.match((await browser.get('/count')).json(), UNAVAILABLE)
      await trx.rollback()
      const { app } = await createSite(t, { knex })
      t.equal((await new Browser(app, browser.cookie).get('/count')).statusCode, 200)
    })

    t.test('a statement that was given up while it waited for a lock is not carried out when the lock is gone', async (t) => {
      const knex = await openDatabase(t, server)
      const { browser } = await createSite(t, { knex, storeTimeout: 0.2 })
      await browser.get('/count')
      const lock = await knex.transaction()
      await lock('django_session').select().forUpdate()
      t.match((await browser.get('/cycle')).json(), UNAVAILABLE)
      // The request to give it up is on its way to the server.
      while ((await lockWaiters(knex)) > 0);
      await lock.rollback()
      t.strictSame((await browser.get('/read')).json(), { count: 1 }, 'the key that the browser has is the one in the table')
    })

    for (const code of BUSY[server].codes) {
      t.test(`what the server refuses with ${code} is sent again, and not for ever`, async (t) => {
        const knex = await openDatabase(t, server)
        const { browser } = await createSite(t, { knex })
        const impatient = await createSite(t, { knex, storeTimeout: 0.5 })
        await browser.get('/count')
        for (const statement of BUSY[server].trigger(code)) await knex.raw(statement)
        const queries = recordQueries(knex)
        t.equal((await browser.get('/count')).statusCode, 200)
        t.equal(queries.filter((sql) => /\bUPDATE .django_session/.test(sql)).length, 4, 'three times in vain')
        t.strictSame((await browser.get('/read')).json(), { count: 2 })

        await knex.raw('ALTER SEQUENCE refusals RESTART WITH -1000000000')
        const response = await new Browser(impatient.app, browser.cookie).get('/count')
        t.match(response.json(), UNAVAILABLE)
        // The last try may have been under way.
        t.match(lastReason(impatient.logs), /was busy|no answer in time/)
        t.strictSame((await browser.get('/read')).json(), { count: 2 })
      })
    }

    t.test('a database that does not exist yet: the server starts, answers 503, and serves when it is there', async (t) => {
      const config = await createDatabase(t, server)
      const url = new URL(config.connection as string)
      const later = `${url.pathname.slice(1)}_later`
      const admin = createKnex(config)
      url.pathname = `/${later}`
      const knex = createKnex({ ...config, connection: url.href })
      const { browser, logs } = await createSite(t, { knex })
      t.match((await browser.get('/count')).json(), UNAVAILABLE)
      t.match(lastReason(logs), /cannot be reached/)
      await admin.raw('CREATE DATABASE ??', [later])
      await knex.migrate.latest({ migrationSource })
      t.equal((await browser.get('/count')).statusCode, 200)
      await knex.destroy()
      await admin.raw('DROP DATABASE ??', [later])
      await admin.destroy()
    })
  })
}

t.test('SQLite', async (t) => {
  t.test('a file in a folder that does not exist yet: 503, and service when it is there', async (t) => {
    const folder = `${t.testdir()}/later`
    const config = { client: 'better-sqlite3', connection: { filename: `${folder}/test.sqlite3` }, useNullAsDefault: true }
    const { browser } = await createSite(t, { knex: config })
    t.match((await browser.get('/count')).json(), UNAVAILABLE)
    await mkdir(folder)
    const knex = createKnex(config)
    await knex.migrate.latest({ migrationSource })
    await knex.destroy()
    t.equal((await browser.get('/count')).statusCode, 200)
  })

  t.test('a database locked by another writer is asked again until storeTimeout, and never stops the event loop', async (t) => {
    const config = await createDatabase(t, 'sqlite')
    const rival = createKnex(config)
    t.teardown(() => rival.destroy())
    await rival.migrate.latest({ migrationSource })
    const { app, browser, logs } = await createSite(t, { knex: config, storeTimeout: 0.3 })
    await browser.get('/count')

    const lock = await rival.transaction()
    await lock.raw('UPDATE django_session SET expire_date = expire_date')
    const served: string[] = []
    const locked = browser.get('/count').then((response) => {
      served.push('locked')
      return response
    })
    for (let request = 0; request < 5; request++) await browser.fork().get('/untouched')
    served.push('others')
    const response = await locked
    t.match(response.json(), UNAVAILABLE)
    t.match(lastReason(logs), /was busy/)
    t.strictSame(served, ['others', 'locked'], 'others are served while a writer waits')
    t.strictSame((await browser.get('/read')).json(), { count: 1 }, 'readers are served all the while')

    const refused = new Promise<void>((resolve) => {
      let attempts = 0
      app.sessions.model.query().client.on('query', ({ sql }: { sql: string }) => {
        if (sql.startsWith('UPDATE') && ++attempts === 3) resolve()
      })
    })
    const waiting = browser.get('/count')
    await refused
    await lock.commit()
    t.equal((await waiting).statusCode, 200, 'a writer that was refused is served when the lock is gone')
    assertNothingLeaks(t, logs, browser.cookie)
  })
})

t.test('a save that met another one under REPEATABLE READ is sent again', { skip: missing('postgres') }, async (t) => {
  const config = await createDatabase(t, 'postgres')
  const rival = createKnex(config)
  t.teardown(() => rival.destroy())
  await rival.migrate.latest({ migrationSource })
  await rival.raw("ALTER DATABASE ?? SET default_transaction_isolation = 'repeatable read'", [rival.client.database()])
  const knex = createKnex(config)
  t.teardown(() => knex.destroy())
  const { browser } = await createSite(t, { knex })
  await browser.get('/count')
  const trx = await rival.transaction()
  await trx('django_session').update({ expire_date: '2999-01-01' })
  const queries = recordQueries(knex)
  const updates = () => queries.filter((sql) => sql.startsWith('UPDATE')).length
  const saving = browser.get('/count')
  while (updates() < 2) await turn()
  await trx.commit()
  t.equal((await saving).statusCode, 200)
  t.strictSame((await browser.get('/read')).json(), { count: 2 })
})

t.test('a file locked by another writer holds up nobody else', async (t) => {
  const filePath = privateFolder(t)
  const { app, browser } = await createSite(t, { engine: 'file', filePath, storeTimeout: 20 })
  const other = new Browser(app)
  await browser.get('/count')
  await other.get('/count')
  const lock = `${filePath}/.sessionid${browser.cookie}.lock`
  await writeFile(lock, '')
  await assertOthersAreServed(t, app, { waiting: browser.get('/count'), others: [other, browser.fork()], release: () => unlink(lock) })
})

/** One row refuses to be written. On SQLite as on a full disk, which ends the transaction that the write is in. */
const REFUSAL = {
  sqlite: (key: string) => [
    `CREATE TRIGGER refuse BEFORE UPDATE ON django_session WHEN old.session_key = '${key}' BEGIN SELECT RAISE(ROLLBACK, 'refused'); END`
  ],
  postgres: (key: string) => [
    "CREATE FUNCTION refuse() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$ LANGUAGE plpgsql",
    `CREATE TRIGGER refuse BEFORE UPDATE ON django_session FOR EACH ROW WHEN (old.session_key = '${key}') EXECUTE FUNCTION refuse()`
  ]
}

for (const database of ['sqlite', 'postgres'] as const) {
  t.test(`of writes that leave together a refused one fails alone on ${database}`, { skip: missing(database) }, async (t) => {
    const knex = await openDatabase(t, database)
    const { app } = await createSite(t, { knex })
    const sessions = [1, 2, 3].map(() => app.sessions.open().set('count', 1))
    await Promise.all(sessions.map((session) => session.save()))
    for (const statement of REFUSAL[database](sessions[1]?.sessionKey as string)) await knex.raw(statement)
    const queries = recordQueries(knex)
    const saves = sessions.map((session) => session.set('count', (count = 0) => count + 1).save())
    const outcomes = (await Promise.allSettled(saves)).map(({ status }) => status)
    t.strictSame(outcomes, ['fulfilled', 'rejected', 'fulfilled'])
    const updates = queries.filter((sql) => /UPDATE .django_session/.test(sql))
    t.equal(updates.length, database === 'sqlite' ? 2 + 3 : 1 + 3, 'together until one was refused, then each alone')
    const counts = await Promise.all(sessions.map(async ({ sessionKey }) => (await app.sessions.open(sessionKey).load()).get('count')))
    t.strictSame(counts, [2, 1, 2], 'and the others are written once')
  })
}

t.test('of reads that leave together a refused one fails alone, and nothing stays open', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const { app } = await createSite(t, { knex })
  const keys = await Promise.all(
    [1, 2, 3].map(async (count) => {
      const session = app.sessions.open().set('count', count)
      await session.save()
      return session.sessionKey as string
    })
  )
  // Asks for each row, and cannot be computed for one.
  await knex.raw('ALTER TABLE django_session RENAME TO rows_of_sessions')
  await knex.raw(
    `CREATE VIEW django_session AS SELECT session_key, CASE session_key WHEN '${keys[1]}' THEN json('{') ELSE session_data END AS session_data, expire_date FROM rows_of_sessions`
  )
  const loads = keys.map(async (key) => (await app.sessions.open(key).load()).get('count'))
  t.match(await Promise.allSettled(loads), [
    { status: 'fulfilled', value: 1 },
    { status: 'rejected', reason: REFUSED },
    { status: 'fulfilled', value: 3 }
  ])
  const connection = await knex.client.acquireConnection()
  t.equal(connection.inTransaction, false)
  await knex.client.releaseConnection(connection)
})

t.test('a statement that is overdue is taken back, though it was refused before', { skip: missing('postgres') }, async (t) => {
  const knex = await openDatabase(t, 'postgres')
  const { browser, logs } = await createSite(t, { knex, storeTimeout: 1 })
  await browser.get('/count')
  await knex.raw('CREATE SEQUENCE refusals')
  await knex.raw(`CREATE FUNCTION refuse() RETURNS trigger AS $$ BEGIN
    IF nextval('refusals') = 1 THEN RAISE EXCEPTION 'on purpose' USING ERRCODE = '40001'; END IF;
    PERFORM pg_advisory_xact_lock(1);
    RETURN NEW;
  END $$ LANGUAGE plpgsql`)
  await knex.raw('CREATE TRIGGER refuse BEFORE UPDATE ON django_session FOR EACH ROW EXECUTE FUNCTION refuse()')
  const lock = await knex.transaction()
  await lock.raw('SELECT pg_advisory_xact_lock(1)')
  const response = await browser.get('/count')
  t.match(response.json(), UNAVAILABLE)
  t.match(lastReason(logs), /no answer in time/)
  while ((await lockWaiters(knex)) > 0);
  await lock.rollback()
  t.strictSame((await browser.get('/read')).json(), { count: 1 })
})

t.test('a stream that is not sent, since its session could not be saved, is ended', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const stream = new PassThrough()
  const { app } = await createApp(t, { knex }, (app) => {
    app.get('/', async (request, reply) => {
      request.session.set('a', 1)
      return reply.send(stream)
    })
  })
  await app.ready()
  await knex.schema.dropTable('django_session')
  t.match((await app.inject('/')).json(), REFUSED)
  t.equal(stream.destroyed, true)
})

t.test('saveSession() that nobody awaits: the reply waits for it, and fails with it', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const { app } = await createApp(t, { knex }, (app) => {
    app.get('/', async (request, reply) => {
      request.session.set('a', 1)
      reply.saveSession()
      return reply.code(201).send('did not wait')
    })
  })
  const response = await app.inject('/')
  t.match(response, { statusCode: 201, body: 'did not wait', headers: { 'content-type': /^text\/plain/ } })
  t.ok(response.headers['set-cookie'])
  await knex.schema.dropTable('django_session')
  t.match((await app.inject('/')).json(), REFUSED)
})

t.test('nothing was left unhandled', async (t) => t.strictSame(rejections, []))
