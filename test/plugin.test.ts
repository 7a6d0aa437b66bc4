/** What a response does with the session: django/contrib/sessions/middleware.py, row by row. */
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import sessions, { type SessionOptions } from '../lib/index.ts'
import { addRoutes, Browser, createApp, secretKey } from './fixtures/app.ts'
import { openDatabase, recordQueries } from './fixtures/databases.ts'

async function createSite(t: Test, options: Partial<SessionOptions> = {}) {
  const knex = await openDatabase(t, 'sqlite')
  const { app, logs } = await createApp(t, { knex, ...options }, (app) => {
    app.get('/untouched', async () => 'untouched')
    app.get('/key', async (request) => ({ key: request.session.sessionKey }))
    app.get('/set', async (request) => {
      request.session.set('a', 1)
      return 'set'
    })
    app.get('/clear', async (request) => {
      request.session.clear()
      return 'cleared'
    })
    app.get('/delete', async (request) => {
      request.session.delete('a')
      return 'deleted'
    })
    addRoutes(app)
    app.get<{ Params: { code: string } }>('/status/:code', async (request, reply) => {
      request.session.set('status', request.params.code)
      reply.code(Number(request.params.code))
      return null
    })
    app.get('/throw', async (request) => {
      request.session.set('thrown', true)
      throw new Error('on purpose')
    })
    app.get('/cycle-and-throw', async (request) => {
      await request.session.cycleKey()
      throw new Error('on purpose')
    })
    app.get('/flush-and-throw', async (request) => {
      await request.session.flush()
      throw new Error('on purpose')
    })
    app.get<{ Querystring: { vary: string } }>('/vary', async (request, reply) => {
      reply.header('vary', request.query.vary)
      await request.session.load()
      return 'read'
    })
    app.get<{ Querystring: { seconds: string } }>('/expiry', async (request) => {
      request.session.setExpiry(Number(request.query.seconds))
      return 'set'
    })
  })
  const rows = async () => (await knex('django_session').select()) as { session_key: string; expire_date: string }[]
  return { app, logs, knex, rows, browser: new Browser(app) }
}

t.test('an untouched session leaves no trace, with a cookie or without', async (t) => {
  const { browser, knex } = await createSite(t)
  const queries = recordQueries(knex)
  const anonymous = await browser.get('/untouched')
  t.notOk(anonymous.headers['set-cookie'])
  t.notOk(anonymous.headers.vary)
  await browser.get('/set')
  queries.length = 0
  const known = await browser.get('/untouched')
  t.notOk(known.headers['set-cookie'])
  t.notOk(known.headers.vary)
  t.strictSame(queries, [])
})

t.test('reading session.sessionKey adds no header', async (t) => {
  const { browser } = await createSite(t)
  t.strictSame((await browser.get('/key')).json(), { key: null })
  await browser.get('/set')
  const response = await browser.get('/key')
  t.strictSame(response.json(), { key: browser.cookie })
  t.notOk(response.headers.vary)
})

t.test('reading sets Vary and no cookie', async (t) => {
  const { browser } = await createSite(t)
  for (const before of ['/untouched', '/set']) {
    await browser.get(before)
    const response = await browser.get('/read')
    t.equal(response.headers.vary, 'Cookie')
    t.notOk(response.headers['set-cookie'])
  }
})

t.test('a change sets the cookie with the default attributes of Django', async (t) => {
  const now = new Date('2026-01-02T03:04:05Z')
  const { browser, rows } = await createSite(t, { clock: () => now })
  const response = await browser.get('/set')
  t.match(browser.cookie, /^[a-z0-9]{32}$/)
  t.equal(
    response.headers['set-cookie'],
    `sessionid=${browser.cookie}; Max-Age=1209600; Path=/; Expires=Fri, 16 Jan 2026 03:04:05 GMT; HttpOnly; SameSite=Lax`
  )
  t.equal(response.headers.vary, 'Cookie')
  t.match(await rows(), [{ session_key: browser.cookie, expire_date: /^2026-01-16 03:04:04\.999\d{3}$/ }])
  const again = await browser.get('/set')
  t.match(again.headers['set-cookie'], `sessionid=${browser.cookie};`, 'the same key again')
})

