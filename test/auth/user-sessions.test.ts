import { setImmediate } from 'node:timers/promises'
import type { FastifyRequest } from 'fastify'
import Keyv from 'keyv'
import type { Knex } from 'knex'
import t from 'tap'
import { type AuthUser, createAuth } from '../../lib/auth/index.ts'
import { KeyvCache, MemoryCache, type SessionOptions } from '../../lib/index.ts'
import { Browser, createApp, gate, memorySettings, warnings } from '../fixtures/app.ts'
import { databases, missing, openDatabase, recordQueries } from '../fixtures/databases.ts'
import { djangoLogin } from '../fixtures/login-site.ts'
import { createSite, entryKeys, openUserSessions, type Site, sessionsOf, TABLE } from '../fixtures/user-sessions.ts'

/** A session that a Django without django-allauth has signed in. */
async function loginInDjango({ app, users }: Site, id: string): Promise<Browser> {
  const session = app.sessions.open().update(djangoLogin(id, users.get(id)?.password as string))
  await session.save()
  return new Browser(app, session.sessionKey)
}

/** A browser with a cart, in which a user may have signed in, and the data of its session. */
async function withCart(site: Site, id: string | null) {
  const browser = id === null ? new Browser(site.app) : await site.login(id)
  await browser.get('/anonymous')
  return { browser, before: (await browser.get('/read')).json() }
}

const verbs = (queries: string[]) => queries.splice(0).flatMap((sql) => /\b(?:SELECT|INSERT|UPDATE|DELETE)\b/.exec(sql)?.[0] ?? [])

/** Until what is written after a reply is there. */
async function written(knex: Knex, where: object): Promise<void> {
  while ((await knex(TABLE).where(where)).length === 0) await setImmediate()
}

