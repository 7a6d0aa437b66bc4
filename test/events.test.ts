/** What the channels of `node:diagnostics_channel` tell: each event once, on every engine, and never a key. */
import { channel, subscribe, unsubscribe } from 'node:diagnostics_channel'
import { setImmediate as turn } from 'node:timers/promises'
import { inspect } from 'node:util'
import createKnex, { type Knex } from 'knex'
import t, { type Test } from 'tap'
import { MemoryCache } from '../lib/caches/memory.ts'
import { EVENT_NAMES } from '../lib/events.ts'
import type { SessionBatch, SessionEvents, SessionOperation, SessionOptions } from '../lib/index.ts'
import { addRoutes, Browser, createApp, secretKey } from './fixtures/app.ts'
import { databases, missing, openDatabase, recordQueries } from './fixtures/databases.ts'
import { privateFolder } from './fixtures/folders.ts'
import { createSite as createUserSessionsSite, openUserSessions, sessionsOf } from './fixtures/user-sessions.ts'

const OPERATIONS = ['load', 'create', 'save', 'touch', 'rotate', 'delete']

type Heard = [name: string, payload: Record<string, unknown>]

/** What is published until the end of the test, in its order. */
function listen(t: Test, names: readonly string[]): Heard[] {
  const heard: Heard[] = []
  for (const name of names) {
    const hear = (payload: unknown) => heard.push([name, payload as Record<string, unknown>])
    const full = name.includes(':') ? `tracing:fastify-django-sessions:${name}` : `fastify-django-sessions:${name}`
    subscribe(full, hear)
    t.teardown(() => unsubscribe(full, hear))
  }
  return heard
}

/** Everything that was heard since the last call, with its reason. */
const drain = (heard: Heard[]): string[] =>
  heard.splice(0).map(([name, { reason, misses }]) => [name, reason, misses].filter((part) => part !== undefined).join(' '))

const START = new Date('2030-01-01T00:00:00Z')

/** Engines by name, with what they need, and what cannot happen there. */
const engines: Record<string, { skip?: string | false; options(t: Test): Promise<Partial<SessionOptions>>; stored?: false }> = {
  ...Object.fromEntries(
    databases.map((name) => [`db on ${name}`, { skip: missing(name), options: async (t: Test) => ({ knex: await openDatabase(t, name) }) }])
  ),
  cached_db: { options: async (t) => ({ engine: 'cached_db', cache: new MemoryCache(), knex: await openDatabase(t, 'sqlite') }) },
  cache: { options: async () => ({ engine: 'cache', cache: new MemoryCache() }) },
  file: { options: async (t) => ({ engine: 'file', filePath: privateFolder(t) }) },
  // Each cookie is a session of its own: requests do not meet.
  signed_cookies: { options: async () => ({ engine: 'signed_cookies' }), stored: false }
}