t.test('the cookie has the attributes of the options, and its deletion too', async (t) => {
  const cookie = {
    name: '__Secure-id',
    domain: 'example.org',
    path: '/app',
    secure: true,
    httpOnly: false,
    sameSite: 'none',
    partitioned: true,
    priority: 'high'
  } as const
  const { app } = await createSite(t, { cookie, cookieAge: 300 })
  const set = await app.inject('/set')
  t.match(set.cookies, [
    { name: '__Secure-id', domain: 'example.org', path: '/app', secure: true, sameSite: 'None', partitioned: true, maxAge: 300 }
  ])
  t.match(set.headers['set-cookie'], /Priority=High/)
  t.notMatch(set.headers['set-cookie'], /HttpOnly/)
  const deletion = await app.inject({ url: '/flush', cookies: { '__Secure-id': set.cookies[0]?.value as string } })
  t.equal(
    deletion.headers['set-cookie'],
    '__Secure-id=; Max-Age=0; Domain=example.org; Path=/app; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Secure; Partitioned; Priority=High; SameSite=None'
  )
})

t.test('each cookie has its own key, end and security, whatever the one before it had', async (t) => {
  let now = new Date('2026-01-02T03:04:05.100Z')
  const knex = await openDatabase(t, 'sqlite')
  const { app } = await createApp(
    t,
    { knex, clock: () => now },
    (app) =>
      app.get<{ Querystring: { seconds?: string; until?: string } }>('/', async (request) => {
        const { seconds, until } = request.query
        if (seconds === 'none') await request.session.flush()
        else if (until !== undefined) request.session.setExpiry(new Date(until))
        else request.session.set('a', 1).setExpiry(seconds === undefined ? null : Number(seconds))
        return 'set'
      }),
    { trustProxy: true }
  )
  const cookieOf = async (query: string, headers: Record<string, string> = {}) =>
    String((await app.inject({ url: `/${query}`, headers })).headers['set-cookie'])
  const usual = /^sessionid=[a-z0-9]{32}; Max-Age=1209600; Path=\/; Expires=Fri, 16 Jan 2026 03:04:05 GMT; HttpOnly; SameSite=Lax$/
  const first = await cookieOf('')
  t.match(first, usual)
  const second = await cookieOf('')
  t.match(second, usual)
  t.not(first, second)
  t.match(await cookieOf('?seconds=77'), /^sessionid=[a-z0-9]{32}; Max-Age=77; Path=\/; Expires=Fri, 02 Jan 2026 03:05:22 GMT;/)
  t.match(await cookieOf('?seconds=0'), /^sessionid=[a-z0-9]{32}; Path=\/; HttpOnly; SameSite=Lax$/)
  t.match(await cookieOf('', { 'x-forwarded-proto': 'https' }), /; HttpOnly; Secure; SameSite=Lax$/)
  t.match(await cookieOf(''), usual)
  t.match(
    await cookieOf('?seconds=none', { cookie: 'sessionid=abcdefgh' }),
    /^sessionid=; Max-Age=0; Path=\/; Expires=Thu, 01 Jan 1970 00:00:00 GMT;/
  )
  now = new Date('2026-01-02T03:04:05.999Z')
  t.match(await cookieOf(''), usual, 'within the same second')
  now = new Date('2026-01-02T03:04:05Z')
  t.match(await cookieOf('?until=2026-01-02T03:05:00Z'), /; Max-Age=55; Path=\/; Expires=Fri, 02 Jan 2026 03:05:00 GMT;/)
  now = new Date('2026-01-02T03:04:06Z')
  t.match(await cookieOf('?until=2026-01-02T03:05:00Z'), /; Max-Age=54; Path=\/; Expires=Fri, 02 Jan 2026 03:05:00 GMT;/)
  t.match(await cookieOf(''), /Expires=Fri, 16 Jan 2026 03:04:06 GMT;/)
})

