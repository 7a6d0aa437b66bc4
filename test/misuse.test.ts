/** Use that cannot work: each gets an error or a warning that says what to do, never silence and never a hang. */
import { once } from 'node:events'
import { request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { inspect } from 'node:util'
import websocket from '@fastify/websocket'
import Fastify, { type FastifyInstance, type FastifyReply } from 'fastify'
import t, { type Test } from 'tap'
import { createAuth } from '../lib/auth/index.ts'
import sessions, { MemoryCache, type SessionOptions } from '../lib/index.ts'
import { addRoutes, Browser, createApp, gate, secretKey } from './fixtures/app.ts'
import { openDatabase } from './fixtures/databases.ts'

type Routes = (app: FastifyInstance) => void

const createSite = (t: Test, routes: Routes, options: Partial<SessionOptions> = {}, server = {}) =>
  createApp(t, { engine: 'cache', cache: new MemoryCache(), ...options }, routes, server)

/** A call as JavaScript can write it. */
const untyped = (value: unknown) => value as Record<string, (...args: unknown[]) => unknown>

// --- arguments ------------------------------------------------------------------------------

t.test('delete() without a name says how to sign out', async (t) => {
  const { app } = await createSite(t, (app) => {
    app.get('/set', async (request) => String(request.session.set('user', 'ada').modified))
    app.get('/delete', async (request) => untyped(request.session).delete?.())
    app.get('/read', async (request) => (await request.session.load()).toObject())
  })
  const browser = new Browser(app)
  await browser.get('/set')
  const response = await browser.get('/delete')
  t.match(response.json(), { statusCode: 500, message: /got undefined: to end the session, await session\.flush\(\)$/ })
  t.strictSame((await browser.get('/read')).json(), { user: 'ada' })
})

t.test('the name of a key is a string, for every method', async (t) => {
  const { app } = await createSite(t, () => {})
  const session = await app.sessions.open().load()
  for (const method of ['get', 'has', 'set', 'delete', 'pop', 'setDefault']) {
    for (const name of [undefined, null, 1, {}, ['a'], Symbol('a')]) {
      t.throws(() => untyped(session)[method]?.call(session, name, 1), {
        name: 'TypeError',
        message: new RegExp(`^session\\.${method}\\(name\\): expected the name of a key as a string, got`)
      })
    }
  }
  t.throws(() => untyped(session).set?.call(session, { a: 1 }), { message: /for an object, session\.update\(object\)$/ })
  t.strictSame(session.toObject(), {})
  t.equal(session.modified, false)
  t.strictSame(session.set('', 1).set('__proto__', 2).keys(), ['', '__proto__'], 'any string is one')
})

t.test('what takes a session, or a header, says so', async (t) => {
  const { app } = await createSite(t, () => {})
  const auth = createAuth({ getUser: () => null })
  for (const value of [undefined, null, {}, 'abc', app]) {
    for (const [name, call] of [
      ['watch', () => untyped(app.sessions).watch?.(value)],
      ['userOf', () => untyped(auth).userOf?.(value)]
    ] as const) {
      t.throws(call, { name: 'TypeError', message: new RegExp(`^${name}: expected a session, such as request\\.session, got `) })
    }
  }
  for (const value of [null, 5, {}, ['a=b']]) {
    t.throws(() => untyped(app.sessions).forCookie?.(value), {
      name: 'TypeError',
      message: /^forCookie: expected the header Cookie as a string/
    })
  }
})

t.test('update() takes a plain object', async (t) => {
  class Form {
    a = 1
  }
  const { app } = await createSite(t, () => {})
  const session = await app.sessions.open().load()
  for (const data of ['x', undefined, null, 1, [1], new Map([['a', 1]]), new Set(), new Date(), new Form(), () => {}]) {
    t.throws(() => untyped(session).update?.call(session, data), {
      name: 'TypeError',
      message: /^session\.update\(data\): expected a plain object, got /
    })
  }
  t.equal(session.modified, false)
  t.strictSame(
    session
      .update({ a: 1 })
      .update(Object.assign(Object.create(null), { b: 2 }))
      .toObject(),
    { a: 1, b: 2 }
  )
})

// --- assignments ------------------------------------------------------------------------------

t.test('a clock that fails fails the request, and neither the next one nor the process', async (t) => {
  let now = () => new Date()
  const knex = await openDatabase(t, 'sqlite')
  const { app } = await createApp(t, { knex, clock: () => now() }, addRoutes)
  const browser = new Browser(app)
  await browser.get('/count')
  now = () => {
    throw new Error('no time')
  }
  t.match((await browser.get('/read')).json(), { statusCode: 500, message: 'no time' })
  now = () => new Date()
  t.match((await browser.get('/read')).json(), { count: 1 })
})

t.test('request.session cannot be assigned, in sloppy code either', async (t) => {
  const assign = new Function('request', 'value', 'request.session = value')
  const { app } = await createSite(t, (app) => {
    app.get('/set', async (request) => String(request.session.set('user', 'ada').modified))
    app.get('/null', async (request) => assign(request, null))
    app.get('/empty', async (request) => assign(request, {}))
    app.get('/read', async (request) => (await request.session.load()).toObject())
  })
  const browser = new Browser(app)
  await browser.get('/set')
  for (const url of ['/null', '/empty']) {
    t.match((await browser.get(url)).json(), { statusCode: 500, message: /^request\.session cannot be assigned: sign out with await / })
  }
  t.strictSame((await browser.get('/read')).json(), { user: 'ada' })
})

t.test('properties of a session cannot be assigned, in sloppy code either', async (t) => {
  const assign = new Function('session', 'name', 'session[name] = 1')
  const { app } = await createSite(t, () => {})
  const session = await app.sessions.open().load()
  for (const name of ['user', 'cart', 'cookie', 'sessionKey', 'isEmpty', 'isLoaded', 'size', 'then']) {
    t.throws(() => assign(session, name), { message: `session.${name} cannot be assigned: use session.set("${name}", value)` })
  }
  for (const name of ['data', 'options', 'get', 'values']) {
    t.throws(() => Object.assign(session, { [name]: 1 }), { name: 'TypeError' }, `${name} in strict code`)
  }
  t.strictSame(session.toObject(), {})
  t.equal(await session, session, 'it can be awaited')
})

// --- what is printed ------------------------------------------------------------------------------

t.test('console.log shows the state and the names, neither the key nor the values', async (t) => {
  const { app } = await createSite(t, () => {})
  const session = app.sessions.open().set('cart', ['book']).set('_auth_user_id', '7')
  t.equal(
    inspect(session, { breakLength: 200 }),
    'Session { hasKey: false, isLoaded: false, isEmpty: false, accessed: true, modified: true }'
  )
  await session.save()
  t.equal(
    inspect(session, { breakLength: 200 }),
    "Session { hasKey: true, isLoaded: true, isEmpty: false, accessed: true, modified: false, names: [ 'cart', '_auth_user_id' ] }"
  )
  t.notOk(inspect({ nested: { session } }).includes(session.sessionKey as string))
})

t.test('a session as JSON, and as a reply, is its data without the names that start with _', async (t) => {
  const { app } = await createSite(t, (app) => {
    app.get('/set', async (request) => String(request.session.update({ cart: ['book'], _auth_user_hash: 'x', _csrf: 'y' }).modified))
    app.get('/', async (request) => request.session.load())
    app.get('/lazy', async (request) => request.session)
    app.get('/nested', async (request) => ({ session: await request.session.load() }))
  })
  const browser = new Browser(app)
  await browser.get('/set')
  const response = await browser.get('/')
  t.equal(response.body, '{"cart":["book"]}')
  t.equal(response.headers.vary, 'Cookie')
  t.equal((await browser.get('/nested')).body, '{"session":{"cart":["book"]}}')
  t.equal((await browser.get('/lazy')).body, '{}', 'before load()')
})

// --- registration and routes ------------------------------------------------------------------------------

t.test("config.session: 'eager' holds for a route that is declared before the plugin has loaded", async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  app.register(sessions, { secretKey, engine: 'cache', cache: new MemoryCache() })
  app.get('/', { config: { session: 'eager' } }, async (request) => ({ visits: request.session.get('visits', 0) }))
  t.strictSame((await app.inject('/')).json(), { visits: 0 })
})

