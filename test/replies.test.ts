/** The corners of replying, over real sockets: what the browser is told first is stored first, and nothing ends the process. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Agent, get, type IncomingMessage, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import createKnex from 'knex'
import t, { type Test } from 'tap'
import { toObject } from '../lib/django/serializer.ts'
import { MemoryCache, type SessionOptions } from '../lib/index.ts'
import { migrationSource } from '../lib/migrations.ts'
import { createApp, gate } from './fixtures/app.ts'
import { createDatabase, databases, holdUpdates, missing, openDatabase, recordQueries } from './fixtures/databases.ts'
import { createCodec } from './fixtures/engines.ts'
import { startSite } from './fixtures/site.ts'

const rejections: unknown[] = []
process.on('unhandledRejection', (error) => rejections.push(error))

type Routes = (app: FastifyInstance) => void

/** A server on a port of its own. */
async function listen(t: Test, options: Partial<SessionOptions>, routes: Routes, server: FastifyServerOptions = {}) {
  const withRead: Routes = (app) => {
    app.get('/read', async (request) => (await request.session.load()).toObject())
    routes(app)
  }
  const { app, logs } = await createApp(t, options, withRead, server)
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  return { app, logs, origin: `http://127.0.0.1:${port}` }
}

function cookieOf({ headers }: IncomingMessage): string {
  return (headers['set-cookie']?.[0] ?? '').split(';')[0] as string
}

async function textOf(stream: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of stream) text += chunk
  return text
}

async function fetchText(url: string, cookie = ''): Promise<string> {
  const [response] = (await once(get(url, { headers: { cookie }, agent: false }), 'response')) as [IncomingMessage]
  return textOf(response)
}

for (const database of databases) {
  t.test(`whoever follows a redirect sees the new data, on ${database}`, { skip: missing(database) }, async (t) => {
    const knex = await openDatabase(t, database)
    const { origin } = await listen(t, { knex }, (app) => {
      app.get('/go', async (request, reply) => {
        request.session.set('count', (count = 0) => count + 1)
        return reply.redirect('/read')
      })
      // Its headers leave long before its body ends.
      app.get('/go/streaming', async (request, reply) => {
        request.session.set('count', (count = 0) => count + 1)
        const body = new Readable({ read: () => {} })
        body.push('first')
        request.raw.once('close', () => body.destroy())
        return reply.code(302).header('location', '/read').send(body)
      })
    })
    let cookie = ''
    let count = 0
    for (const url of ['/go', '/go/streaming', '/go', '/go/streaming']) {
      const going = get(origin + url, { headers: { cookie }, agent: false })
      // At the headers, with the body unread.
      const [response] = (await once(going, 'response')) as [IncomingMessage]
      cookie = cookieOf(response)
      count++
      t.strictSame(JSON.parse(await fetchText(origin + response.headers.location, cookie)), { count }, url)
      going.on('error', () => {}).destroy()
    }
  })
}

t.test('a second send(), and a throw after send(), change neither reply nor session, and the server goes on', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const { origin } = await listen(t, { knex }, (app) => {
    app.get('/twice', (request, reply) => {
      request.session.set('by', 'twice')
      reply.send('first')
      reply.send('second')
    })
    app.get('/throw', async (request, reply) => {
      request.session.set('by', 'throw')
      reply.send('first')
      throw new Error('on purpose')
    })
    app.get('/return', async (request, reply) => {
      request.session.set('by', 'return')
      reply.send('first')
      return 'second'
    })
  })
  for (const by of ['twice', 'throw', 'return']) {
    const [response] = (await once(get(`${origin}/${by}`, { agent: false }), 'response')) as [IncomingMessage]
    t.equal(response.statusCode, 200, by)
    t.equal(await textOf(response), 'first')
    t.strictSame(JSON.parse(await fetchText(`${origin}/read`, cookieOf(response))), { by })
  }
})