t.test('a key from an engine that could add attributes to the cookie is refused', async (t) => {
  const engine = {
    load: async () => null,
    create: async () => 'abcdefgh; Domain=example.org',
    save: async () => ({ outcome: 'gone' as const }),
    saveLocked: async () => ({ outcome: 'gone' as const }),
    touch: async () => false,
    cycleKey: async () => null,
    delete: async () => {},
    exists: async () => false,
    clearExpired: async () => ({ deleted: 0, batches: 0, milliseconds: 0, backlogAge: 0 })
  }
  const { browser } = await createSite(t, { engine })
  const response = await browser.get('/set')
  t.equal(response.statusCode, 500)
  t.notOk(response.headers['set-cookie'])
  t.match(response.json().message, /^Expected the engine to make a session key that a cookie can carry/)
})

t.test('sameSite: false sends no SameSite', async (t) => {
  const { browser } = await createSite(t, { cookie: { sameSite: false } })
  t.notMatch((await browser.get('/set')).headers['set-cookie'], /SameSite/)
})

t.test("secure: 'auto' follows the request, and so a proxy that Fastify trusts", async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const { app } = await createApp(t, { knex }, (app) => app.get('/', async (request) => String(request.session.set('a', 1).modified)), {
    trustProxy: true
  })
  t.notMatch((await app.inject('/')).headers['set-cookie'], /Secure/)
  t.match((await app.inject({ url: '/', headers: { 'x-forwarded-proto': 'https' } })).headers['set-cookie'], /Secure/)
})

t.test('secure: true over http is warned of once, with the word trustProxy', async (t) => {
  const { browser, logs } = await createSite(t, { cookie: { secure: true } })
  await browser.get('/set')
  await browser.get('/set')
  t.equal(logs.filter(({ msg }) => /trustProxy/.test(String(msg))).length, 1)
})

t.test('expireAtBrowserClose and setExpiry(0) send no lifetime; setExpiry overrides the option', async (t) => {
  const { browser } = await createSite(t, { expireAtBrowserClose: true })
  t.notMatch((await browser.get('/set')).headers['set-cookie'], /Max-Age|Expires/)
  t.match((await browser.get('/expiry?seconds=77')).headers['set-cookie'], /Max-Age=77;/)
  t.match((await browser.get('/set')).headers['set-cookie'], /Max-Age=77;/, 'it is kept with the session')
  const other = await createSite(t)
  t.notMatch((await other.browser.get('/expiry?seconds=0')).headers['set-cookie'], /Max-Age|Expires/)
  t.equal((await other.rows()).length, 1)
})

for (const code of [201, 204, 301, 302, 400, 403, 404, 418, 499]) {
  t.test(`a response of status ${code} saves the session`, async (t) => {
    const { browser, rows } = await createSite(t)
    const response = await browser.get(`/status/${code}`)
    t.equal(response.statusCode, code)
    t.ok(response.headers['set-cookie'])
    t.equal((await rows()).length, 1)
  })
}

for (const code of [500, 501, 502, 503, 504]) {
  t.test(`a response of status ${code} saves nothing and still varies`, async (t) => {
    const { browser, rows } = await createSite(t)
    const response = await browser.get(`/status/${code}`)
    t.equal(response.statusCode, code)
    t.notOk(response.headers['set-cookie'])
    t.equal(response.headers.vary, 'Cookie')
    t.equal((await rows()).length, 0)
  })
}

t.test('a handler that throws saves nothing', async (t) => {
  const { browser } = await createSite(t)
  await browser.get('/set')
  const response = await browser.get('/throw')
  t.equal(response.statusCode, 500)
  t.notOk(response.headers['set-cookie'])
  t.strictSame((await browser.get('/read')).json(), { a: 1 })
})