for (const name of databases) {
  t.test(`sessions of the user who is signed in, on ${name}`, { skip: missing(name) }, async (t) => {
    t.test('are listed without their keys, the one of the request is marked, and any of them can be ended', async (t) => {
      const site = await createSite(t, await openUserSessions(t, name))
      const [laptop, phone, other] = [
        await site.login('1', { 'user-agent': 'laptop' }),
        await site.login('1', { 'user-agent': 'phone' }),
        await site.login('2')
      ]
      const keys = [laptop, phone, other].map(({ cookie }) => cookie as string)
      const response = await laptop.get('/sessions')
      t.notOk(
        keys.some((key) => response.body.includes(key)),
        'no key leaves the server'
      )
      t.match(response.json(), [
        { userAgent: 'phone', ip: '127.0.0.1', isCurrent: false },
        { userAgent: 'laptop', ip: '127.0.0.1', isCurrent: true }
      ])
      t.strictSame(Object.keys(response.json()[0]).sort(), ['createdAt', 'endsAt', 'id', 'ip', 'isCurrent', 'lastSeenAt', 'userAgent'])
      t.strictSame(await sessionsOf(new Browser(site.app)), [], 'nobody is signed in')

      const [phones, laptops] = response.json()
      const [others] = await sessionsOf(other)
      t.equal((await laptop.get(`/end/${others?.id}`)).json(), false, "another user's")
      t.equal((await new Browser(site.app).get(`/end/${phones.id}`)).json(), false, 'nobody is signed in')
      for (const id of ['x', '-1', '1e9', '%00', '']) t.equal((await laptop.get(`/end/${id}`)).json(), false, id)
      t.strictSame((await other.get('/who')).json(), { id: '2' })
      t.equal((await laptop.get(`/end/${phones.id}`)).json(), true)
      t.strictSame((await phone.get('/who')).json(), { id: null })
      t.equal((await laptop.get(`/end/${laptops.id}`)).json(), true)
      t.equal(laptop.cookie, null, 'its own one is signed out')
      t.notOk(
        keys.some((key) => JSON.stringify(site.logs).includes(key)),
        'no key is logged'
      )
    })

    t.test('can all be ended but that of the request, also those from before a new password', async (t) => {
      const knex = await openUserSessions(t, name)
      const site = await createSite(t, knex)
      const [laptop, phone, tablet, other] = [await site.login('1'), await site.login('1'), await site.login('1'), await site.login('2')]
      await laptop.get('/password')
      t.match(await sessionsOf(laptop), [{ isCurrent: true }], 'a session with the old password counts no more')
      t.equal((await sessionsOf(laptop)).length, 1)
      t.equal((await laptop.get('/end-others')).json(), 2)
      for (const { cookie } of [phone, tablet]) t.equal(await site.app.sessions.model.find(cookie as string), null)
      t.strictSame((await laptop.get('/who')).json(), { id: '1' })
      t.strictSame((await other.get('/who')).json(), { id: '2' })
      t.equal((await laptop.get('/end-others')).json(), 0)
      t.equal((await new Browser(site.app).get('/end-others')).json(), 0)
      t.strictSame(await entryKeys(knex), [laptop.cookie, other.cookie].sort())
    })

    t.test('keep the time of the login when their key changes', async (t) => {
      const knex = await openUserSessions(t, name)
      let now = Date.UTC(2026, 10, 28, 12)
      const site = await createSite(t, knex, { clock: () => new Date(now) })
      const browser = await site.login('1')
      const [before] = await sessionsOf(browser)
      now += 3_600_000
      for (const path of ['/rotate', '/password', '/login/1']) {
        const { cookie } = browser
        await browser.get(path)
        t.not(browser.cookie, cookie, `${path} gives a new key`)
        const list = await sessionsOf(browser)
        t.strictSame(
          list.map(({ id, createdAt }) => [id, createdAt]),
          [[before?.id, '2026-11-28T12:00:00.000Z']],
          path
        )
      }
    })

    t.test('go with a logout, and a session that is rotated before its login is entered once', async (t) => {
      const knex = await openUserSessions(t, name)
      const site = await createSite(t, knex)
      const browser = new Browser(site.app)
      await browser.get('/anonymous')
      await browser.get('/login/1')
      t.strictSame(await entryKeys(knex), [browser.cookie])
      await browser.get('/logout')
      t.strictSame(await entryKeys(knex), [])
    })

    t.test('that Django signed in without django-allauth are entered at their first request here', async (t) => {
      const knex = await openUserSessions(t, name)
      const site = await createSite(t, knex)
      const browser = await loginInDjango(site, '1')
      await browser.get('/read')
      t.strictSame(await entryKeys(knex), [], 'a request that asks for no user enters nothing')
      await browser.get('/who', { 'user-agent': 'laptop' })
      await written(knex, { session_key: browser.cookie, user_id: '1', user_agent: 'laptop' })
      const another = await loginInDjango(site, '1')
      t.match(await sessionsOf(another), [{ isCurrent: true }, { isCurrent: false, userAgent: 'laptop' }], 'the list knows its own at once')
    })

    t.test('whose entry is lost, or says another user, are listed all the same, and put right', async (t) => {
      const knex = await openUserSessions(t, name)
      const site = await createSite(t, knex)
      const browser = await site.login('1')
      await knex(TABLE).update({ user_id: 2 })
      t.match(await sessionsOf(await site.login('2')), { length: 1 }, 'not among those of the other user')
      t.match(await sessionsOf(browser), [{ isCurrent: true }])
      await knex(TABLE).del()
      t.match(await sessionsOf(browser), [{ isCurrent: true }])
      t.strictSame(
        await knex(TABLE)
          .where({ session_key: browser.cookie })
          .pluck('user_id')
          .then((ids) => ids.map(String)),
        ['1']
      )
    })

    t.test('are noted as seen every five minutes, and a request in between costs no statement more', async (t) => {
      const knex = await openUserSessions(t, name)
      let now = Date.UTC(2026, 10, 28, 12)
      const site = await createSite(t, knex, { clock: () => new Date(now) })
      const browser = await site.login('1', { 'user-agent': 'old' })
      const queries = recordQueries(knex)
      now += 299_000
      await browser.get('/who', { 'user-agent': 'new' })
      t.strictSame(verbs(queries), ['SELECT'], 'not due')
      now += 1000
      await browser.get('/who', { 'user-agent': 'new' })
      await written(knex, { user_agent: 'new' })
      queries.length = 0
      await browser.get('/who')
      t.strictSame(verbs(queries), ['SELECT'])
      t.match(await sessionsOf(browser), [
        { createdAt: '2026-11-28T12:00:00.000Z', lastSeenAt: '2026-11-28T12:05:00.000Z', userAgent: 'new' }
      ])
    })

    t.test('are limited for users whose ids are any text', async (t) => {
      const site = await createSite(t, await openUserSessions(t, name, 'text'), {}, { maxSessions: { of: 1, then: 'endOldest' } })
      for (const id of ['😀', "l'été", '%', '\\']) {
        site.users.set(id, { id, password: 'a hash' })
        const [first, second] = [await site.login(encodeURIComponent(id)), await site.login(encodeURIComponent(id))]
        t.strictSame((await second.get('/who')).json(), { id })
        t.strictSame((await first.get('/who')).json(), { id: null })
      }
    })

    t.test('are as many as the limit allows after fifty logins at once', async (t) => {
      const knex = await openUserSessions(t, name)
      // Each login waits for those before it, on a loaded machine for longer than the default allows.
      const patient = { storeTimeout: 60 }
      const ending = await createSite(t, knex, patient, { maxSessions: { of: 5, then: 'endOldest' } })
      const browsers = await Promise.all(Array.from({ length: 50 }, () => ending.login('1')))
      t.ok(browsers.every(({ cookie }) => cookie !== null))
      const live = await knex('django_session').pluck('session_key')
      t.equal(live.length, 5)
      t.strictSame(await entryKeys(knex), live.sort())

      const refusing = await createSite(t, knex, patient, { maxSessions: { of: ({ id }) => (id === '2' ? 5 : 1), then: 'refuse' } })
      const refused = await Promise.all(Array.from({ length: 50 }, () => refusing.login('2')))
      t.equal(refused.filter(({ cookie }) => cookie !== null).length, 5)
      t.equal((await refusing.app.sessions.ofUser(2).list()).length, 5)
    })
  })
}

