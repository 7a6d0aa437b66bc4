/** Replies that are a web Response, a stream, or meant for shared caches, with a session. */
import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyRequest, onSendHookHandler } from 'fastify'
import t, { type Test } from 'tap'
import { MemoryCache, type SessionOptions } from '../../lib/index.ts'
import { Browser, createApp } from '../fixtures/app.ts'

class FailingCache extends MemoryCache {
  override async add(): Promise<boolean> {
    throw new Error('on purpose')
  }
}

const createSite = (t: Test, routes: (app: FastifyInstance) => void, options: Partial<SessionOptions> = {}) =>
  createApp(t, { engine: 'cache', cache: new MemoryCache(), ...options }, routes)

t.test('a Response keeps its headers beside the cookie: both are in Vary', async (t) => {
  const { app } = await createSite(t, (app) => {
    app.get('/', async (request) => {
      request.session.set('a', 1)
      const response = new Response('body', { status: 201, headers: { vary: 'Accept', 'x-own': 'yes' } })
      response.headers.append('set-cookie', 'theme=dark')
      response.headers.append('set-cookie', 'lang=en')
      return response
    })
    app.get('/read', async (request) => {
      await request.session.load()
      return new Response('read', { headers: { vary: 'Accept' } })
    })
    app.get('/untouched', async () => new Response('untouched', { headers: { vary: 'Accept' } }))
  })
  const response = await app.inject('/')
  t.match(response, { statusCode: 201, body: 'body', headers: { vary: 'Accept, Cookie', 'x-own': 'yes' } })
  t.strictSame(response.cookies.map(({ name }) => name).sort(), ['lang', 'sessionid', 'theme'])
  t.equal((await app.inject('/read')).headers.vary, 'Accept, Cookie')
  t.equal((await app.inject('/untouched')).headers.vary, 'Accept')
})

t.test('the status of a Response decides whether the session is saved', async (t) => {
  const { app } = await createSite(t, (app) => {
    app.get<{ Params: { code: string } }>('/:code', async (request) => {
      request.session.set('a', 1)
      return new Response(null, { status: Number(request.params.code) })
    })
  })
  for (const code of [200, 204, 303, 404]) {
    const response = await app.inject(`/${code}`)
    t.equal(response.statusCode, code)
    t.match(response.headers['set-cookie'], /^sessionid=/, String(code))
  }
  for (const code of [500, 503]) {
    const response = await app.inject(`/${code}`)
    t.equal(response.statusCode, code)
    t.notOk(response.headers['set-cookie'], String(code))
  }
})

t.test('a Response after saveSession(), and one without a body', async (t) => {
  const { app } = await createSite(t, (app) => {
    app.get('/saved', async (request, reply) => {
      request.session.set('a', 1)
      await reply.saveSession()
      return new Response('saved', { headers: { vary: 'Accept' } })
    })
    app.get('/empty', async (request) => {
      request.session.set('a', 1)
      return new Response()
    })
  })
  const saved = await app.inject('/saved')
  t.match(saved, { statusCode: 200, body: 'saved', headers: { vary: 'Cookie, Accept', 'set-cookie': /^sessionid=/ } })
  t.match(await app.inject('/empty'), { statusCode: 200, body: '', headers: { 'content-length': '0', 'set-cookie': /^sessionid=/ } })
})

t.test('a Response whose body was read fails as in Fastify, and saves nothing', async (t) => {
  const { app } = await createSite(t, (app) => {
    const used = async () => {
      const response = new Response('body', { headers: { 'x-own': 'yes' } })
      await response.text()
      return response
    }
    app.get('/', async (request) => {
      request.session.set('a', 1)
      return used()
    })
    app.get('/untouched', used)
  })
  const response = await app.inject('/')
  t.match(response.json(), (await app.inject('/untouched')).json())
  t.match(response.json(), { statusCode: 500, code: 'FST_ERR_REP_RESPONSE_BODY_CONSUMED' })
  t.notOk(response.headers['set-cookie'])
})

t.test('when the session cannot be saved, nothing of the reply is sent, and its stream is released', async (t) => {
  const cancelled: string[] = []
  const webStream = (name: string) => new ReadableStream({ cancel: () => void cancelled.push(name) })
  const nodeStream = new Readable({
    read: () => {},
    destroy(error, done) {
      cancelled.push('Node.js')
      done(error)
    }
  })
  const { app } = await createSite(
    t,
    (app) => {
      const bodies: Record<string, () => unknown> = {
        response: () => new Response(webStream('Response'), { headers: { 'x-own': 'yes', vary: 'Accept' } }),
        web: () => webStream('web'),
        node: () => nodeStream
      }
      app.get<{ Params: { body: string } }>('/:body', async (request, reply) => {
        request.session.set('a', 1)
        return reply.send(bodies[request.params.body]?.())
      })
    },
    { cache: new FailingCache() }
  )
  for (const body of ['response', 'web', 'node']) {
    const response = await app.inject(`/${body}`)
    t.match(response.json(), { statusCode: 503, code: 'FST_SESSION_STORE_UNAVAILABLE' }, body)
    t.notOk(response.headers['x-own'])
    t.equal(response.headers.vary, 'Cookie')
    t.notOk(response.headers['set-cookie'])
  }
  t.strictSame(cancelled, ['Response', 'web', 'Node.js'])
})