t.test('a new key is sent to the browser whatever became of the request', async (t) => {
  const { browser } = await createSite(t)
  await browser.get('/set')
  const before = browser.cookie
  const response = await browser.get('/cycle-and-throw')
  t.equal(response.statusCode, 500)
  t.not(browser.cookie, before)
  t.strictSame((await browser.get('/read')).json(), { a: 1 })
})

t.test('a flushed session loses its cookie whatever became of the request', async (t) => {
  const { browser, rows } = await createSite(t)
  await browser.get('/set')
  t.equal((await browser.get('/flush-and-throw')).statusCode, 500)
  t.equal(browser.cookie, null)
  t.equal((await rows()).length, 0)
})

t.test('flush deletes the row and the cookie', async (t) => {
  const { browser, rows } = await createSite(t)
  await browser.get('/set')
  const response = await browser.get('/flush')
  t.equal(response.headers['set-cookie'], 'sessionid=; Max-Age=0; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Lax')
  t.equal(response.headers.vary, 'Cookie')
  t.equal((await rows()).length, 0)
})

t.test('flush without a cookie sets none', async (t) => {
  const { browser } = await createSite(t)
  const response = await browser.get('/flush')
  t.notOk(response.headers['set-cookie'])
  t.equal(response.headers.vary, 'Cookie')
})

t.test('a session that was emptied keeps its key and its row', async (t) => {
  for (const url of ['/clear', '/delete']) {
    const { browser, rows } = await createSite(t)
    await browser.get('/set')
    const key = browser.cookie
    t.match((await browser.get(url)).headers['set-cookie'], `sessionid=${key};`)
    t.strictSame((await browser.get('/read')).json(), {})
    t.equal((await rows()).length, 1)
  }
})

t.test('deleting what is not there changes nothing', async (t) => {
  const { browser, knex } = await createSite(t)
  await browser.get('/expiry?seconds=77')
  const queries = recordQueries(knex)
  t.notOk((await browser.get('/delete')).headers['set-cookie'])
  t.notMatch(queries.join(), /UPDATE/)
})

t.test('cycleKey changes the key and keeps the data', async (t) => {
  const { browser, rows } = await createSite(t)
  await browser.get('/set')
  const before = browser.cookie
  await browser.get('/cycle')
  t.not(browser.cookie, before)
  t.strictSame((await browser.get('/read')).json(), { a: 1 })
  t.match(await rows(), [{ session_key: browser.cookie }])
})

t.test('cycleKey without a session writes nothing', async (t) => {
  const { browser, rows } = await createSite(t)
  t.notOk((await browser.get('/cycle')).headers['set-cookie'])
  t.equal((await rows()).length, 0)
})

t.test('a key that the store does not know is never adopted, and deleted once it is looked up', async (t) => {
  const unknown = 'someunknownkeysomeunknownkey0000'
  const { app, rows, knex } = await createSite(t)
  const get = (url: string) => app.inject({ url, headers: { cookie: `sessionid=${unknown}` } })
  t.notOk((await get('/untouched')).headers['set-cookie'])
  t.match((await get('/read')).headers['set-cookie'], /^sessionid=; Max-Age=0/)
  const queries = recordQueries(knex)
  const response = await get('/set')
  t.notMatch(response.headers['set-cookie'], unknown)
  t.equal((await rows()).length, 1)
  t.notMatch(JSON.stringify(await rows()), unknown)
  t.equal(queries.filter((sql) => sql.startsWith('INSERT')).length, 1)
})

t.test('an expired session counts as unknown', async (t) => {
  let now = new Date('2026-01-02T03:04:05Z')
  const { browser, rows } = await createSite(t, { clock: () => now, cookieAge: 60 })
  await browser.get('/set')
  const before = browser.cookie
  now = new Date('2026-01-02T03:05:05Z')
  t.match((await browser.fork().get('/read')).headers['set-cookie'], /^sessionid=; Max-Age=0/)
  await browser.get('/set')
  t.not(browser.cookie, before)
  t.equal((await rows()).length, 2)
})