for (const name of ['postgres', 'mariadb'] as const) {
  t.test(`a session whose key changes while the others are ended goes on, on ${name}`, { skip: missing(name) }, async (t) => {
    const knex = await openUserSessions(t, name)
    const site = await createSite(t, knex)
    const [laptop, phone] = [await site.login('1'), await site.login('1')]
    const tab = laptop.fork()
    const lock = await knex.transaction()
    await lock('django_session').where({ session_key: phone.cookie }).forUpdate()
    const queries = recordQueries(knex)
    const ending = laptop.get('/end-others')
    // It has seen both sessions, and waits for the phone's.
    while (!queries.some((sql) => /NOWAIT|lock_wait/.test(sql))) await setImmediate()
    await tab.get('/rotate')
    await lock.rollback()
    t.equal((await ending).json(), 1)
    t.strictSame((await tab.get('/who')).json(), { id: '1' })
    t.strictSame((await phone.get('/who')).json(), { id: null })
  })
}

t.test('a login beyond the limit ends the session that was used longest ago, or is refused and changes nothing', async (t) => {
  const knex = await openUserSessions(t, 'sqlite')
  let now = Date.UTC(2026, 10, 28, 12)
  const clock = () => new Date(now)
  const ending = await createSite(t, knex, { clock }, { maxSessions: { of: 2, then: 'endOldest' } })
  const [first, second] = [await ending.login('1'), await ending.login('1')]
  now += 600_000
  await first.get('/who')
  await written(knex, { last_seen_at: '2026-11-28 12:10:00.000000' })
  await second.get('/login/1')
  t.equal((await sessionsOf(second)).length, 2, 'who signs in again needs no room')
  now += 600_000
  const third = await ending.login('1')
  const states = await Promise.all([first, second, third].map(async (browser) => (await browser.get('/who')).json().id))
  t.strictSame(states, [null, '1', '1'])

  const refusing = await createSite(t, knex, { clock }, { maxSessions: { of: 2, then: 'refuse' } })
  const visitor = new Browser(refusing.app)
  await visitor.get('/anonymous')
  const { cookie } = visitor
  const response = await visitor.get('/login/1')
  t.match([response.statusCode, response.json().code], [403, 'FST_SESSION_TOO_MANY_SESSIONS'])
  t.equal(visitor.cookie, cookie)
  t.strictSame((await visitor.get('/read')).json(), { cart: ['tea'] })
  t.equal((await third.get('/login/1')).statusCode, 200, 'who signs in again needs no room')
  await third.get('/logout')
  t.equal((await visitor.get('/login/1')).statusCode, 200)
})

