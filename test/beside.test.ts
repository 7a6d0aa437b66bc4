/** Other plugins, the real ones: each does its work and so do the sessions, whichever is registered first. */

import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import sessions, { getSession, MemoryCache } from '../lib/public.ts'
import { Browser, secretKey } from './fixtures/app.ts'
import { type Neighbour, neighbours } from './fixtures/neighbours.ts'

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

function createServer(t: Test) {
  const logs: Record<string, unknown>[] = []
  const stream = { write: (line: string) => logs.push(JSON.parse(line)) }
  const app = Fastify({ logger: { level: 'warn', stream } }) as unknown as FastifyInstance
  t.teardown(() => app.close())
  return { app, logs }
}

async function createApp(t: Test, order: string, { register, options, routes }: Neighbour) {
  const { app, logs } = createServer(t)
  const ours: Register = (app) => app.register(sessions, { secretKey, engine: 'cache', cache: new MemoryCache(), ...options })
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
        logs.filter(({ msg }) => /session/i.test(String(msg))),
        []
      )
    })
  }
}

t.test('routes that were registered before the sessions have sessions, and need not use them', async (t) => {
  const { app, logs } = createServer(t)
  const cache = new MemoryCache()
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
  await app.register(sessions, { secretKey, engine: 'cache', cache })
  for (const [url, cookies] of Object.entries({ '/untouched': 0, '/nothing': 0, '/hook': 1, '/saved': 1 })) {
    const response = await new Browser(app).get(url)
    t.match(response, { statusCode: 200, body: 'a page' }, url)
    t.equal(response.cookies.length, cookies, url)
  }
  t.match((await new Browser(app, 'x').get('/untouched')).headers['set-cookie'], /^sessionid=; Max-Age=0/)
  t.match(logs, [{ code: 'FST_SESSION_UNKNOWN_KEY' }])
})
