/**
 * The site that the checks visit: the same routes for everybody, with the sessions of
 * the package that the arguments name, set up as its manual says. VARIANT is what a check
 * needs otherwise: `renewing` sessions, or a `secure` cookie.
 */
import { createHash } from 'node:crypto'
import Fastify, { type FastifyInstance, type FastifyReply } from 'fastify'
import sessions, { type Session } from 'fastify-django-sessions'
import { express, expressSession, fastifyCookie, fastifySession, secureSession } from '../contenders/peers.ts'
import { cookieAge, database, exitOnSignal, poolSize, port, secret, serve } from '../contenders/serve.ts'
import { openStore, type StoreKind } from '../contenders/store.ts'

const [kind = '', storeKind] = process.argv.slice(2)
const isRenewing = process.env.VARIANT === 'renewing'
const isSecure = process.env.VARIANT === 'secure'

/** What would end the process: counted instead, so that all checks see the same one. */
const faults: string[] = []
process.on('uncaughtException', () => faults.push('uncaught exception'))
process.on('unhandledRejection', () => faults.push('unhandled rejection'))
process.on('message', (question) => {
  // What this turn has begun may fail at its end.
  if (question === 'faults') setImmediate(() => process.send?.(faults.splice(0)))
})

type Query = Record<string, string>

/** What the routes do with a session, in the words of its package. */
interface Words {
  load(): unknown
  get(name: string): unknown
  set(name: string, value: unknown): void
  increment(name: string): void
  rotate(): unknown
  destroy(): unknown
}

/** Waits where a check has put a gate: its address answers when the check opens it. */
async function pass({ gate }: Query): Promise<void> {
  if (gate !== undefined) await fetch(gate).then((response) => response.text())
}

const routes: Record<string, (words: Words, query: Query) => unknown> = {
  '/untouched': () => {},
  async '/read'(words, query) {
    await words.load()
    await pass(query)
    return { value: words.get(query.name as string) ?? null }
  },
  async '/set'(words, query) {
    await words.load()
    await pass(query)
    words.set(query.name as string, JSON.parse(query.value as string))
  },
  async '/count'(words, query) {
    await words.load()
    await pass(query)
    words.increment('count')
  },
  async '/push'(words, query) {
    await words.load()
    const list = words.get(query.name as string) as unknown[]
    list.push('pushed')
  },
  async '/rotate'(words) {
    await words.rotate()
  },
  async '/logout'(words, query) {
    await pass(query)
    await words.destroy()
  },
  async '/set-and-fail'(words) {
    await words.load()
    words.set('mark', 'set')
    throw new Error('on purpose')
  }
}

/** The names that a rotation is told to keep, where it has to be told. */
const KEPT = ['user', 'mark']

const setUps: Record<string, () => unknown> = {
  'fastify-session-defaults': () => serveFastifySession({}),
  'fastify-session': () => serveFastifySession({ rolling: isRenewing, saveUninitialized: false }),
  express: serveExpress,
  'secure-session': serveSecureSession,
  ours: serveOurs
}
await setUps[kind]?.()

/** The routes whose replies differ with the framework, in Fastify's way. */
async function serveFastify(app: FastifyInstance, wordsOf: (request: object) => Words, saveByHand: (reply: FastifyReply) => unknown) {
  const mark = async (request: object) => {
    const words = wordsOf(request)
    await words.load()
    words.set('mark', 'set')
  }
  for (const [path, route] of Object.entries(routes)) {
    app.get(path, async (request) => (await route(wordsOf(request), request.query as Query)) ?? { ok: true })
  }
  app.get('/redirect', async (request, reply) => {
    await mark(request)
    return reply.redirect('/read?name=mark', 303)
  })
  app.get('/send-twice', async (request, reply) => {
    await mark(request)
    reply.send({ ok: true })
  })
  app.get('/send-then-throw', async (request, reply) => {
    await mark(request)
    reply.send({ ok: true })
    throw new Error('on purpose')
  })
  app.get('/raw', async (request, reply) => {
    await mark(request)
    await saveByHand(reply)
    reply.hijack()
    reply.raw.writeHead(200, reply.getHeaders() as Record<string, string>)
    reply.raw.end('{}')
  })
  await serve(app)
}

function createFastify(): FastifyInstance {
  return Fastify({ logger: { level: 'warn' } }) as unknown as FastifyInstance
}

interface FastifySession {
  get(name: string): unknown
  set(name: string, value: unknown): void
  regenerate(keep: string[]): Promise<void>
  destroy(): Promise<void>
  save(): Promise<void>
}

async function serveFastifySession(options: object): Promise<void> {
  const app = createFastify()
  const store = openStore(storeKind as StoreKind, { createTable: storeKind === 'knex' })
  await app.register(fastifyCookie)
  await app.register(fastifySession, { secret, store, cookie: { secure: isSecure, maxAge: cookieAge * 1000 }, ...options })
  addCleanup(app, () => cleanUp(store))
  const sessionOf = (request: object) => (request as { session: FastifySession }).session
  const wordsOf = (request: object): Words => ({
    load: () => {},
    get: (name) => sessionOf(request).get(name),
    set: (name, value) => sessionOf(request).set(name, value),
    increment: (name) => sessionOf(request).set(name, Number(sessionOf(request).get(name) ?? 0) + 1),
    rotate: () => sessionOf(request).regenerate(KEPT),
    destroy: () => sessionOf(request).destroy()
  })
  await serveFastify(app, wordsOf, (reply) => sessionOf(reply.request).save())
}

