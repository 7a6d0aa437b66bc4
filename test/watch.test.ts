/** What outlives its request is told when its session ends: `app.sessions.watch()`. */
import { once } from 'node:events'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import createKnex from 'knex'
import t, { type Test } from 'tap'
import { MemoryCache } from '../lib/caches/memory.ts'
import type { Session, SessionOptions } from '../lib/index.ts'
import { Watches } from '../lib/session/watches.ts'
import { resolveSettings } from '../lib/settings/settings.ts'
import { alive } from './fixtures/alive.ts'
import { createApp, gate, secretKey } from './fixtures/app.ts'
import { databases, missing, openDatabase, recordQueries } from './fixtures/databases.ts'
import { createCodec } from './fixtures/engines.ts'
import { privateFolder } from './fixtures/folders.ts'
import { createSite, openUserSessions } from './fixtures/user-sessions.ts'

const ENDED = { code: 'FST_SESSION_ENDED', message: 'The session has ended, or has another key' }
const OTHER_USER = { code: 'FST_SESSION_ENDED', message: 'The session has another user' }

/** What ends a watch, and how it says so. */
const ends: Record<string, [end: (session: Session) => Promise<unknown>, reason: typeof ENDED]> = {
  'a logout': [(session) => session.flush(), ENDED],
  'a new key': [(session) => session.cycleKey(), ENDED],
  'another user': [(session) => session.set('_auth_user_id', '8').save(), OTHER_USER],
  'another backend': [(session) => session.set('_auth_user_backend', 'other').save(), OTHER_USER],
  'nobody any more': [(session) => session.clear().save(), OTHER_USER]
}

async function login(app: { sessions: { open(): Session } }): Promise<Session> {
  const session = app.sessions.open().update({ _auth_user_id: '7', _auth_user_backend: 'ours' })
  await session.save()
  return session
}

async function aborted(signal: AbortSignal | undefined): Promise<void> {
  if (signal?.aborted === false) await alive(once(signal, 'abort'))
}

/** Long enough for nothing but this process to be noticed. */
const HOUR = { every: 3600 }

const engines: Record<string, (t: Test) => Promise<Partial<SessionOptions>>> = {
  db: async (t) => ({ knex: await openDatabase(t, 'sqlite') }),
  cached_db: async (t) => ({ engine: 'cached_db', cache: new MemoryCache(), knex: await openDatabase(t, 'sqlite') }),
  cache: async () => ({ engine: 'cache', cache: new MemoryCache() }),
  file: async (t) => ({ engine: 'file', filePath: privateFolder(t) })
}

for (const [name, options] of Object.entries(engines)) {
  t.test(`what this process does to a session is known at once: ${name}`, async (t) => {
    const { app } = await createApp(t, await options(t))
    for (const [title, [end, reason]] of Object.entries(ends)) {
      const session = await login(app)
      const [signal, twin] = [app.sessions.watch(session, HOUR), app.sessions.watch(session, HOUR)]
      const other = app.sessions.watch(await login(app), HOUR)
      await (await app.sessions.open(session.sessionKey).load()).set('cart', 1).save()
      t.equal(signal.aborted, false, 'a change of something else is none')
      await end(await app.sessions.open(session.sessionKey).load())
      t.match(signal.reason, reason, title)
      t.match(twin.reason, reason, title)
      t.equal(other.aborted, false, "another one's session goes on")
    }
  })

  t.test(`what another process does is known soon: ${name}`, async (t) => {
    const shared = await options(t)
    const [here, there] = [await createApp(t, shared), await createApp(t, shared)]
    for (const [title, [end, reason]] of Object.entries(ends)) {
      const session = await login(here.app)
      const signal = here.app.sessions.watch(session, { every: 0.02 })
      await (await there.app.sessions.open(session.sessionKey).load()).set('cart', 1).save()
      await end(await there.app.sessions.open(session.sessionKey).load())
      await aborted(signal)
      t.match(signal.reason, reason, title)
    }
  })
}