for (const visitorId of [null, '2']) {
  const visitor = visitorId === null ? 'an anonymous visitor' : 'another user'

  t.test(`a login of ${visitor} that another login overtakes is refused, and the session keeps its data`, async (t) => {
    const knex = await openUserSessions(t, 'sqlite')
    const { reached, pass, open } = gate()
    const onLogin = (_: AuthUser, { headers }: FastifyRequest) => (headers['user-agent'] === 'slow' ? pass() : undefined)
    const site = await createSite(t, knex, {}, { maxSessions: { of: 1, then: 'refuse' }, onLogin })
    const { browser, before } = await withCart(site, visitorId)
    const slow = browser.get('/login/1', { 'user-agent': 'slow' })
    await reached
    const winner = await site.login('1')
    open()
    t.match((await slow).json(), { statusCode: 403, code: 'FST_SESSION_TOO_MANY_SESSIONS' })
    t.strictSame((await browser.get('/read')).json(), before)
    t.strictSame((await browser.get('/who')).json(), { id: visitorId })
    t.strictSame((await winner.get('/who')).json(), { id: '1' })
    t.equal((await knex('django_session')).length, 2, 'no session of the refused login is left')
  })

  t.test(`a login of ${visitor} that cannot be entered fails, and the session keeps its data`, async (t) => {
    const knex = await openUserSessions(t, 'sqlite')
    const site = await createSite(t, knex, {}, { maxSessions: { of: 1, then: 'endOldest' } })
    const { browser, before } = await withCart(site, visitorId)
    await knex.schema.renameTable(TABLE, 'away')
    t.equal((await browser.get('/login/1')).statusCode, 500)
    t.strictSame((await browser.get('/read')).json(), before)
    t.strictSame((await browser.get('/who')).json(), { id: visitorId })
  })
}

for (const [how, end] of [
  ['in another tab', (_: Site, browser: Browser) => browser.fork().get('/logout')],
  ['by an administrator', ({ app }: Site) => app.sessions.ofUser('2').endAll()]
] as const) {
  t.test(`a login that is refused brings nothing back that was ended meanwhile, ${how}`, { skip: missing('postgres') }, async (t) => {
    const knex = await openUserSessions(t, 'postgres')
    const site = await createSite(t, knex, {}, { maxSessions: { of: 1, then: 'refuse' } })
    const unlimited = await createSite(t, knex)
    const { browser } = await withCart(site, '2')
    const lock = await knex.transaction()
    await lock.raw('SELECT pg_advisory_xact_lock(hashtext(?))', [`${TABLE} 1`])
    const queries = recordQueries(knex)
    const login = browser.get('/login/1')
    while (!queries.some((sql) => sql.includes('pg_try_advisory'))) await setImmediate()
    await end(site, browser)
    const winner = await unlimited.login('1')
    await lock.rollback()
    t.match((await login).json(), { code: 'FST_SESSION_TOO_MANY_SESSIONS' })
    t.strictSame((await browser.get('/read')).json(), {})
    t.strictSame(await knex('django_session').pluck('session_key'), [winner.cookie])
    t.strictSame(await entryKeys(knex), [winner.cookie])
  })
}