interface SecureSession {
  get(name: string): unknown
  set(name: string, value: unknown): void
  regenerate(keep: string[]): void
  delete(): void
  touch(): void
}

async function serveSecureSession(): Promise<void> {
  const app = createFastify()
  const cookie = { path: '/', httpOnly: true, secure: isSecure, maxAge: cookieAge }
  const key = createHash('sha256').update(secret).digest()
  await app.register(secureSession, { key, expiry: cookieAge, cookie })
  const sessionOf = (request: object) => (request as { session: SecureSession }).session
  const wordsOf = (request: object): Words => ({
    load: () => isRenewing && sessionOf(request).touch(),
    get: (name) => sessionOf(request).get(name),
    set: (name, value) => sessionOf(request).set(name, value),
    increment: (name) => sessionOf(request).set(name, Number(sessionOf(request).get(name) ?? 0) + 1),
    rotate: () => sessionOf(request).regenerate(KEPT),
    destroy: () => sessionOf(request).delete()
  })
  await serveFastify(app, wordsOf, () => {})
}

async function serveOurs(): Promise<void> {
  const app = createFastify()
  const knex = { client: 'pg', connection: database, pool: { min: poolSize, max: poolSize } }
  const cookie = isSecure ? { cookie: { secure: true } } : {}
  await app.register(sessions, { secretKey: secret, knex, saveEveryRequest: isRenewing, ...cookie })
  addCleanup(app, () => app.sessions.clearExpired())
  const sessionOf = (request: object) => (request as { session: Session }).session
  const wordsOf = (request: object): Words => ({
    load: () => sessionOf(request).load(),
    get: (name) => sessionOf(request).get(name),
    set: (name, value) => sessionOf(request).set(name, value),
    increment: (name) => sessionOf(request).set(name, (current: unknown = 0) => Number(current) + 1),
    rotate: () => sessionOf(request).cycleKey(),
    destroy: () => sessionOf(request).flush()
  })
  await serveFastify(app, wordsOf, (reply) => reply.saveSession())
}

type Callback = (error?: Error) => void

interface ExpressRequest {
  session: Record<string, unknown> & { regenerate(done: Callback): void; destroy(done: Callback): void }
  query: Query
}
interface ExpressResponse {
  json(body: unknown): void
  redirect(status: number, url: string): void
  writeHead(status: number): void
  end(body: string): void
}

const called = (call: (done: Callback) => void) =>
  new Promise<void>((resolve, reject) => call((error) => (error ? reject(error) : resolve())))

function expressWords(request: ExpressRequest): Words {
  return {
    load: () => {},
    get: (name) => request.session[name],
    set: (name, value) => {
      request.session[name] = value
    },
    increment: (name) => {
      request.session[name] = Number(request.session[name] ?? 0) + 1
    },
    async rotate() {
      const kept = KEPT.filter((name) => name in request.session).map((name) => [name, request.session[name]])
      await called((done) => request.session.regenerate(done))
      Object.assign(request.session, Object.fromEntries(kept))
    },
    destroy: () => called((done) => request.session.destroy(done))
  }
}

/** With the options that its manual asks to choose, chosen as it advises. */
function serveExpress(): void {
  const app = express()
  const store = openStore(storeKind as StoreKind, { createTable: storeKind === 'knex' })
  const cookie = { secure: isSecure, maxAge: cookieAge * 1000 }
  app.use(expressSession({ secret, store, cookie, resave: false, saveUninitialized: false, rolling: isRenewing }))
  for (const [path, route] of Object.entries(routes)) {
    app.get(path, async (request: ExpressRequest, response: ExpressResponse) =>
      response.json((await route(expressWords(request), request.query)) ?? { ok: true })
    )
  }
  app.get('/redirect', (request: ExpressRequest, response: ExpressResponse) => {
    request.session.mark = 'set'
    response.redirect(303, '/read?name=mark')
  })
  app.get('/send-then-throw', async (request: ExpressRequest, response: ExpressResponse) => {
    request.session.mark = 'set'
    response.json({ ok: true })
    throw new Error('on purpose')
  })
  app.get('/raw', (request: ExpressRequest, response: ExpressResponse) => {
    request.session.mark = 'set'
    response.writeHead(200)
    response.end('{}')
  })
  app.get('/clean-up', async (_request: ExpressRequest, response: ExpressResponse) => response.json(await cleanUp(store)))
  const server = app.listen(port, '127.0.0.1', () => process.send?.({ ready: true }))
  exitOnSignal(async () => {
    server.close()
    server.closeAllConnections()
  })
}

/** What the timers of the stores do, at once. */
function cleanUp(store: object): Promise<void> {
  const { dbCleanup, pruneSessions } = store as { dbCleanup?(): Promise<void>; pruneSessions?(done: Callback): void }
  if (dbCleanup !== undefined) return dbCleanup.call(store)
  return called((done) => pruneSessions?.call(store, done))
}

function addCleanup(app: FastifyInstance, run: () => Promise<unknown>): void {
  app.get('/clean-up', async () => {
    await run()
    return { ok: true }
  })
}