for (const wrong of ['eagar', true, null, { load: 'eagar' }, { renew: 'no' }, { renews: false }]) {
  t.test(`config.session: ${JSON.stringify(wrong)} is refused when the route is added, or at its first request`, async (t) => {
    const config = { session: wrong } as never
    const message =
      /^The route \/: expected config\.session to be false, 'lazy', 'eager' or an object such as \{ load: 'eager', renew: false \}, got /
    const { app } = await createSite(t, () => {})
    t.throws(() => app.get('/', { config }, async () => ''), { code: 'FST_SESSION_INVALID_ROUTE_CONFIG', message })

    const early = Fastify()
    t.teardown(() => early.close())
    early.register(sessions, { secretKey, engine: 'cache', cache: new MemoryCache() })
    early.get('/', { config }, async () => '')
    t.match((await early.inject('/')).json(), { code: 'FST_SESSION_INVALID_ROUTE_CONFIG', message })
  })
}

// --- changes that come too late ------------------------------------------------------------------------------

const lateIn = (logs: Record<string, unknown>[]) => logs.filter(({ code }) => code === 'FST_SESSION_CHANGED_AFTER_REPLY')

/** Such a warning is logged when the response has ended. */
const nextTurn = () => new Promise(setImmediate)

const lateChanges: Record<string, Routes> = {
  'in an onResponse hook': (app) => {
    app.addHook('onResponse', async (request) => void request.session.set('late', 1))
    app.get('/', async () => 'sent')
  },
  'after reply.send()': (app) => {
    app.get('/', (request, reply) => {
      reply.send('sent')
      request.session.set('late', 1)
    })
  },
  'before reply.hijack() without saveSession()': (app) => {
    app.get('/', async (request, reply) => {
      request.session.set('late', 1)
      reply.hijack()
      reply.raw.end('sent')
    })
  },
  'before reply.raw.end()': (app) => {
    app.get('/', (request, reply) => {
      request.session.set('late', 1)
      reply.raw.end('sent')
    })
  },
  'in an earlier hook of a reply that is hijacked': (app) => {
    app.addHook('preHandler', async (request) => void request.session.set('late', 1))
    app.get('/', async (_request, reply) => {
      reply.hijack()
      reply.raw.end('sent')
    })
  }
}