t.test('a login that fails signs nobody in, whatever else fails and whatever the handler does', async (t) => {
  const knex = await openUserSessions(t, 'sqlite')
  const failOn = (event: string, table: string) =>
    knex.raw(`CREATE TRIGGER failing_${event} BEFORE ${event} ON ${table} BEGIN SELECT RAISE(ABORT, 'refused'); END`)
  const stopFailing = (event: string) => knex.raw(`DROP TRIGGER failing_${event}`)
  const { app, auth, users } = await createSite(t, knex, {}, { maxSessions: { of: 1, then: 'endOldest' } })
  app.get('/try', async (request) => {
    const error = await auth.login(request, users.get('1') as AuthUser).catch((error) => error)
    await stopFailing('INSERT')
    return { code: error.code }
  })
  const visitor = new Browser(app)

  await failOn('INSERT', 'django_session')
  t.strictSame(
    (await visitor.get('/try')).json(),
    { code: 'FST_SESSION_STORE_REFUSED' },
    'its session is not stored, and the handler goes on'
  )
  t.strictSame((await visitor.get('/who')).json(), { id: null })

  await failOn('INSERT', TABLE)
  await failOn('DELETE', 'django_session')
  const before = visitor.cookie
  t.equal((await visitor.get('/login/1')).statusCode, 500, 'its session is stored, not entered, and cannot be deleted')
  t.equal(visitor.cookie, before, 'the browser gets no key of it')
})

t.test('ending the session of the request is a logout, of which onLogout knows, and ending another is none', async (t) => {
  const users: unknown[] = []
  const site = await createSite(t, await openUserSessions(t, 'sqlite'), {}, { onLogout: (user) => users.push(user?.id) })
  const [laptop] = [await site.login('1'), await site.login('1')]
  const [phones, laptops] = await sessionsOf(laptop)
  await laptop.get(`/end/${phones?.id}`)
  t.strictSame(users, [])
  t.equal((await laptop.get(`/end/${laptops?.id}`)).json(), true)
  t.strictSame(users, ['1'])
  t.equal(laptop.cookie, null)
})

t.test('what is stored of a visitor is what the option says', async (t) => {
  const knex = await openUserSessions(t, 'sqlite')
  const site = await createSite(t, knex, { userSessions: { ip: false, userAgent: false } })
  const browser = await site.login('1', { 'user-agent': 'laptop' })
  t.match(await sessionsOf(browser), [{ ip: null, userAgent: null }])
  t.match(await knex(TABLE), [{ ip: '0.0.0.0', user_agent: '' }])
  const prefix = await createSite(t, knex, { userSessions: { ip: 'prefix' } })
  t.match(await sessionsOf(await prefix.login('2', { 'user-agent': `${'x'.repeat(10_000)}` })), [
    { ip: '127.0.0.0', userAgent: 'x'.repeat(200) }
  ])
})

