/** Other plugins, the real ones: each does its work and so do the sessions, whichever is registered first. */
import { createRequire } from 'node:module'
import cookie from '@fastify/cookie'
import csrfProtection from '@fastify/csrf-protection'
import passport from '@fastify/passport'
import secureSession from '@fastify/secure-session'
import type { FastifyInstance, FastifyPluginCallback } from 'fastify'
import t, { type Test } from 'tap'
import sessions, { getSession, MemoryCache, type SessionOptions } from '../lib/untyped.ts'
import { Browser, createServer, memorySettings, secretKey, warnings } from './fixtures/app.ts'
import { openDatabase } from './fixtures/databases.ts'
import { type Neighbour, neighbours } from './fixtures/neighbours.ts'

/** Without its types: they would give `request.session` another type in all tests. */
const fastifySession: FastifyPluginCallback<{ secret: string; cookie: object }> = createRequire(import.meta.url)('@fastify/session')

type Register = (app: FastifyInstance) => unknown

/** Orders of registration; the routes are in a scope of their own that comes last, as in most applications. */
const orders: Record<string, (app: FastifyInstance, theirs: Register, ours: Register, routes: Register) => Promise<void>> = {
  'before the sessions': async (app, theirs, ours, routes) => {
    for (const register of [theirs, ours, routes]) {
      register(app)
      await app.after()
    }
  },
  'after the sessions': async (app, theirs, ours, routes) => {
    for (const register of [ours, theirs, routes]) {
      register(app)
      await app.after()
    }
  },
  'before the sessions, without await': async (app, theirs, ours, routes) => {
    for (const register of [theirs, ours, routes]) register(app)
  },
  'after the sessions, without await': async (app, theirs, ours, routes) => {
    for (const register of [ours, theirs, routes]) register(app)
  },
  'outside the scope of the sessions': async (app, theirs, ours, routes) => {
    theirs(app)
    app.register(async (scope) => {
      ours(scope)
      routes(scope)
    })
  },
  'in a scope below that of the sessions': async (app, theirs, ours, routes) => {
    ours(app)
    app.register(async (scope) => {
      theirs(scope)
      routes(scope)
    })
  }
}

async function createApp(t: Test, order: string, { register, options, routes }: Neighbour) {
  const { app, logs } = createServer(t)
  const ours: Register = (app) => app.register(sessions, { ...memorySettings(), ...options })
  let scope = app
  await orders[order]?.(app, register, ours, (app) =>
    app.register(async (app) => {
      scope = app
      app.get('/visits', async (request) => {
        const session = await getSession(request).load()
        return { visits: session.set('visits', (visits = 0) => Number(visits) + 1).get('visits') }
      })
      routes?.(app)
    })
  )
  await app.ready()
  return { app: scope, logs }
}

for (const [name, neighbour] of Object.entries(neighbours)) {
  for (const order of Object.keys(orders)) {
    t.test(`${name} ${order}`, async (t) => {
      if (neighbour.needsSessions !== undefined && /^before|^outside/.test(order)) {
        await t.rejects(createApp(t, order, neighbour), { message: neighbour.needsSessions })
        return
      }
      const { app, logs } = await createApp(t, order, neighbour)
      const browser = new Browser(app)
      for (const visits of [1, 2]) {
        const response = await browser.get('/visits')
        t.match(response, { statusCode: 200, headers: { vary: neighbour.vary ?? 'Cookie' } })
        t.strictSame(response.json(), { visits })
        t.strictSame(response.cookies.filter(({ name }) => name === 'sessionid').length, 1)
      }
      if (neighbour.ownRoute !== undefined && order.startsWith('outside')) {
        t.match((await browser.get(neighbour.ownRoute)).json(), { code: 'FST_SESSION_NOT_REGISTERED' })
        return
      }
      await neighbour.visit(t, browser, app)
      t.strictSame(
        warnings(logs).filter(({ msg }) => /session/i.test(String(msg))),
        []
      )
    })
  }
}

t.test('routes that were registered before the sessions have sessions, and need not use them', async (t) => {
  const { app, logs } = createServer(t)
  app.addHook('onRequest', async (request) => {
    if (request.url === '/hook') getSession(request).set('a', 1)
  })
  await app.register(async (app) => {
    for (const url of ['/untouched', '/hook']) app.get(url, async () => 'a page')
    app.get('/saved', async (request, reply) => {
      getSession(request).set('a', 1)
      await reply.saveSession()
      return 'a page'
    })
    app.get('/nothing', async (_request, reply) => {
      await reply.saveSession()
      return 'a page'
    })
  })
  await app.register(sessions, memorySettings())
  for (const [url, cookies] of Object.entries({ '/untouched': 0, '/nothing': 0, '/hook': 1, '/saved': 1 })) {
    const response = await new Browser(app).get(url)
    t.match(response, { statusCode: 200, body: 'a page' }, url)
    t.equal(response.cookies.length, cookies, url)
  }
  t.match((await new Browser(app, 'x').get('/untouched')).headers['set-cookie'], /^sessionid=; Max-Age=0/)
  t.match(warnings(logs), [{ code: 'FST_SESSION_UNKNOWN_KEY' }])
})

// --- what cannot work says so --------------------------------------------------------------------