t.test('a session that is ended in the list of a user’s sessions is known at once', async (t) => {
  const { app, login } = await createSite(t, await openUserSessions(t, 'sqlite'))
  const watched = async () => app.sessions.watch(await app.sessions.open((await login('1')).cookie).load(), HOUR)
  const ofUser = app.sessions.ofUser('1')
  const one = await watched()
  await ofUser.end((await ofUser.list())[0]?.id ?? 0)
  t.match(one.reason, ENDED)
  const all = [await watched(), await watched()]
  await ofUser.endAll()
  for (const { reason } of all) t.match(reason, ENDED)
})

for (const name of databases) {
  t.test(`all sessions that are watched are looked at by one statement: ${name}`, { skip: missing(name) }, async (t) => {
    const knex = await openDatabase(t, name)
    const { app } = await createApp(t, { knex, verify: false })
    const watched = await Promise.all(Array.from({ length: 40 }, () => login(app)))
    const queries = recordQueries(knex)
    const signals = watched.map((session) => app.sessions.watch(session, { every: 0.02 }))
    // Not through the Knex instance that is recorded.
    const django = createKnex(knex.client.config)
    t.teardown(() => django.destroy())
    await django('django_session').where({ session_key: watched[7]?.sessionKey }).delete()
    await aborted(signals[7])
    t.strictSame(
      signals.map(({ aborted }) => aborted),
      signals.map((_signal, index) => index === 7)
    )
    const selects = queries.filter((sql) => /SELECT/.test(sql))
    t.ok(selects.length > 0 && selects.every((sql) => sql.includes('session_key IN (')), 'not one by one')
    t.equal(queries.filter((sql) => /UPDATE|INSERT|DELETE/.test(sql)).length, 0, 'and nothing is renewed')
  })
}

t.test('an end that comes by itself is noticed: idle, absolute, and a row that nobody can read', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  let now = new Date('2030-01-01T00:00:00Z')
  const { app } = await createApp(t, { knex, clock: () => now, timeouts: { idle: 100, absolute: 150 } })
  const every = { every: 0.02 }
  const idle = app.sessions.watch(await login(app), every)
  const long = await login(app)
  const absolute = app.sessions.watch(long, every)
  const forged = await login(app)
  const unreadable = app.sessions.watch(forged, every)
  await knex('django_session').where({ session_key: long.sessionKey }).update({ expire_date: '2031-01-01 00:00:00.000000' })
  await knex('django_session').where({ session_key: forged.sessionKey }).update({ session_data: 'forged' })
  await aborted(unreadable)
  t.match(unreadable.reason, OTHER_USER)
  now = new Date('2030-01-01T00:01:40Z')
  await aborted(idle)
  t.match([idle.reason, absolute.aborted], [ENDED, false])
  now = new Date('2030-01-01T00:02:30Z')
  await aborted(absolute)
  t.match(absolute.reason, ENDED)
})

t.test('a session that cannot be read has ended, and keeps no other one from being looked at', async (t) => {
  const filePath = privateFolder(t)
  const { app } = await createApp(t, { engine: 'file', filePath, maxSize: 1000 })
  const [damaged, ended, live] = [await login(app), await login(app), await login(app)]
  const signals = [damaged, ended, live].map((session) => app.sessions.watch(session, { every: 0.01 }))
  await writeFile(join(filePath, `sessionid${damaged.sessionKey}`), 'x'.repeat(100_000))
  await rm(join(filePath, `sessionid${ended.sessionKey}`))
  for (const signal of signals.slice(0, 2)) await aborted(signal)
  t.match([signals[0]?.reason, signals[1]?.reason], [ENDED, ENDED])
  t.notOk(signals[2]?.aborted)
})