const implausible = {
  'no text': '',
  'one character': 'a',
  'seven characters': 'abcdefg',
  '41 characters': 'a'.repeat(41),
  '5000 characters': 'a'.repeat(5000),
  'a space inside': 'abcdefgh ijklmnop',
  'quotes around little': '"abc"',
  'an escaped control': '"abcdefgh\\012ijk"',
  'a NUL, escaped': '"abcdefgh\\000"',
  'non-ASCII': 'abcdefgh\u00e9'
}
for (const [what, cookie] of Object.entries(implausible)) {
  t.test(`a cookie with ${what} is no key: no query, and it is deleted at once`, async (t) => {
    const { app, knex } = await createSite(t, { verify: false })
    const queries = recordQueries(knex)
    for (const url of ['/untouched', '/read']) {
      const response = await app.inject({ url, headers: { cookie: `sessionid=${cookie}` } })
      t.equal(response.statusCode, 200)
      t.match(response.headers['set-cookie'], /^sessionid=; Max-Age=0/)
      t.equal(response.headers.vary, 'Cookie')
    }
    t.strictSame(queries, [])
  })
}

t.test('cookies with SQL or encodings that could be keys find no session', async (t) => {
  const { app, rows, browser } = await createSite(t)
  await browser.get('/set')
  const key = browser.cookie as string
  const forged = [
    "' OR '1'='1' --",
    "x');DROP/**/TABLE/**/django_session;",
    '%27%20OR%201=1',
    key.toUpperCase(),
    `${key}%00`,
    'a%zz%00bcdefg'
  ]
  for (const cookie of forged) {
    const response = await app.inject({ url: '/read', headers: { cookie: `sessionid=${cookie}` } })
    t.strictSame([response.statusCode, response.json()], [200, {}], cookie)
  }
  t.equal((await rows()).length, 1)
})

t.test('of two cookies of the name the last one counts, and others do no harm', async (t) => {
  const { app, browser } = await createSite(t)
  await browser.get('/set')
  const get = async (cookie: string) => (await app.inject({ url: '/read', headers: { cookie } })).json()
  t.strictSame(await get(`sessionid=unknownunknown; sessionid=${browser.cookie}`), { a: 1 })
  t.strictSame(await get(`sessionid=${browser.cookie}; sessionid=unknownunknown`), {})
  t.strictSame(await get(`a=b; xsessionid=z; sessionid="${browser.cookie}"; odd=x=y%3D; sessionid2=q; novalue`), { a: 1 })
})

t.test('404, OPTIONS and HEAD write nothing by themselves', async (t) => {
  const { app, rows } = await createSite(t)
  for (const cookie of ['', 'sessionid=someunknownkey', 'sessionid=abc']) {
    for (const [method, url] of [
      ['GET', '/nowhere'],
      ['POST', '/nowhere'],
      ['OPTIONS', '/set'],
      ['HEAD', '/untouched']
    ] as const) {
      await app.inject({ method, url, headers: { cookie } })
    }
  }
  t.equal((await rows()).length, 0)
})

t.test('HEAD runs the GET handler and saves what it changes', async (t) => {
  const { app, rows } = await createSite(t)
  t.ok((await app.inject({ method: 'HEAD', url: '/set' })).headers['set-cookie'])
  t.equal((await rows()).length, 1)
})

t.test('a session works in the handler of 404', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const { app } = await createApp(t, { knex }, (app) => {
    app.setNotFoundHandler(async (request, reply) => {
      request.session.set('misses', (misses = 0) => misses + 1)
      reply.code(404)
      return (await request.session.load()).toObject()
    })
  })
  const browser = new Browser(app)
  await browser.get('/nowhere')
  t.strictSame((await browser.get('/nowhere')).json(), { misses: 2 })
})

