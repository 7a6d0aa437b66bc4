/** Hooks of other plugins and of the application, before and after those of the sessions. */
import etag from '@fastify/etag'
import httpProxy from '@fastify/http-proxy'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t from 'tap'
import sessions, { getSession } from '../lib/untyped.ts'
import { Browser, createServer, memorySettings, warnings } from './fixtures/app.ts'

/** A cache that reads nothing and refuses to be written. */
const broken = {
  get: async () => null,
  add: () => Promise.reject(new Error('down')),
  replace: () => Promise.reject(new Error('down')),
  delete: async () => {}
}

for (const order of ['before', 'after'] as const) {
  t.test(`a page whose session cannot be saved is no 304, with @fastify/etag ${order} the sessions`, async (t) => {
    const { app } = createServer(t)
    const registers = [
      (app: FastifyInstance) => app.register(etag),
      (app: FastifyInstance) => app.register(sessions, { ...memorySettings(), cache: broken })
    ]
    for (const register of order === 'before' ? registers : registers.reverse()) register(app)
    app.register(async (app) => {
      app.get<{ Querystring: { change?: string } }>('/', async (request, reply) => {
        if (request.query.change !== undefined) getSession(request).set('a', 1)
        reply
          .header('cache-control', 'max-age=60')
          .header('expires', 'Fri, 01 Jan 2100 00:00:00 GMT')
          .header('content-disposition', 'attachment')
        return 'page'
      })
    })
    const tag = String((await app.inject('/')).headers.etag)
    const { statusCode, headers } = await app.inject({ url: '/?change', headers: { 'if-none-match': tag } })
    t.equal(statusCode, 503)
    t.not(headers.etag, tag)
    for (const name of ['cache-control', 'expires', 'content-disposition', 'set-cookie']) t.notOk(headers[name], name)
  })
}

t.test('headers of a proxied reply do not undo those of saveSession()', async (t) => {
  const upstream = createServer(t).app
  upstream.get('/page', async (_request, reply) =>
    reply.header('vary', 'Accept').header('cache-control', 'public, max-age=60').send('page')
  )
  await upstream.listen()
  const { app } = createServer(t)
  app.register(sessions, memorySettings())
  app.register(httpProxy, {
    upstream: upstream.listeningOrigin,
    preHandler: async (request, reply) => {
      getSession(request).set('a', 1)
      await reply.saveSession()
    }
  })
  const { headers } = await app.inject('/page')
  t.match(headers, { vary: 'Accept, Cookie', 'cache-control': 'private, max-age=60', 'set-cookie': /^sessionid=/ })
})

t.test('a reply in an earlier hook has no session, and ends a cookie that cannot be one', async (t) => {
  const { app } = createServer(t)
  app.addHook('onRequest', async (_request, reply) => reply.code(503).send('under pressure'))
  app.register(sessions, { ...memorySettings(), load: 'eager' })
  app.get('/', async () => 'unreachable')
  const anonymous = await app.inject('/')
  t.match(anonymous, { statusCode: 503, body: 'under pressure' })
  t.strictSame([anonymous.headers['set-cookie'], anonymous.headers.vary], [undefined, undefined])
  t.match((await new Browser(app, 'x').get('/')).headers, { vary: 'Cookie', 'set-cookie': /^sessionid=; Max-Age=0/ })
})

t.test('an interruption that a handler has awaited is reported once, and answered as the error handler says', async (t) => {
  const { app } = createServer(t)
  await app.register(sessions, memorySettings())
  const errors: string[] = []
  app.addHook('onError', async (_request, _reply, error) => void errors.push(error.code))
  const end = async (request: FastifyRequest) => {
    const session = getSession(request)
    await session.load()
    await app.sessions.open(session.sessionKey).flush()
    return session.set('a', 2)
  }
  app.get('/set', async (request) => String(getSession(request).set('a', 1).modified))
  app.get('/awaited', async (request) => (await end(request)).save())
  app.get('/committed', async (request) => String((await end(request)).modified))
  app.register(async (scope) => {
    scope.setErrorHandler((_error, _request, reply) => reply.code(302).header('location', '/sign-in').send())
    scope.get('/handled', async (request) => (await end(request)).save())
  })
  for (const [url, statusCode] of [
    ['/awaited', 400],
    ['/committed', 400],
    ['/handled', 302]
  ] as const) {
    const browser = new Browser(app)
    await browser.get('/set')
    errors.length = 0
    const response = await browser.get(url)
    t.equal(response.statusCode, statusCode, url)
    t.notOk(response.headers['set-cookie'])
    t.strictSame(errors, ['FST_SESSION_INTERRUPTED'], url)
  }
})

t.test('a later onSend hook that fails: the session was saved, and its cookie goes out with the error', async (t) => {
  const { app } = createServer(t)
  app.register(sessions, { ...memorySettings(), load: 'eager' })
  app.register(async (app) => {
    app.addHook('onSend', async (request, reply) => {
      if (request.url === '/set' && reply.statusCode === 200) throw new Error('no template')
    })
    app.get('/set', async (request) => String(getSession(request).set('a', 1).modified))
    app.get('/read', async (request) => ({ a: getSession(request).get('a') }))
  })
  const browser = new Browser(app)
  const response = await browser.get('/set')
  t.match(response.json(), { statusCode: 500, message: 'no template' })
  t.equal(response.cookies.length, 1)
  t.strictSame((await browser.get('/read')).json(), { a: 1 })
})

t.test('changes in preSerialization and in an error handler are saved, those in a later onSend hook are logged', async (t) => {
  const { app, logs } = createServer(t)
  app.register(sessions, { ...memorySettings(), load: 'eager' })
  app.register(async (app) => {
    const change = (name: string) => (request: FastifyRequest) => {
      if (request.url === `/${name}`) getSession(request).set(name, 1)
    }
    app.addHook('preSerialization', async (request) => change('template')(request))
    app.addHook('onSend', async (request) => change('late')(request))
    app.setErrorHandler((_error, request, reply) => {
      change('error')(request)
      return reply.code(422).send({ read: getSession(request).get('template') })
    })
    for (const url of ['/template', '/late']) app.get(url, async () => ({}))
    app.get('/error', async () => {
      throw new Error('refused')
    })
    app.get('/data', async (request) => getSession(request).data())
  })
  const browser = new Browser(app)
  await browser.get('/template')
  t.match(await browser.get('/error'), { statusCode: 422, body: '{"read":1}' })
  t.strictSame(warnings(logs), [])
  await browser.get('/late')
  t.strictSame((await browser.get('/data')).json(), { template: 1, error: 1 })
  t.match(warnings(logs), [{ code: 'FST_SESSION_CHANGED_AFTER_REPLY', route: '/late' }])
})