for (const [when, routes] of Object.entries(lateChanges)) {
  t.test(`a first change of the session ${when} is reported as lost`, async (t) => {
    const { app, logs } = await createSite(t, routes)
    t.equal((await app.inject('/')).body, 'sent')
    await nextTurn()
    t.match(lateIn(logs), [{ route: '/', level: 40 }])
  })
}

t.test('a change in the handler of a websocket is reported when the socket closes', async (t) => {
  const closed = gate()
  const { app, logs } = await createSite(t, () => {})
  await app.register(websocket)
  await app.register(async (app) => {
    app.get('/socket', { websocket: true }, (socket, request) => {
      request.raw.socket.once('close', () => closed.pass())
      request.session.set('late', 1)
      socket.close()
    })
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const headers = {
    connection: 'upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ=='
  }
  const upgrade = request({ port, path: '/socket', headers }).end()
  const [, socket] = await once(upgrade, 'upgrade')
  socket.destroy()
  await closed.reached
  await nextTurn()
  t.match(lateIn(logs), [{ route: '/socket' }])
})

t.test('saveSession() after the headers have left saves, and reports the cookie that cannot be sent', async (t) => {
  const { app, logs } = await createSite(t, (app) => {
    app.get('/', async (request, reply) => {
      reply.hijack()
      reply.raw.writeHead(200)
      request.session.set('late', 1)
      await reply.saveSession()
      reply.raw.end('sent')
    })
  })
  const response = await app.inject('/')
  t.equal(response.headers['set-cookie'], undefined)
  await nextTurn()
  t.match(logs.at(-1), { code: 'FST_SESSION_COOKIE_NOT_SENT', level: 40, msg: /cookie could not be sent/ })
})

/** Refuses new sessions, and says when it did. */
class FailingCache extends MemoryCache {
  readonly failed = gate()
  override async add(): Promise<boolean> {
    this.failed.pass()
    throw new Error('on purpose')
  }
}

t.test('a saveSession() that nothing waits for fails the reply, not the process', async (t) => {
  const cache = new FailingCache()
  const { app, logs } = await createSite(
    t,
    (app) => {
      app.get('/forgotten', async (request, reply) => {
        request.session.set('a', 1)
        reply.saveSession()
        await cache.failed.reached
        await nextTurn()
        return 'sent'
      })
      app.get('/hijacked', async (request, reply) => {
        request.session.set('a', 1)
        reply.saveSession()
        await cache.failed.reached
        await nextTurn()
        reply.hijack()
        reply.raw.end('raw')
      })
      app.get('/caught', async (request, reply) => {
        request.session.set('a', 1)
        return reply.saveSession().then(
          () => 'saved',
          ({ code }) => code
        )
      })
    },
    { cache }
  )
  t.match((await app.inject('/forgotten')).json(), { statusCode: 503, code: 'FST_SESSION_STORE_UNAVAILABLE' })
  t.equal((await app.inject('/hijacked')).body, 'raw')
  await nextTurn()
  t.match(lateIn(logs), [{ route: '/hijacked' }], 'where no reply can fail, the log has it')
  t.match(await app.inject('/caught'), { statusCode: 200, body: 'FST_SESSION_STORE_UNAVAILABLE' })
})

t.test('outside requests, a failure that nothing waits for is logged, and no other', async (t) => {
  const { app, logs } = await createSite(t, () => {}, { cache: new FailingCache() })
  const warned = () => logs.splice(0).filter(({ level }) => level === 40)
  const code = 'FST_SESSION_STORE_UNAVAILABLE'
  const save = () => app.sessions.open().set('a', 1).save()
  save()
  await nextTurn()
  await nextTurn()
  t.match(warned(), [{ err: { code }, msg: /outside requests failed, and nothing waits for it/ }])
  await t.rejects(save(), { code })
  await new Promise<void>((resolve) =>
    app.sessions
      .open()
      .set('a', 1)
      .save(() => resolve())
  )
  const saving = save()
  await t.rejects(saving, { code })
  await nextTurn()
  await nextTurn()
  t.strictSame(warned(), [])
})

t.test('a saveSession() that is awaited later than it failed is handled by its author', async (t) => {
  const cache = new FailingCache()
  const { app } = await createSite(
    t,
    (app) => {
      app.get('/', async (request, reply) => {
        request.session.set('a', 1)
        const saving = reply.saveSession()
        await cache.failed.reached
        await nextTurn()
        return saving.catch(() => 'handled')
      })
    },
    { cache }
  )
  t.match(await app.inject('/'), { statusCode: 200, body: 'handled' })
})

t.test('a saveSession() that is not awaited before a Response: Vary and Cache-Control are right all the same', async (t) => {
  const { app } = await createSite(t, (app) => {
    app.get('/', async (request, reply) => {
      request.session.set('a', 1)
      reply.saveSession()
      return new Response('x', { headers: { vary: 'Accept', 'cache-control': 'public, max-age=60' } })
    })
  })
  const { headers } = await app.inject('/')
  t.match(headers, { vary: 'Cookie, Accept', 'cache-control': 'private, max-age=60', 'set-cookie': /^sessionid=/ })
})

/** Replies that Fastify cannot send, which it finds out after the session was saved. */
const unsendable: Record<string, (reply: FastifyReply) => unknown> = {
  'a redirect that is not ASCII': (reply) => reply.redirect('/\u017elu\u0165'),
  'a header that is not ASCII': (reply) => reply.header('content-disposition', 'filename="\u017elu\u0165"').send('x'),
  'a header with a line break': (reply) => reply.header('x-next', 'a\r\nset-cookie: b').send('x'),
  'an object that is no JSON': (reply) => reply.type('application/octet-stream').send({})
}

for (const [what, send] of Object.entries(unsendable)) {
  t.test(`${what}, after the session was saved, is a 500 and does not end the process`, async (t) => {
    const { app } = await createSite(t, (app) => {
      app.get('/', async (request, reply) => {
        request.session.set('a', 1)
        send(reply)
        return reply
      })
      app.get('/health', async () => 'healthy')
    })
    await app.listen({ port: 0, host: '127.0.0.1' })
    const { port } = app.server.address() as AddressInfo
    t.equal((await fetch(`http://127.0.0.1:${port}/`, { redirect: 'manual' })).status, 500)
    t.equal(await (await fetch(`http://127.0.0.1:${port}/health`)).text(), 'healthy')
  })
}

// --- the protocol ------------------------------------------------------------------------------

const proxyHeaders = [{ 'x-forwarded-proto': 'https' }, { 'x-forwarded-ssl': 'on' }, { forwarded: 'for=192.0.2.1;proto=https' }]

for (const headers of proxyHeaders) {
  t.test(`secure: 'auto' and a proxy that is not trusted, ${JSON.stringify(headers)}: one warning`, async (t) => {
    const routes: Routes = (app) => app.get('/', async (request) => String(request.session.set('a', 1).modified))
    const warnings = (logs: Record<string, unknown>[]) => logs.filter(({ msg, level }) => level === 40 && /trustProxy/.test(String(msg)))
    const { app, logs } = await createSite(t, routes)
    await app.inject('/')
    t.strictSame(warnings(logs), [], 'none over http')
    t.notMatch((await app.inject({ url: '/', headers })).headers['set-cookie'], /Secure/)
    await app.inject({ url: '/', headers })
    t.equal(warnings(logs).length, 1)

    const plain = await createSite(t, routes, { cookie: { secure: false } })
    await plain.app.inject({ url: '/', headers })
    t.strictSame(warnings(plain.logs), [], 'none where that is wanted')
  })
}
