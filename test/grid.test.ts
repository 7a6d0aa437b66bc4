/**
 * The grid of plain use: each way to register, to load and to reply, on each engine and database.
 * Each cell says what a visitor sees.
 */
import { createRequire } from 'node:module'
import Fastify, { type FastifyInstance, type FastifyReply } from 'fastify'
import t from 'tap'
import { createAuth } from '../lib/auth/index.ts'
import sessions, { type SessionOptions } from '../lib/index.ts'
import { Browser, createApp, secretKey } from './fixtures/app.ts'
import { openDatabase } from './fixtures/databases.ts'
import { engineOptions } from './fixtures/engines.ts'

// --- ways to register and to load, on SQLite ----------------------------------------------------

type Routes = (app: FastifyInstance) => void

const registerFromCommonJs = createRequire(import.meta.url)('./fixtures/commonjs.cjs')

const registrations: Record<string, (app: FastifyInstance, options: SessionOptions, routes: Routes) => unknown> = {
  'with await': async (app, options, routes) => {
    await app.register(sessions, options)
    routes(app)
  },
  'without await': (app, options, routes) => {
    app.register(sessions, options)
    routes(app)
  },
  'in a child plugin': (app, options, routes) => {
    app.register(async (child) => {
      await child.register(sessions, options)
      routes(child)
    })
  },
  'from CommonJS': (app, options, routes) => {
    registerFromCommonJs(app, options)
    routes(app)
  }
}

const DISABLED = 'The route %s has config: { session: false }, so its requests have no session'
const seen = (statusCode: number, body: string, setsCookie: boolean) => ({ statusCode, body, setsCookie })

/** The replies to a visitor with a session, who has counted once before. */
const modes = {
  lazy: { read: seen(200, '1', false), write: seen(200, '2', true), 404: seen(404, 'Route GET:/404 not found', false) },
  eager: { read: seen(200, '1', false), write: seen(200, '2', true), 404: seen(404, 'Route GET:/404 not found', false) },
  false: {
    read: seen(500, DISABLED.replace('%s', '/read'), false),
    write: seen(500, DISABLED.replace('%s', '/write'), false),
    404: seen(404, 'Route GET:/404 not found', false)
  }
}

const countingRoutes =
  (mode: keyof typeof modes): Routes =>
  (app) => {
    const config = { session: mode === 'false' ? (false as const) : mode }
    app.get('/read', { config }, async ({ session }) => {
      if (mode !== 'eager') await session.load()
      return String(session.get('visits', 0))
    })
    app.get('/write', { config }, async ({ session }) => {
      if (mode !== 'eager') await session.load()
      return String(session.set('visits', (visits = 0) => Number(visits) + 1).get('visits'))
    })
    app.get('/start', async (request) => String(request.session.set('visits', 1).modified))
  }

for (const [how, register] of Object.entries(registrations)) {
  for (const [mode, cells] of Object.entries(modes)) {
    t.test(`registered ${how}, session ${mode}`, async (t) => {
      const knex = await openDatabase(t, 'sqlite')
      for (const [cell, expected] of Object.entries(cells)) {
        const app = Fastify()
        t.teardown(() => app.close())
        await register(app, { secretKey, knex }, countingRoutes(mode as keyof typeof modes))
        await app.ready()
        const browser = new Browser(app)
        await browser.get('/start')
        const response = await browser.get(`/${cell}`)
        const body = response.statusCode === 200 ? response.body : response.json().message
        t.strictSame(seen(response.statusCode, body, response.headers['set-cookie'] !== undefined), expected, cell)
      }
    })
  }
}

// --- what a reply does, on each engine and database ----------------------------------------------------

const user = { id: 7, password: 'pbkdf2_sha256$1$salt$hash' }
const auth = createAuth({ getUser: (id) => (id === '7' ? user : null) })