const others: Record<string, Register> = {
  '@fastify/session': (app) => app.register(fastifySession, { secret: secretKey, cookie: { secure: false } }),
  '@fastify/secure-session': (app) => app.register(secureSession, { key: Buffer.alloc(32, 1), cookie: { path: '/' } }),
  'a second registration': (app) => app.register(sessions, memorySettings())
}

for (const [name, register] of Object.entries(others)) {
  t.test(`${name} in the same scope is refused at the start`, async (t) => {
    const { app } = createServer(t)
    app.register(cookie)
    register(app)
    app.register(sessions, memorySettings())
    await t.rejects(Promise.resolve(app.ready()), {
      code: 'FST_SESSION_ALREADY_REGISTERED',
      message: /^request\.session exists in this scope or in one inside it: register fastify-django-sessions once,/
    })
  })
}

for (const [name, register] of Object.entries(others)) {
  for (const order of ['before', 'after']) {
    t.test(`${name} in a scope of its own, registered ${order} the sessions around it`, async (t) => {
      const { app } = createServer(t)
      app.register(cookie)
      const inner = () =>
        app.register(async (app) => {
          register(app)
          app.get('/inner', async (request) => {
            const session = request.session as unknown as { set(name: string, value: unknown): void; get(name: string): unknown }
            session.set('visits', Number(session.get('visits') ?? 0) + 1)
            return { visits: session.get('visits') }
          })
        })
      if (order === 'before') inner()
      app.register(sessions, { ...memorySettings(), load: 'eager' })
      if (order === 'after') inner()
      app.register(async (app) => {
        app.get('/outer', async (request) => ({
          visits: getSession(request)
            .set('visits', (visits = 0) => Number(visits) + 1)
            .get('visits')
        }))
      })
      if (name === 'a second registration') {
        await t.rejects(Promise.resolve(app.ready()), { code: 'FST_SESSION_ALREADY_REGISTERED' })
        return
      }
      const browser = new Browser(app)
      for (const visits of [1, 2]) {
        for (const url of ['/outer', '/inner']) t.strictSame((await browser.get(url)).json(), { visits }, url)
      }
    })
  }
}

t.test('two scopes beside each other have sessions of their own', async (t) => {
  const { app } = createServer(t)
  for (const name of ['a', 'b']) {
    app.register(async (app) => {
      app.register(sessions, { ...memorySettings(), cookie: { name } })
      app.register(async (app) => {
        app.get(`/${name}`, async (request) => String(getSession(request).set(name, 1).modified))
      })
    })
  }
  for (const name of ['a', 'b']) t.match((await app.inject(`/${name}`)).cookies, [{ name }])
})

t.test('two scopes with one cookie and different stores are warned of', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const table = (tableName: string) => ({ secretKey, knex, tableName, verify: false })
  const cookies = { engine: 'signed_cookies' as const, secretKey }
  const pairs: [title: string, first: SessionOptions, second: SessionOptions, count: number][] = [
    ['two tables', table('a'), table('b'), 1],
    ['two engines', table('a'), cookies, 1],
    ['one table', table('a'), table('a'), 0],
    ['one table, with a cache', table('a'), { ...table('a'), engine: 'cached_db', cache: new MemoryCache() }, 0],
    ['one engine', cookies, cookies, 0],
    ['two cookies', table('a'), { ...table('b'), cookie: { name: 'b' } }, 0],
    ['two paths', { ...table('a'), cookie: { path: '/a' } }, { ...table('b'), cookie: { path: '/b' } }, 0]
  ]
  for (const [title, first, second, count] of pairs) {
    const { app, logs } = createServer(t)
    for (const options of [first, second]) app.register(async (scope) => void scope.register(sessions, options))
    await app.ready()
    const msg = /different places, but have the same cookie, "sessionid"/
    t.equal(warnings(logs).filter((line) => msg.test(String(line.msg))).length, count, title)
  }
})

t.test('plugins that read the session synchronously are told how to load it', async (t) => {
  const readers: Record<string, Register> = {
    passport: (app) => {
      const authenticator = new passport.Authenticator()
      return app.register(authenticator.initialize()).register(authenticator.secureSession())
    },
    csrf: (app) => app.register(csrfProtection, { sessionPlugin: '@fastify/secure-session' })
  }
  for (const [name, register] of Object.entries(readers)) {
    const { app } = createServer(t)
    app.register(sessions, memorySettings())
    register(app)
    app.get('/', async (_request, reply) => reply.generateCsrf())
    const { statusCode, message } = (await app.inject('/')).json()
    t.equal(statusCode, 500, name)
    t.match(message, "load it for every request with the option load: 'eager'")
  }
})

t.test('a hook that runs before the sessions are loaded is told the order', async (t) => {
  const { app } = createServer(t)
  app.addHook('onRequest', async (request) => void getSession(request).get('user'))
  app.register(sessions, { ...memorySettings(), load: 'eager' })
  app.get('/', async () => '')
  t.match((await app.inject('/')).json().message, /an onRequest hook that reads it must then be registered after fastify-django-sessions$/)
})

t.test('csrf-protection in its mode for @fastify/session is told which mode works', async (t) => {
  const { app } = createServer(t)
  app.register(sessions, { ...memorySettings(), load: 'eager' })
  app.register(csrfProtection, { sessionPlugin: '@fastify/session' })
  app.get('/', async (_request, reply) => reply.generateCsrf())
  t.match((await app.inject('/')).json().message, /^session\._csrf cannot be assigned: .* sessionPlugin: '@fastify\/secure-session'$/)
})