const varied = { '': 'Cookie', 'Accept-Encoding': 'Accept-Encoding, Cookie', 'accept, COOKIE': 'accept, COOKIE', '*': '*' }
for (const [vary, expected] of Object.entries(varied)) {
  t.test(`Vary of the handler, ${JSON.stringify(vary)}, becomes ${expected}`, async (t) => {
    const { browser } = await createSite(t)
    t.equal((await browser.get(`/vary?vary=${encodeURIComponent(vary)}`)).headers.vary, expected)
  })
}

t.test('saveEveryRequest renews the session and its cookie, and makes none', async (t) => {
  let now = new Date('2026-01-02T03:04:05Z')
  const { browser, rows, knex } = await createSite(t, { saveEveryRequest: true, clock: () => now, cookieAge: 60 })
  const anonymous = await browser.get('/untouched')
  t.notOk(anonymous.headers['set-cookie'])
  t.equal((await rows()).length, 0)
  await browser.get('/set')
  const [before] = (await knex('django_session').select()) as { session_data: string }[]
  now = new Date('2026-01-02T03:04:35Z')
  const response = await browser.get('/untouched')
  t.match(response.headers['set-cookie'], /Max-Age=60;.*Expires=Fri, 02 Jan 2026 03:05:35 GMT/)
  t.equal(response.headers.vary, 'Cookie')
  t.match(await rows(), [{ expire_date: '2026-01-02 03:05:35.000000', session_data: before?.session_data }], 'only the date was written')
})

t.test('saveEveryRequest deletes the cookie of an unknown session, and makes no row', async (t) => {
  const { app, rows } = await createSite(t, { saveEveryRequest: true })
  const response = await app.inject({ url: '/untouched', headers: { cookie: 'sessionid=someunknownkey' } })
  t.match(response.headers['set-cookie'], /^sessionid=; Max-Age=0/)
  t.equal((await rows()).length, 0)
})

t.test('touchAfter leaves the row alone for that long, and sends the cookie all the same', async (t) => {
  let now = new Date('2026-01-02T03:04:00Z')
  const { browser, knex } = await createSite(t, { saveEveryRequest: true, touchAfter: 30, clock: () => now, cookieAge: 60 })
  await browser.get('/set')
  const queries = recordQueries(knex)
  now = new Date('2026-01-02T03:04:29.999Z')
  t.ok((await browser.get('/untouched')).headers['set-cookie'])
  t.notMatch(queries.join(), 'UPDATE')
  now = new Date('2026-01-02T03:04:30Z')
  t.ok((await browser.get('/untouched')).headers['set-cookie'])
  t.match(queries.join(), 'UPDATE')
})

t.test("load: 'eager' loads before the handler and does not count as access", async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const { app } = await createApp(t, { knex, load: 'eager' }, (app) => {
    app.get('/', async (request) => ({ isLoaded: request.session.isLoaded, a: request.session.get('a') ?? null }))
    app.get('/untouched', async () => ({}))
    app.get('/lazy', { config: { session: 'lazy' } }, async (request) => ({ isLoaded: request.session.isLoaded }))
    app.get('/none', { config: { session: false } }, async () => ({}))
    app.get('/set', async (request) => String(request.session.set('a', 1).modified))
    app.setNotFoundHandler(async (request) => ({ isLoaded: request.session.isLoaded }))
  })
  const browser = new Browser(app)
  t.strictSame((await browser.get('/')).json(), { isLoaded: true, a: null }, 'without a cookie')
  await browser.get('/set')
  const queries = recordQueries(knex)
  t.strictSame((await browser.get('/')).json(), { isLoaded: true, a: 1 })
  t.equal(queries.length, 1)
  t.notOk((await browser.get('/untouched')).headers.vary)
  t.equal(queries.length, 2)
  t.strictSame((await browser.get('/lazy')).json(), { isLoaded: false })
  await browser.get('/none')
  t.equal(queries.length, 2)
  t.strictSame((await browser.get('/nowhere')).json(), { isLoaded: true })
})