t.test('server-sent events: the session is stored before the first event, and another request changes it meanwhile', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const door = gate()
  const { origin } = await listen(t, { knex }, (app) => {
    app.get('/events', async (request, reply) => {
      request.session.set('follows', true)
      await reply.saveSession()
      reply.hijack()
      reply.raw.writeHead(200, { ...(reply.getHeaders() as Record<string, string>), 'content-type': 'text/event-stream' })
      reply.raw.write('data: 1\n\n')
      await door.pass()
      const data = (await app.sessions.open(request.session.sessionKey).load()).toObject()
      reply.raw.end(`data: ${JSON.stringify(data)}\n\n`)
    })
    app.get('/set', async (request) => {
      request.session.set('meanwhile', 1)
      return 'set'
    })
  })
  const [response] = (await once(get(`${origin}/events`, { agent: false }), 'response')) as [IncomingMessage]
  t.equal(response.headers.vary, 'Cookie')
  const cookie = cookieOf(response)
  await door.reached
  t.strictSame(JSON.parse(await fetchText(`${origin}/read`, cookie)), { follows: true })
  await fetchText(`${origin}/set`, cookie)
  door.open()
  t.equal(await textOf(response), 'data: 1\n\ndata: {"follows":true,"meanwhile":1}\n\n')
})

t.test('a client that goes away before the reply: its session is saved, and the server goes on', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const door = gate()
  const replied = gate()
  const { origin } = await listen(t, { knex }, (app) => {
    app.get('/slow', async (request) => {
      await request.session.load()
      const left = once(request.raw.socket, 'close')
      await door.pass()
      await left
      request.session.set('late', true)
      return 'nobody listens'
    })
    // After the plugin's own hook.
    app.addHook('onSend', async ({ url }) => {
      if (url === '/slow') replied.pass()
    })
    app.get('/start', async (request) => String(request.session.set('start', 1).modified))
  })
  const [start] = (await once(get(`${origin}/start`, { agent: false }), 'response')) as [IncomingMessage]
  const cookie = cookieOf(start.resume())
  const leaving = get(`${origin}/slow`, { headers: { cookie }, agent: false })
  leaving.on('error', () => {})
  await door.reached
  leaving.destroy()
  door.open()
  await replied.reached
  t.strictSame(JSON.parse(await fetchText(`${origin}/read`, cookie)), { start: 1, late: true })
})

/** A cache in which a new session waits at a door, and may be refused. */
class SlowCache extends MemoryCache {
  readonly door = gate()
  failing = false
  override async add(...args: Parameters<MemoryCache['add']>) {
    await this.door.pass()
    if (this.failing) throw new Error('on purpose')
    return super.add(...args)
  }
}

const bodies: Record<string, () => string | Readable> = { 'a text': () => 'first', 'a stream': () => Readable.from(['fir', 'st']) }

for (const [what, body] of Object.entries(bodies)) {
  t.test(`a handler that times out while its reply, ${what}, is being saved for: one reply, the first`, async (t) => {
    const cache = new SlowCache()
    let timedOut: Promise<unknown> = Promise.resolve()
    const { origin } = await listen(
      t,
      { engine: 'cache', cache },
      (app) => {
        app.get('/slow', async ({ session, signal }, reply) => {
          timedOut = once(signal, 'abort')
          session.set('saved', true)
          return reply.type('text/plain').send(body())
        })
      },
      { handlerTimeout: 20 }
    )
    const pending = once(get(`${origin}/slow`, { agent: false }), 'response')
    await cache.door.reached
    await timedOut
    cache.door.open()
    const [response] = (await pending) as [IncomingMessage]
    t.equal(response.statusCode, 200)
    t.equal(response.headers['content-type'], 'text/plain')
    t.equal(await textOf(response), 'first')
    t.strictSame(JSON.parse(await fetchText(`${origin}/read`, cookieOf(response))), { saved: true })
  })
}