for (const [name, { skip, options, stored = true }] of Object.entries(engines)) {
  t.test(`each event is told once, without keys and data: ${name}`, { skip: skip ?? false }, async (t) => {
    let now = START
    const settings = { ...(await options(t)), clock: () => now, timeouts: { absolute: '1d' } }
    const { app } = await createApp(t, settings, (app) => {
      addRoutes(app)
      app.get('/login', async (request) => request.session.update({ _auth_user_id: '7', private: 'the data' }).isEmpty)
      app.get('/end', async (request) => request.session.setExpiry(START).isEmpty)
      app.get('/late', async (request, reply) => {
        await request.session.load()
        await reply.send('sent')
        request.session.set('late', true)
      })
    })
    const heard = listen(t, EVENT_NAMES)
    const all: Heard[] = []
    const keys: string[] = []
    const visitor = new Browser(app)
    const told = () => {
      all.push(...heard)
      if (visitor.cookie !== null) keys.push(visitor.cookie)
      return drain(heard)
    }
    const open = () => app.sessions.open(visitor.cookie).load()

    await visitor.get('/login')
    t.match(heard[0]?.[1], { engine: String(settings.engine ?? 'db'), sessionRef: /^[0-9a-f]{12}$/, userId: '7' })
    t.match(heard[0]?.[1].request, { url: '/login' })
    t.strictSame(told(), ['created'])
    for (const url of ['/read', '/count', '/read']) await visitor.get(url)
    t.strictSame(told(), [], 'neither reading nor saving is an event')

    const [old] = [visitor.cookie]
    await visitor.get('/cycle')
    const rotation = heard[0]?.[1] as Partial<SessionEvents['rotated']> | undefined
    t.equal(rotation?.previousRef, stored ? all[0]?.[1].sessionRef : undefined, 'the sessions before and after are known')
    t.strictSame(told(), stored ? ['rotated'] : [])
    if (stored) {
      await new Browser(app, old).get('/read')
      t.strictSame(told(), ['unknown absent'])
      const [first, second, third] = [await open(), await open(), await open()]
      await first.set('a', 1).save()
      await second.set('b', 1).save()
      t.strictSame(told(), ['merged 1'])
      await first.set('_auth_user_id', '8').save()
      t.strictSame(told(), ['merged 1'])
      await t.rejects(second.set('b', 2).save(), { code: 'FST_SESSION_INTERRUPTED' })
      t.strictSame(told(), ['interrupted login'])
      await first.flush()
      t.strictSame(told(), ['ended flush'])
      for (const [work, title] of [
        [() => third.set('c', 1).save(), 'save'],
        [() => third.cycleKey(), 'cycleKey']
      ] as const) {
        await t.rejects(work(), { code: 'FST_SESSION_INTERRUPTED' })
        t.strictSame(told(), ['interrupted deleted'], title)
      }
    } else {
      await visitor.get('/flush')
      t.strictSame(told(), ['ended flush'])
    }

    await new Browser(app, 'short').get('/read')
    t.strictSame(told(), ['unknown malformed'])
    const other = new Browser(app)
    await other.get('/login')
    await other.get('/late')
    while (heard.length < 2) await turn()
    t.strictSame(told(), ['created', 'tooLate'])
    await other.get('/end')
    t.strictSame(told(), ['expired date'])
    await other.get('/login')
    now = new Date(START.getTime() + 86_400_000)
    if (settings.knex !== undefined) await (settings.knex as Knex)('django_session').update({ expire_date: '2031-01-01 00:00:00' })
    await other.get('/read')
    // The others have forgotten it by then.
    const keepsLonger = settings.knex !== undefined || !stored
    t.strictSame(told(), ['created', keepsLonger ? 'expired absolute' : 'unknown absent'])
    await app.sessions.clearExpired()
    t.match(heard[0]?.[1], { engine: String(settings.engine ?? 'db'), batches: Number })
    t.strictSame(told(), ['cleaned'])

    const shown = inspect(all, { depth: 6 }) + JSON.stringify(all)
    for (const secret of [...keys, secretKey, 'the data', 'short']) t.notOk(shown.includes(secret), 'nothing that is secret is shown')
  })
}

t.test('the events of a login and a logout say whose they are, whatever the session was before', async (t) => {
  const { app, login } = await createUserSessionsSite(t, await openDatabase(t, 'sqlite'), { userSessions: false })
  const heard = listen(t, EVENT_NAMES)
  const told = () => heard.splice(0).map(([name, { userId }]) => [name, userId])
  const visitor = new Browser(app)
  await visitor.get('/anonymous')
  t.strictSame(told(), [['created', null]])
  await visitor.get('/login/1')
  t.strictSame(told(), [['rotated', '1']])
  await visitor.get('/login/1')
  t.strictSame(told(), [['rotated', '1']], 'the same user again')
  await visitor.get('/login/2')
  t.strictSame(told(), [
    ['ended', '1'],
    ['created', '2']
  ])
  const tab = visitor.fork()
  await visitor.get('/logout')
  t.strictSame(told(), [['ended', '2']])
  await tab.get('/logout')
  t.strictSame(told(), [['unknown', null]], 'a session that has ended does not end again')
  await login('1')
  t.strictSame(told(), [['created', '1']])
})

t.test('a session whose user id is null belongs to nobody', async (t) => {
  const { app } = await createApp(t, { engine: 'cache', cache: new MemoryCache() })
  const heard = listen(t, ['created'])
  await app.sessions
    .open()
    .set('_auth_user_id' as string, null)
    .save()
  t.match(heard, [['created', { userId: null }]])
})

t.test('forged and damaged sessions are suspicious, wherever they are', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const { app } = await createApp(t, { knex }, addRoutes)
  const signed = await createApp(t, { engine: 'signed_cookies' }, addRoutes)
  const visitor = new Browser(app)
  await visitor.get('/count')
  await knex('django_session').update({ session_data: 'forged' })
  const heard = listen(t, EVENT_NAMES)
  await visitor.get('/read')
  await new Browser(signed.app, 'a:forged:cookie').get('/read')
  t.strictSame(drain(heard), ['suspicious', 'suspicious'])
})