t.test('an ended session is gone from the caches too', async (t) => {
  const knex = await openUserSessions(t, 'sqlite')
  const cache = new MemoryCache()
  const deleted: string[] = []
  const djangoCache = { delete: async (key: string) => deleted.push(key) }
  for (const options of [{ engine: 'cached_db', cache }, { djangoCache }] satisfies Partial<SessionOptions>[]) {
    const site = await createSite(t, knex, options)
    const [first, second, third] = [await site.login('1'), await site.login('1'), await site.login('1')]
    for (const browser of [first, second, third]) t.strictSame((await browser.get('/who')).json(), { id: '1' })
    const [current, other] = await sessionsOf(third)
    t.equal(current?.isCurrent, true)
    await third.get(`/end/${other?.id}`)
    t.strictSame((await second.get('/who')).json(), { id: null })
    t.equal(await site.app.sessions.ofUser(1).endAll(), 2)
    for (const browser of [first, third]) t.strictSame((await browser.get('/who')).json(), { id: null })
    if ('djangoCache' in options) {
      for (const { cookie } of [first, second, third]) {
        t.ok(deleted.includes(`:1:django.contrib.sessions.cached_db${cookie ?? ''}`) || cookie === null)
      }
      t.equal(new Set(deleted).size, 3)
    }
  }
})

t.test('the option is refused where sessions are not in a table, with the reason', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const keyv = new KeyvCache(new Keyv({ throwOnErrors: true }))
  for (const [options, message] of [
    [memorySettings(), /userSessions: expected the engine "db" or "cached_db" with it, got "cache": only in a table/],
    [{ engine: 'file' }, /got "file": only in a table/],
    [{ engine: 'signed_cookies' }, /got "signed_cookies": only in a table/],
    [{ engine: 'cached_db', cache: keyv, knex }, /expected another cache than KeyvCache with it, which has no atomic operations/],
    [{ knex, userSessions: 'yes' }, /userSessions: expected true, false or an object with ip and userAgent, got a string/],
    [{ knex, userSessions: { ip: 'half' } }, /userSessions\.ip: expected "full" or "prefix" or false, got "half"/],
    [{ knex, userSessions: { seenEvery: 1 } }, /userSessions\.seenEvery: unknown option/]
  ] as [Partial<SessionOptions>, RegExp][]) {
    await t.rejects(createApp(t, { userSessions: true, ...options }), { code: 'FST_SESSION_INVALID_OPTIONS', message })
  }
})

t.test('a second table of sessions in the database is refused, and one that it shares is not', async (t) => {
  const knex = await openUserSessions(t, 'sqlite')
  await createSite(t, knex)
  await createSite(t, knex)
  await t.rejects(createSite(t, knex, { tableName: 'admin_session' }), {
    code: 'FST_SESSION_INVALID_OPTIONS',
    message: /tableName: expected "django_session", got "admin_session": userSessions serves the sessions of one table/
  })
  await createSite(t, knex, { tableName: 'admin_session', userSessions: false })
  await createSite(t, await openUserSessions(t, 'sqlite'), { tableName: 'admin_session' })
})

t.test('limits that are none are refused', async (t) => {
  for (const maxSessions of [
    5,
    {},
    { of: 5 },
    { of: 0, then: 'refuse' },
    { of: 1.5, then: 'refuse' },
    { of: 5, then: 'end' },
    { of: 5, then: 'refuse', or: 1 },
    null
  ]) {
    const options = { getUser: () => null, maxSessions } as unknown as Parameters<typeof createAuth>[0]
    t.throws(() => createAuth(options), { code: 'FST_SESSION_INVALID_OPTIONS', message: /maxSessions: expected an object with of/ })
  }
  const knex = await openUserSessions(t, 'sqlite')
  const site = await createSite(t, knex, {}, { maxSessions: { of: () => Number.NaN, then: 'refuse' } })
  const response = await new Browser(site.app).get('/login/1')
  t.match([response.statusCode, response.json().message], [500, /maxSessions\.of to return a whole number from 1, got NaN/])
})

t.test('without the option the functions say so, and nothing else changes', async (t) => {
  const site = await createSite(t, await openDatabase(t, 'sqlite'), { userSessions: false })
  const browser = await site.login('1')
  for (const path of ['/sessions', '/end/1', '/end-others']) {
    t.match((await browser.get(path)).json(), { statusCode: 500, message: /userSessions: expected true or an object/ }, path)
  }
  const limited = await createSite(
    t,
    await openDatabase(t, 'sqlite'),
    { userSessions: false },
    { maxSessions: { of: 1, then: 'endOldest' } }
  )
  t.match((await new Browser(limited.app).get('/login/1')).json(), { statusCode: 500, message: /for maxSessions of createAuth/ })
})