t.test('a handler that times out while its session is saved in vain: one reply, which says so', async (t) => {
  const cache = new SlowCache()
  cache.failing = true
  let timedOut: Promise<unknown> = Promise.resolve()
  const routes: Routes = (app) => {
    app.get('/slow', async ({ session, signal }) => {
      timedOut = once(signal, 'abort')
      session.set('saved', true)
      return 'first'
    })
  }
  const { origin } = await listen(t, { engine: 'cache', cache }, routes, { handlerTimeout: 20 })
  const pending = once(get(`${origin}/slow`, { agent: false }), 'response')
  await cache.door.reached
  await timedOut
  cache.door.open()
  const [response] = (await pending) as [IncomingMessage]
  t.equal(response.statusCode, 503)
  t.match(JSON.parse(await textOf(response)), { statusCode: 503, code: 'FST_SESSION_STORE_UNAVAILABLE' })
  t.notOk(response.headers['set-cookie'])
  t.strictSame(JSON.parse(await fetchText(`${origin}/read`)), {}, 'the server goes on')
})

t.test('a handler that times out before it changes the session: 503, nothing is saved, and the change is reported', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const door = gate()
  let handled: Promise<unknown> = Promise.resolve()
  const routes: Routes = (app) => {
    app.get('/slow', (request) => {
      const handle = async () => {
        await request.session.load()
        await door.pass()
        request.session.set('late', true)
        return 'late'
      }
      const answer = handle()
      handled = answer
      return answer
    })
    app.get('/start', async (request) => String(request.session.set('start', 1).modified))
  }
  const { origin, logs } = await listen(t, { knex }, routes, { handlerTimeout: 200 })
  const [start] = (await once(get(`${origin}/start`, { agent: false }), 'response')) as [IncomingMessage]
  const cookie = cookieOf(start.resume())
  const [response] = (await once(get(`${origin}/slow`, { headers: { cookie }, agent: false }), 'response')) as [IncomingMessage]
  t.equal(response.statusCode, 503)
  t.match(JSON.parse(await textOf(response)), { code: 'FST_ERR_HANDLER_TIMEOUT' })
  t.equal(response.headers['set-cookie'], undefined)
  await door.reached
  door.open()
  await handled
  t.strictSame(JSON.parse(await fetchText(`${origin}/read`, cookie)), { start: 1 })
  t.ok(logs.some(({ code }) => code === 'FST_SESSION_CHANGED_AFTER_REPLY'))
})

t.test('a connection that times out: its session is saved, also what the hook onTimeout sets, and the server goes on', async (t) => {
  const cache = new MemoryCache()
  const door = gate()
  const replied = gate()
  let sessionKey: string | null = null
  const routes: Routes = (app) => {
    app.addHook('onTimeout', async (request) => {
      request.session.set('timed out', true)
      door.open()
    })
    app.addHook('onSend', async (request) => {
      if (request.url !== '/slow') return
      sessionKey = request.session.sessionKey
      replied.pass()
    })
    app.get('/slow', async (request) => {
      request.session.set('handled', true)
      await door.pass()
      return 'nobody listens'
    })
  }
  const { app, origin } = await listen(t, { engine: 'cache', cache }, routes, { connectionTimeout: 100 })
  await t.rejects(once(get(`${origin}/slow`, { agent: false }), 'response'), { code: 'ECONNRESET' })
  await replied.reached
  t.strictSame((await app.sessions.open(sessionKey).load()).toObject(), { handled: true, 'timed out': true })
  t.strictSame(JSON.parse(await fetchText(`${origin}/read`)), {})
})