t.test("a conflict with onConflict: 'reject' is an interruption", async (t) => {
  const { app } = await createApp(t, { engine: 'cache', cache: new MemoryCache(), onConflict: 'reject' })
  const session = app.sessions.open().set('a', 0)
  await session.save()
  const other = await app.sessions.open(session.sessionKey).load()
  await session.set('a', 1).save()
  const heard = listen(t, EVENT_NAMES)
  await t.rejects(other.set('a', 2).save(), { code: 'FST_SESSION_INTERRUPTED' })
  t.strictSame(drain(heard), ['interrupted conflict'])
})

for (const [name, { skip, options }] of Object.entries(engines)) {
  t.test(`operations are traced, without keys and data: ${name}`, { skip: skip ?? false }, async (t) => {
    let now = START
    const { app } = await createApp(t, { ...(await options(t)), clock: () => now, secretKey })
    const heard = listen(
      t,
      OPERATIONS.flatMap((operation) => ['start', 'asyncEnd', 'error'].map((phase) => `${operation}:${phase}`))
    )
    const session = app.sessions.open().set('private', 'the data')
    await session.save()
    const keys = [session.sessionKey as string]
    const other = await app.sessions.open(session.sessionKey).load()
    await app.sessions.open('unknownkeyunknownkeyunknownkey12').load()
    now = new Date(START.getTime() + 1000)
    await other.set('a', 1).save()
    keys.push(other.sessionKey as string)
    await other.cycleKey()
    keys.push(other.sessionKey as string)
    await other.flush()
    const ends = heard.filter(([phase]) => phase.endsWith(':asyncEnd')).map(([, operation]) => operation as unknown as SessionOperation)
    const isSigned = name === 'signed_cookies'
    t.strictSame(
      ends.map(({ operation, outcome }) => `${operation} ${outcome}`),
      ['create created', 'load found', isSigned ? 'load failed' : 'load unknown', 'save saved', 'rotate rotated', 'delete deleted']
    )
    t.equal(heard.filter(([phase]) => phase.endsWith(':start')).length, 6)
    t.equal(heard.filter(([phase]) => phase.endsWith(':error')).length, isSigned ? 1 : 0)
    for (const { engine, sessionRef, attempts, batchSize, waited, milliseconds } of ends) {
      t.equal(engine, name.replace(/ .*/, ''))
      t.match(sessionRef, /^[0-9a-f]{12}$/)
      if (name !== 'cached_db') t.equal(attempts > 0, name.startsWith('db'), 'statements of a database are counted')
      t.ok(batchSize === 1 && waited >= 0 && milliseconds >= waited)
    }
    t.equal(ends[0]?.sessionRef, ends[1]?.sessionRef, 'a session has one name')
    const shown = inspect(heard, { depth: 6 }) + JSON.stringify(heard)
    for (const secret of [...keys, secretKey, 'the data']) t.notOk(shown.includes(secret), 'nothing that is secret is shown')
  })
}

t.test(
  'operations that leave as one statement know how many they are, and those of a lone call are one',
  { skip: missing('postgres') },
  async (t) => {
    const { app } = await createApp(t, { knex: await openDatabase(t, 'postgres'), verify: false })
    const opened = await Promise.all(
      Array.from({ length: 10 }, async () => {
        const session = app.sessions.open().set('a', 1)
        await session.save()
        return app.sessions.open(session.sessionKey)
      })
    )
    const heard = listen(t, ['load:asyncEnd', 'batch:start', 'batch:asyncEnd'])
    await Promise.all(opened.map((session) => session.load()))
    const operations = heard.filter(([phase]) => phase === 'load:asyncEnd').map(([, operation]) => operation as unknown as SessionOperation)
    t.strictSame(
      operations.map(({ batchSize, attempts }) => [batchSize, attempts]),
      Array.from({ length: 10 }, () => [10, 1])
    )
    const batches = heard.filter(([phase]) => phase.startsWith('batch')).map(([, batch]) => batch as unknown as SessionBatch)
    t.strictSame(
      batches.map(({ operations }) => operations.length),
      [10, 10]
    )
    t.ok(
      operations.every((operation) => batches[0]?.operations.includes(operation)),
      'the batch names each of them'
    )
    heard.splice(0)
    await app.sessions.open(opened[0]?.sessionKey).load()
    t.match(heard, [['load:asyncEnd', { batchSize: 1, attempts: 1 }]])
  }
)

for (const name of databases) {
  t.test(`statements of the table of user sessions are no attempts: ${name}`, { skip: missing(name) }, async (t) => {
    const { login } = await createUserSessionsSite(t, await openUserSessions(t, name))
    const browser = await login('1')
    const heard = listen(t, ['rotate:asyncEnd', 'delete:asyncEnd'])
    await browser.get('/login/1')
    await browser.get('/logout')
    t.strictSame(
      heard.map(([, { operation, attempts }]) => [operation, attempts]),
      [
        ['rotate', 1],
        ['delete', 1]
      ]
    )
  })
}