t.test('web streams are sent after the session was saved', async (t) => {
  const { app } = await createSite(t, (app) => {
    app.get('/', async (request, reply) => {
      request.session.set('a', 1)
      return reply.send(new Blob(['stre', 'amed']).stream())
    })
  })
  t.match(await app.inject('/'), { statusCode: 200, body: 'streamed', headers: { 'set-cookie': /^sessionid=/ } })
})

t.test('saveSession() renews an untouched session as a reply does', async (t) => {
  let now = new Date('2026-01-02T03:04:05Z')
  const { app } = await createSite(
    t,
    (app) => {
      app.get('/set', async (request) => String(request.session.set('a', 1).modified))
      app.get('/raw', async (_request, reply) => {
        await reply.saveSession()
        reply.hijack()
        reply.raw.writeHead(200, reply.getHeaders() as Record<string, string>)
        reply.raw.end('raw')
      })
    },
    { saveEveryRequest: true, cookieAge: 60, clock: () => now }
  )
  const browser = new Browser(app)
  await browser.get('/set')
  now = new Date('2026-01-02T03:04:35Z')
  const response = await browser.get('/raw')
  t.match(response.headers, { vary: 'Cookie', 'set-cookie': /Expires=Fri, 02 Jan 2026 03:05:35 GMT/ })
  now = new Date('2026-01-02T03:05:34Z')
  t.ok((await app.sessions.open(browser.cookie).load()).has('a'))
  t.notOk((await app.inject('/raw')).headers['set-cookie'], 'a visitor without a session gets none')
})

t.test('a reply that sets the cookie is not stored by shared caches', async (t) => {
  const { app, logs } = await createSite(t, (app) => {
    app.get<{ Querystring: { cache: string; how: string } }>('/', async (request, reply) => {
      const { cache, how } = request.query
      if (how === 'set') request.session.set('a', 1)
      if (how === 'flush') await request.session.flush()
      if (how === 'read') await request.session.load()
      if (how === 'response') {
        request.session.set('a', 1)
        return new Response('', { headers: { 'cache-control': cache } })
      }
      reply.header('cache-control', cache)
      return ''
    })
    app.get('/expires', async (request, reply) => {
      request.session.set('a', 1)
      reply.header('expires', 'Fri, 16 Jan 2099 03:04:05 GMT')
      return ''
    })
    app.get('/plain', async (request) => String(request.session.set('a', 1).modified))
  })
  const cacheControl = async (how: string, cache: string) => {
    const headers = { cookie: how === 'flush' ? 'sessionid=abcdefgh' : '' }
    return (await app.inject({ url: '/', query: { how, cache }, headers })).headers['cache-control']
  }
  for (const how of ['set', 'flush', 'response']) {
    t.equal(await cacheControl(how, 'public, max-age=60'), 'private, max-age=60', how)
    t.equal(await cacheControl(how, 'no-store'), 'no-store', how)
  }
  for (const how of ['read', 'nothing']) t.equal(await cacheControl(how, 'public, max-age=60'), 'public, max-age=60', how)
  t.equal((await app.inject('/expires')).headers['cache-control'], 'private')
  t.equal((await app.inject('/plain')).headers['cache-control'], undefined)
  const warnings = logs.filter(({ msg }) => /shared caches/.test(String(msg)))
  t.match(warnings, [{ route: '/' }, { route: '/expires' }], 'once for each route')
})

t.test('the headers about caches hold against hooks that are added later, and those of plugins and routes', async (t) => {
  const replace: onSendHookHandler = (_request, reply, payload, done) => {
    reply.headers({ 'cache-control': 'public, max-age=60', vary: 'origin' })
    done(null, payload)
  }
  const { app } = await createSite(t, (app) => {
    const set = async (request: FastifyRequest) => String(request.session.set('a', 1).modified)
    app.addHook('onSend', replace)
    app.get('/', set)
    app.get('/own', { onSend: [replace] }, set)
    app.get('/read', async (request) => String((await request.session.load()).size))
    app.get('/unused', async () => '')
  })
  const headers = async (url: string) => (await app.inject(url)).headers
  for (const url of ['/', '/own']) t.match(await headers(url), { 'cache-control': 'private, max-age=60', vary: 'origin, Cookie' }, url)
  t.match(await headers('/read'), { 'cache-control': 'public, max-age=60', vary: 'origin, Cookie' })
  t.match(await headers('/unused'), { 'cache-control': 'public, max-age=60', vary: 'origin' })
})