t.test('a store that fails is logged once and asked again, and aborts nothing', async (t) => {
  const cache = new MemoryCache()
  const { app, logs } = await createApp(t, { engine: 'cache', cache })
  const session = await login(app)
  const signal = app.sessions.watch(session, { every: 0.01 })
  const { get } = cache
  const failures: (() => void)[] = []
  let failed = 0
  cache.get = async () => {
    failed++
    for (const seen of failures.splice(0)) seen()
    throw new Error('out of order')
  }
  // Each look asks twice.
  while (failed < 6) await alive(new Promise<void>((resolve) => failures.push(resolve)))
  t.equal(signal.aborted, false)
  t.equal(logs.filter(({ msg }) => msg === 'The watched sessions could not be checked: trying again').length, 1)
  cache.get = get
  await cache.delete(`fastify:django.contrib.sessions.cache:${session.sessionKey}`)
  await aborted(signal)
  t.match(signal.reason, ENDED)
})

t.test('a watch ends with its signal, and with the application', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const { app } = await createApp(t, { knex, verify: false })
  const session = await login(app)
  const socket = new AbortController()
  const [closed, open] = [app.sessions.watch(session, { ...HOUR, signal: socket.signal }), app.sessions.watch(session, HOUR)]
  const late = app.sessions.watch(session, { signal: AbortSignal.abort() })
  socket.abort()
  await app.close()
  const queries = recordQueries(knex)
  const CLOSING = { name: 'AbortError', message: 'The application is closing' }
  t.match(open.reason, CLOSING)
  t.match(app.sessions.watch(session, { every: 0.01 }).reason, CLOSING)
  await session.flush()
  for (const signal of [closed, late]) t.equal(signal.aborted, false, 'nothing is told any more')
  t.equal(queries.filter((sql) => sql.includes(' IN (')).length, 0)
})

t.test('a session that is not there, not loaded, or a cookie by itself, is not watched', async (t) => {
  const { app } = await createApp(t, { engine: 'cache', cache: new MemoryCache() })
  t.match(app.sessions.watch(await app.sessions.open('unknown'.repeat(4)).load()).reason, ENDED)
  t.throws(() => app.sessions.watch(app.sessions.open('unknown'.repeat(4))), {
    name: 'TypeError',
    message: 'watch(session): expected a session that is loaded: await session.load() first'
  })
  const session = await login(app)
  for (const options of [{ every: 0 }, { every: '30s' }, { signal: {} }, { timeout: 1 }]) {
    t.throws(() => app.sessions.watch(session, options as never), { code: 'FST_SESSION_INVALID_OPTIONS' }, JSON.stringify(options))
  }
  const signed = await createApp(t, { engine: 'signed_cookies' })
  const cookie = await signed.app.sessions.open().load()
  t.throws(() => signed.app.sessions.watch(cookie), { code: 'FST_SESSION_INVALID_OPTIONS', message: /signed_cookies/ })
})

t.test('new watches do not put off the next look, and one that allows less time brings it forward', async (t) => {
  const sleeps: number[] = []
  const { reached, pass, open } = gate()
  const context = {
    codec: createCodec(),
    settings: resolveSettings({ secretKey, engine: 'signed_cookies' }),
    log: { debug() {}, warn() {} }
  }
  const looks: string[][] = []
  const watches = new Watches({
    context,
    find: async (keys) => {
      looks.push([...keys])
      return new Map()
    },
    sleep: (milliseconds, signal) => {
      sleeps.push(milliseconds)
      return new Promise((resolve, reject) => {
        signal.addEventListener('abort', reject)
        if (milliseconds === 1000) pass().then(resolve)
      })
    }
  })
  const members = new Map()
  for (const key of ['a', 'b', 'c']) watches.add(key, members, 30)
  t.strictSame(sleeps, [30_000])
  watches.add('d', members, 1)
  await reached
  t.strictSame(sleeps, [30_000, 1000])
  for (const key of ['e', 'f']) watches.add(key, members, 30)
  open()
  while (looks.length === 0) await turn()
  t.strictSame([sleeps, looks], [[30_000, 1000], [['a', 'b', 'c', 'd', 'e', 'f']]], 'all are looked at together')
  await watches.close()
})