t.test('a missing table is an error at the start, and where that is not verified a warning at each login', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const { app } = await createSite(t, knex)
  await t.rejects(async () => app.ready(), {
    code: 'FST_SESSION_TABLE_MISMATCH',
    message: /no table usersessions_usersession: .+ migrate --user-sessions/
  })

  const site = await createSite(t, knex, { verify: false })
  const browser = await site.login('1')
  t.strictSame((await browser.get('/who')).json(), { id: '1' })
  await browser.get('/rotate')
  t.strictSame((await browser.get('/who')).json(), { id: '1' })
  t.equal((await browser.get('/logout')).statusCode, 200)
  t.ok(warnings(site.logs).length >= 2)
  t.match(warnings(site.logs)[0], { err: { code: 'FST_SESSION_STORE_REFUSED' }, msg: /was not entered in the table of user sessions/ })
  t.equal((await (await site.login('1')).get('/sessions')).json().code, 'FST_SESSION_STORE_REFUSED')
})

t.test('a table that is locked delays a login and fails none', { skip: missing('postgres') }, async (t) => {
  const knex = await openUserSessions(t, 'postgres')
  const site = await createSite(t, knex, { storeTimeout: 0.3 })
  const idle = await site.login('1')
  const lock = await knex.transaction()
  await lock.raw(`LOCK TABLE ${TABLE}`)
  const browser = new Browser(site.app)
  t.equal((await browser.get('/login/1')).statusCode, 200)
  t.strictSame((await browser.get('/who')).json(), { id: '1' })
  t.equal((await idle.get('/logout')).statusCode, 200)
  await lock.rollback()
  t.match(await sessionsOf(browser), [{ isCurrent: true }], 'what was not entered is entered when it is asked for')
  t.equal((await sessionsOf(browser)).length, 1)
})

t.test('entries that are locked delay a list and an ending by seconds, not by storeTimeout', { skip: missing('postgres') }, async (t) => {
  const knex = await openUserSessions(t, 'postgres')
  const site = await createSite(t, knex, { storeTimeout: 600 })
  const browser = await site.login('1')
  await site.login('1')
  const lock = await knex.transaction()
  await lock(TABLE).select().forUpdate()
  t.equal((await sessionsOf(browser)).length, 2)
  t.equal((await browser.get('/end-others')).json(), 1)
  await lock.rollback()
  t.match(await sessionsOf(browser), [{ isCurrent: true }])
  t.equal((await browser.get('/end-others')).json(), 0)
  t.strictSame(await entryKeys(knex), [browser.cookie], 'the next ending puts right what was locked')
})

t.test('clocks that differ by five minutes end and hide nothing', async (t) => {
  const knex = await openUserSessions(t, 'sqlite')
  const sites = await Promise.all(
    [-300_000, 0, 300_000].map((skew) => createSite(t, knex, { cookieAge: 3600, clock: () => new Date(Date.now() + skew) }))
  )
  const keys: unknown[] = []
  for (const site of sites) keys.push((await site.login('1')).cookie)
  for (const site of sites) t.equal((await site.app.sessions.ofUser(1).list()).length, 3)
  // Live for the slow one only.
  await knex('django_session')
    .where({ session_key: keys[0] })
    .update({ expire_date: new Date(Date.now() - 60_000).toISOString().replace('T', ' ').replace('Z', '') })
  t.strictSame(await Promise.all(sites.map(async ({ app }) => (await app.sessions.ofUser(1).list()).length)), [3, 2, 2])
  t.equal((await sites[0]?.app.sessions.ofUser(1).list())?.length, 3, 'the entry is left to the cleanup')
})