t.test("config.session: 'eager' and false hold for one route", async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const { app } = await createApp(t, { knex }, (app) => {
    app.get('/eager', { config: { session: 'eager' } }, async (request) => ({ isLoaded: request.session.isLoaded }))
    app.get('/lazy', async (request) => ({ isLoaded: request.session.isLoaded }))
    app.get('/none', { config: { session: false } }, async (request) => ({ isLoaded: request.session.isLoaded }))
  })
  t.strictSame((await app.inject('/eager')).json(), { isLoaded: true })
  t.strictSame((await app.inject('/lazy')).json(), { isLoaded: false })
  const response = await app.inject({ url: '/none', headers: { cookie: 'sessionid=abc' } })
  t.match(response.json(), { code: 'FST_SESSION_DISABLED', message: /\/none/ })
  t.notOk(response.headers['set-cookie'])
})

t.test('the session works in hooks of plugins that were registered before', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const knex = await openDatabase(t, 'sqlite')
  app.addHook('onRequest', async (request) => {
    request.session.set('seen', true)
  })
  await app.register(sessions, { secretKey, knex })
  app.get('/', async (request) => (await request.session.load()).toObject())
  t.strictSame((await app.inject('/')).json(), { seen: true })
})

t.test('the session is saved by saveSession() for a reply that Fastify does not send', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const { app, logs } = await createApp(t, { knex }, (app) => {
    app.get('/', async (request, reply) => {
      request.session.set('a', 1)
      await reply.saveSession()
      reply.hijack()
      reply.raw.writeHead(200, reply.getHeaders() as Record<string, string>)
      reply.raw.end('raw')
    })
    app.get('/late', async (request, reply) => {
      request.session.set('a', 1)
      await reply.saveSession()
      request.session.set('a', 2)
      return 'late'
    })
    app.get('/late-but-saved', async (request, reply) => {
      request.session.set('a', 1)
      await reply.saveSession()
      request.session.set('a', 3)
      await request.session.save()
      return 'saved'
    })
    app.get('/read', async (request) => (await request.session.load()).toObject())
  })
  const browser = new Browser(app)
  const response = await browser.get('/')
  t.equal(response.body, 'raw')
  t.equal(response.headers.vary, 'Cookie')
  t.strictSame((await browser.get('/read')).json(), { a: 1 })
  const late = () => logs.filter(({ code }) => code === 'FST_SESSION_CHANGED_AFTER_REPLY')
  t.equal(late().length, 0)
  await browser.get('/late')
  t.match(late(), [{ route: '/late' }], 'a change that is lost is logged')
  await browser.get('/late-but-saved')
  t.strictSame((await browser.get('/read')).json(), { a: 3 })
  t.equal(late().length, 1, 'a change that was saved is not')
})

t.test('no change is reported as lost where a session ended, or where the reply says so', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const { app, logs } = await createApp(t, { knex }, (app) => {
    app.get('/set', async (request) => String(request.session.set('a', 1).modified))
    app.get('/logout', async (request) => request.session.flush())
    app.get('/nothing', async (request) => String(request.session.delete('a')))
    app.get('/interrupted', async (request) => {
      const session = await request.session.load()
      await knex('django_session').delete()
      return String(session.set('a', 2).modified)
    })
  })
  const browser = new Browser(app)
  for (const [url, statusCode] of [
    ['/nothing', 200],
    ['/set', 200],
    ['/logout', 200],
    ['/set', 200],
    ['/interrupted', 400]
  ] as const) {
    t.equal((await browser.get(url)).statusCode, statusCode, url)
    // Such a report is made when the reply has ended.
    await new Promise(setImmediate)
  }
  t.strictSame(
    logs.filter(({ code }) => code === 'FST_SESSION_CHANGED_AFTER_REPLY'),
    []
  )
})