t.test('HEAD saves what its GET handler changes and has no body; 404 and 5xx save nothing and vary', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const { origin } = await listen(t, { knex }, (app) => {
    app.get('/set', async (request) => String(request.session.set('a', 1).modified))
    app.get('/fail', async (request, reply) => {
      ;(await request.session.load()).set('a', 2)
      return reply.code(502).send('bad gateway')
    })
    app.get('/throw', async (request) => {
      ;(await request.session.load()).set('a', 3)
      throw new Error('on purpose')
    })
  })
  const [head] = (await once(request(`${origin}/set`, { method: 'HEAD', agent: false }).end(), 'response')) as [IncomingMessage]
  t.equal(await textOf(head), '')
  const cookie = cookieOf(head)
  t.strictSame(JSON.parse(await fetchText(`${origin}/read`, cookie)), { a: 1 })
  const queries = recordQueries(knex)
  for (const [url, status, vary] of [
    ['/nowhere', 404, undefined],
    ['/fail', 502, 'Cookie'],
    ['/throw', 500, 'Cookie']
  ] as const) {
    const [response] = (await once(get(origin + url, { headers: { cookie }, agent: false }), 'response')) as [IncomingMessage]
    t.match(response, { statusCode: status }, url)
    t.equal(response.headers.vary, vary)
    t.notOk(response.headers['set-cookie'])
    response.resume()
  }
  t.notOk(queries.some((sql) => !sql.startsWith('SELECT')))
  t.strictSame(JSON.parse(await fetchText(`${origin}/read`, cookie)), { a: 1 })
})

t.test('close() waits for the saves that are under way', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const door = gate()
  const { app, origin } = await listen(t, { knex }, (app) => {
    app.get('/slow', async (request) => {
      await door.pass()
      request.session.set('saved', true)
      return 'saved'
    })
  })
  const agent = new Agent({ keepAlive: true })
  t.teardown(() => agent.destroy())
  const pending = once(get(`${origin}/slow`, { agent }), 'response')
  await door.reached
  const closed = app.close()
  door.open()
  const [response] = (await pending) as [IncomingMessage]
  t.equal(await textOf(response), 'saved')
  agent.destroy()
  await closed
  t.equal((await knex('django_session').select()).length, 1)
})

const PROCESS = `
import Fastify from 'fastify'
import createKnex from 'knex'
import { migrationSource } from './lib/migrations.ts'
import sessions from './lib/index.ts'
const knex = JSON.parse(process.env.KNEX)
const setup = createKnex(knex)
await setup.migrate.latest({ migrationSource })
await setup.destroy()
const app = Fastify()
await app.register(sessions, { secretKey: 'the secret key of the tests, as long as Django wants it', knex })
app.get('/', async (request) => String(request.session.set('a', 1).modified))
await app.listen({ port: 0, host: '127.0.0.1' })
const { port } = app.server.address()
const replies = Promise.all(Array.from({ length: 20 }, () => fetch('http://127.0.0.1:' + port, { headers: { connection: 'close' } })))
await replies.then((all) => console.log(all.filter(({ status }) => status === 200).length))
await app.close()
`

for (const database of databases) {
  t.test(`after close() the process ends by itself, on ${database}`, { skip: missing(database) }, async (t) => {
    const knex = await createDatabase(t, database)
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', PROCESS], {
      env: { ...process.env, KNEX: JSON.stringify(knex) },
      stdio: ['ignore', 'pipe', 'inherit']
    })
    let output = ''
    child.stdout.on('data', (text) => {
      output += text
    })
    const [code] = await once(child, 'exit')
    t.equal(code, 0)
    t.equal(output.trim(), '20')
  })
}

for (const server of ['postgres', 'mariadb'] as const) {
  t.test(`a process that is told to end in mid-save replies first, on ${server}`, { skip: missing(server) }, async (t) => {
    const config = await createDatabase(t, server)
    const knex = createKnex(config)
    t.teardown(() => knex.destroy())
    await knex.migrate.latest({ migrationSource })
    const site = await startSite(t, { knex: config, storeTimeout: 60 })
    const { cookie } = await site.get('/set/start')
    const hold = await holdUpdates(knex, server)
    const saving = site.get('/set/late', cookie)
    await hold.reached()
    const exit = once(site.child, 'exit')
    await site.beginClose()
    await hold.release()
    t.equal((await saving).status, 200)
    t.strictSame(await exit, [0, null])
    const [row] = await knex('django_session').select('session_data')
    t.strictSame(toObject(createCodec().decode(row.session_data)), { start: true, count: 2, late: true })
  })
}

t.test('nothing was left unhandled', async (t) => t.strictSame(rejections, []))