t.test('attempts on a locked row are counted, and the wait for it', { skip: missing('postgres') }, async (t) => {
  const knex = await openDatabase(t, 'postgres')
  const { app } = await createApp(t, { knex, storeTimeout: 60 })
  const session = app.sessions.open().set('a', 1)
  await session.save()
  const rival = createKnex(knex.client.config)
  t.teardown(() => rival.destroy())
  const transaction = await rival.transaction()
  await transaction('django_session').select().forUpdate()
  const heard = listen(t, ['delete:start'])
  const flush = session.flush()
  const operation = () => heard[0]?.[1] as unknown as SessionOperation
  while (!(operation()?.attempts >= 3)) await turn()
  await transaction.rollback()
  await flush
  t.match(operation(), { outcome: 'deleted' })
  t.ok(operation().waited > 0 && operation().milliseconds >= operation().waited)
})

t.test('a logout ends a session that cannot be loaded in time for its event', { skip: missing('postgres') }, async (t) => {
  const knex = await openDatabase(t, 'postgres')
  const { app, login } = await createUserSessionsSite(t, knex, { userSessions: false, storeTimeout: 2 })
  const browser = await login('1')
  const { cookie } = browser
  const heard = listen(t, ['ended'])
  const lock = await knex.transaction()
  await lock.raw('LOCK TABLE django_session')
  const queries = recordQueries(knex)
  const logout = browser.get('/logout')
  let hasEnded = false
  logout.finally(() => {
    hasEnded = true
  })
  while (!hasEnded && !queries.some((sql) => sql.includes('DELETE'))) await turn()
  await lock.rollback()
  t.equal((await logout).statusCode, 200)
  t.equal(browser.cookie, null)
  t.equal(await app.sessions.model.find(cookie as string), null)
  t.match(heard, [['ended', { reason: 'flush', userId: null }]])
})

t.test('a failure of the store is an error and an outcome', async (t) => {
  const cache = new MemoryCache()
  const { app } = await createApp(t, { engine: 'cache', cache, storeTimeout: 60 })
  const heard = listen(t, ['load:error', 'load:asyncEnd'])
  cache.get = () => {
    throw new Error('out of order')
  }
  await t.rejects(app.sessions.open('a'.repeat(32)).load(), { code: 'FST_SESSION_STORE_UNAVAILABLE' })
  t.match(heard, [
    ['load:error', { error: { code: 'FST_SESSION_STORE_UNAVAILABLE' } }],
    ['load:asyncEnd', { outcome: 'failed' }]
  ])
})

t.test('a request in a batch keeps its own async context', { skip: missing('postgres') }, async (t) => {
  const { app } = await createApp(t, { knex: await openDatabase(t, 'postgres') }, addRoutes)
  const [first, second] = [new Browser(app), new Browser(app)]
  await Promise.all([first.get('/count'), second.get('/count')])
  const urls: unknown[] = []
  const hear = (event: unknown) => urls.push((event as { request: { url: string } }).request.url)
  channel('fastify-django-sessions:ended').subscribe(hear)
  t.teardown(() => channel('fastify-django-sessions:ended').unsubscribe(hear))
  await Promise.all([first.get('/flush?1'), second.get('/flush?2')])
  t.strictSame(urls.sort(), ['/flush?1', '/flush?2'])
})

t.test('sessions that others end are told once each, and by whom', async (t) => {
  const knex = await openUserSessions(t, 'sqlite')
  const { app, login } = await createUserSessionsSite(t, knex, {}, { maxSessions: { of: 3, then: 'endOldest' } })
  for (let times = 0; times < 3; times++) await login('1')
  const heard = listen(t, ['created', 'ended', 'evicted'])
  const visitor = await login('1')
  t.match(heard, [
    ['created', { userId: '1' }],
    ['evicted', { userId: '1', request: { url: '/login/1' } }]
  ])
  drain(heard)
  const other = (await sessionsOf(visitor)).find(({ isCurrent }) => !isCurrent)
  await visitor.get(`/end/${other?.id}`)
  t.match(heard, [['ended', { reason: 'revoked', userId: '1', request: { url: `/end/${other?.id}` } }]])
  drain(heard)
  t.equal(await app.sessions.ofUser('1').endAll(), 2)
  t.match(heard, [
    ['ended', { reason: 'revoked', request: null }],
    ['ended', { reason: 'revoked', request: null }]
  ])
  t.equal(new Set(heard.map(([, { sessionRef }]) => sessionRef)).size, 2)
})