t.test('streams are sent after the session was saved', async (t) => {
  const { Readable } = await import('node:stream')
  const knex = await openDatabase(t, 'sqlite')
  const { app } = await createApp(t, { knex }, (app) => {
    app.get('/', async (request, reply) => {
      request.session.set('a', 1)
      return reply.send(Readable.from(['stre', 'amed']))
    })
  })
  const response = await app.inject('/')
  t.equal(response.body, 'streamed')
  t.ok(response.headers['set-cookie'])
  t.equal((await knex('django_session').select()).length, 1)
})

t.test('reply.send() without return in an async handler: one save, one reply, no crash', async (t) => {
  const { browser, knex } = await createSite(t)
  await browser.get('/set')
  const { app, logs } = await createApp(t, { knex }, (app) => {
    app.get('/twice', async (request, reply) => {
      request.session.set('a', 2)
      reply.type('text/html').send('<p>first</p>')
    })
    app.get('/then-throw', async (request, reply) => {
      request.session.set('a', 3)
      reply.type('text/html').send('<p>first</p>')
      throw new Error('too late')
    })
  })
  const queries = recordQueries(knex)
  for (const url of ['/twice', '/then-throw']) {
    queries.length = 0
    const response = await new Browser(app, browser.cookie).get(url)
    t.match(response, { statusCode: 200, body: '<p>first</p>' }, url)
    t.match(response.headers['content-type'], 'text/html')
    t.equal(queries.filter((sql) => sql.startsWith('UPDATE')).length, 1, 'saved once')
    t.ok(logs.some(({ msg, route }) => route === url && /called twice/.test(String(msg))))
  }
})

t.test('an in-place change that is not saved is logged once for a route and key', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const routes = (app: import('fastify').FastifyInstance) => {
    app.get('/start', async (request) => String(request.session.set('cart', []).modified))
    app.get('/push', async (request) => {
      const cart = (await request.session.load()).get('cart') as unknown[]
      cart.push('book')
      return cart
    })
  }
  const { app, logs } = await createApp(t, { knex }, routes)
  const browser = new Browser(app)
  await browser.get('/start')
  await browser.get('/push')
  t.strictSame((await browser.get('/push')).json(), ['book'], 'as in Django it is not seen')
  t.match(
    logs.filter(({ level }) => level === 40),
    [{ name: 'cart', route: '/push' }]
  )

  const saving = await createApp(t, { knex, saveNestedChanges: true }, routes)
  const other = new Browser(saving.app, browser.cookie)
  await other.get('/push')
  t.strictSame((await other.get('/push')).json(), ['book', 'book'], 'saveNestedChanges')
})

t.test('without @fastify/cookie the application has no cookies of its own, and the sessions theirs', async (t) => {
  const { app } = await createApp(t, { knex: await openDatabase(t, 'sqlite') }, (app) => {
    app.get('/', async (request, reply) => {
      request.session.set('a', 1)
      return { cookies: request.cookies ?? null, canSet: 'setCookie' in reply }
    })
  })
  const response = await app.inject({ url: '/', cookies: { theme: 'light' } })
  t.strictSame(response.json(), { cookies: null, canSet: false })
  t.match(response.cookies, [{ name: 'sessionid' }])
})

t.test('a configuration for Knex is opened by the plugin, and closed with it', async (t) => {
  const filename = `${t.testdir()}/own.sqlite3`
  const { default: createKnex } = await import('knex')
  const { migrationSource } = await import('../lib/migrations.ts')
  const setup = createKnex({ client: 'better-sqlite3', connection: { filename }, useNullAsDefault: true })
  await setup.migrate.latest({ migrationSource })
  await setup.destroy()
  const { app } = await createApp(t, { knex: { client: 'better-sqlite3', connection: { filename } } }, (app) => {
    app.get('/', async (request) => String(request.session.set('a', 1).modified))
  })
  t.ok((await app.inject('/')).headers['set-cookie'])
  const [mode] = await app.sessions.model.query().client.raw('PRAGMA journal_mode')
  t.strictSame(mode, { journal_mode: 'wal' })
  await app.close()
  await t.rejects(Promise.resolve(app.sessions.model.query().select()))
})