/** A route that raises the counter of visits. */
function count(app: FastifyInstance, url: string, send: (reply: FastifyReply) => Promise<unknown>): void {
  app.get(url, async (request, reply) => {
    request.session.set('visits', (visits = 0) => Number(visits) + 1)
    return send(reply)
  })
}

const replyRoutes: Routes = (app) => {
  app.get('/read', async (request) => {
    const session = await request.session.load()
    return { visits: session.get('visits') ?? null, user: await auth.userId(request) }
  })
  app.get('/login', async (request) => auth.login(request, user).then(() => 'welcome'))
  app.get('/logout', async (request) => auth.logout(request).then(() => 'goodbye'))
  count(app, '/write', async () => 'written')
  count(app, '/4xx', async (reply) => reply.code(404).send('not here'))
  count(app, '/5xx', async (reply) => reply.code(502).send('bad gateway'))
  count(app, '/throw', async () => {
    throw new Error('on purpose')
  })
  count(app, '/redirect', async (reply) => reply.redirect('/read'))
  count(app, '/stream', async (reply) => reply.type('text/plain').send(new Blob(['stre', 'amed']).stream()))
  count(app, '/response', async () => new Response('made', { status: 201 }))
  count(app, '/hijack', async (reply) => {
    await reply.saveSession()
    reply.hijack()
    reply.raw.writeHead(200, reply.getHeaders() as Record<string, string>)
    reply.raw.end('raw')
  })
}

type CookieChange = 'no cookie' | 'same key' | 'new key' | 'deleted'

const cell = (statusCode: number, body: string, cookie: CookieChange, visits: number | null, user: string | null = null) => ({
  statusCode,
  body,
  cookie,
  visits,
  user
})

/** The replies to a visitor who has counted once before, and the data that is read afterwards. */
const replies = {
  '/read': cell(200, '{"visits":1,"user":null}', 'no cookie', 1),
  '/write': cell(200, 'written', 'same key', 2),
  '/login': cell(200, 'welcome', 'new key', 1, '7'),
  '/logout': cell(200, 'goodbye', 'deleted', null),
  '/4xx': cell(404, 'not here', 'same key', 2),
  '/5xx': cell(502, 'bad gateway', 'no cookie', 1),
  '/throw': cell(500, '{"statusCode":500,"error":"Internal Server Error","message":"on purpose"}', 'no cookie', 1),
  '/redirect': cell(302, '', 'same key', 2),
  '/stream': cell(200, 'streamed', 'same key', 2),
  '/response': cell(201, 'made', 'same key', 2),
  '/hijack': cell(200, 'raw', 'same key', 2),
  'HEAD /write': cell(200, '', 'same key', 2)
}

/** With signed_cookies the key is the data: it is another one after each change. */
const withDataAsKey = ({ cookie, ...rest }: ReturnType<typeof cell>) => ({ ...rest, cookie: cookie === 'same key' ? 'new key' : cookie })

function changeOf(before: string | null, after: string | null, wasSet: boolean): CookieChange {
  if (!wasSet) return 'no cookie'
  if (after === null) return 'deleted'
  return after === before ? 'same key' : 'new key'
}

for (const { name, skip, options } of engineOptions) {
  t.test(name, { skip }, async (t) => {
    const { app } = await createApp(t, await options(t), replyRoutes)
    for (const [route, expected] of Object.entries(replies)) {
      const browser = new Browser(app)
      await browser.get('/write')
      const before = browser.cookie
      const [url, method] = route.split(' ').reverse() as [string, 'HEAD' | undefined]
      const response = await browser.send(method ?? 'GET', url)
      const cookie = changeOf(before, browser.cookie, response.headers['set-cookie'] !== undefined)
      const { statusCode, body } = response
      const observed = { statusCode, body, cookie, ...(await browser.get('/read')).json() }
      t.strictSame(observed, name === 'signed_cookies' ? withDataAsKey(expected) : expected, route)
      t.equal(response.headers.vary, 'Cookie', `${route} varies`)
    }
  })
}
