/** Recipe: who may connect to a websocket, and what ends one that is open. */
import { once } from 'node:events'
import { Socket } from 'node:net'
import websocket from '@fastify/websocket'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { type AuthUser, createAuth } from '../../lib/auth/index.ts'
import { Browser, createApp } from '../fixtures/app.ts'
import { openDatabase } from '../fixtures/databases.ts'

async function createSite(t: Test) {
  const users = new Map<string, AuthUser>([['1', { id: 1, password: 'pbkdf2_sha256$1000$a$ada' }]])
  const { app } = await createApp(t, { knex: await openDatabase(t, 'sqlite') })
  const { login, logout, loginRequired, userId, userOf } = createAuth({ getUser: (id) => users.get(id) })

  async function isOwnOrigin(request: FastifyRequest): Promise<void> {
    if (request.headers.origin === `${request.protocol}://${request.host}`) return
    throw Object.assign(new Error('Expected a page of this site'), { statusCode: 403 })
  }

  async function answer(request: FastifyRequest, message: string): Promise<string | null> {
    const session = app.sessions.forCookie(request.headers.cookie)
    const user = await userOf(session)
    if (user === null) return null
    session.set('last_message', message)
    await session.save()
    return `Saved for user ${user.id}.`
  }

  await app.register(websocket)
  // The two ends of `injectWS` do not see each other's sockets end: the server would wait for that for 30 s.
  t.teardown(() => {
    for (const socket of app.websocketServer.clients) socket.terminate()
  })
  app.get('/socket', { websocket: true, preValidation: isOwnOrigin, preHandler: loginRequired() }, (socket, request) => {
    socket.on('message', async (data: Buffer) => {
      const text = await answer(request, String(data))
      if (text === null) socket.close(1008, 'Sign in again.')
      else socket.send(text)
    })
  })
  app.get('/news', { websocket: true, preValidation: isOwnOrigin, preHandler: loginRequired() }, (socket, request) => {
    const closed = new AbortController()
    socket.on('close', () => closed.abort())
    const ended = app.sessions.watch(request.session, { signal: closed.signal })
    ended.addEventListener('abort', () => {
      if (ended.reason.name === 'AbortError') socket.close(1001, 'The server restarts.')
      else socket.close(1008, 'Sign in again.')
    })
  })
  app.get('/login', async (request) => {
    await login(request, users.get('1') as AuthUser)
    return {}
  })
  app.get('/who', async (request) => userId(request))
  app.get('/logout', async (request) => {
    await logout(request)
    return {}
  })
  await app.ready()
  const browser = new Browser(app)
  return { app, users, browser }
}

/** `injectWS` has neither a host nor a connection: these stand for http://localhost. */
function connect(app: FastifyInstance, { cookie }: Browser, origin = 'http://localhost', url = '/socket') {
  const headers = { origin, host: 'localhost', ...(cookie !== null && { cookie: `sessionid=${cookie}` }) }
  return app.injectWS(url, { headers, socket: new Socket() })
}

/** Sends a message: what is answered, or the code that the websocket is closed with. */
async function open(t: Test, app: FastifyInstance, browser: Browser) {
  const socket = await connect(app, browser)
  t.teardown(() => socket.terminate())
  return (message: string) =>
    new Promise<string | number>((resolve) => {
      socket.once('message', (data: Buffer) => resolve(data.toString()))
      socket.once('close', (code: number) => resolve(code))
      socket.send(message)
    })
}

t.test('only users connect', async (t) => {
  const { app, browser } = await createSite(t)
  await t.rejects(connect(app, browser), { message: /401/ })
  await browser.get('/login')
  const send = await open(t, app, browser)
  t.equal(await send('hello'), 'Saved for user 1.')
  t.match((await app.sessions.forCookie(`sessionid=${browser.cookie}`).load()).toObject(), { last_message: 'hello' })
  const tab = browser.fork()
  await browser.get('/logout')
  await t.rejects(connect(app, tab), { message: /401/ })
})

t.test('only pages of this site connect', async (t) => {
  const { app, browser } = await createSite(t)
  await browser.get('/login')
  for (const origin of ['https://evil.example', 'https://localhost', 'http://localhost:8080', 'null', '']) {
    await t.rejects(connect(app, browser, origin), { message: /403/ }, origin)
  }
})

t.test('a message after the logout closes the websocket', async (t) => {
  const { app, browser } = await createSite(t)
  await browser.get('/login')
  const send = await open(t, app, browser)
  t.equal(await send('hello'), 'Saved for user 1.')
  await browser.get('/logout')
  t.equal(await send('hello'), 1008)
})

t.test('a message after a change of the password closes the websocket', async (t) => {
  const { app, users, browser } = await createSite(t)
  await browser.get('/login')
  const send = await open(t, app, browser)
  t.equal(await send('hello'), 'Saved for user 1.')
  users.set('1', { id: 1, password: 'pbkdf2_sha256$1000$b$new' })
  t.equal(await send('hello'), 1008)
})

t.test('a message after a deactivation closes the websocket', async (t) => {
  const { app, users, browser } = await createSite(t)
  await browser.get('/login')
  const send = await open(t, app, browser)
  users.set('1', { id: 1, password: 'pbkdf2_sha256$1000$a$ada', isActive: false })
  t.equal(await send('hello'), 1008)
  users.delete('1')
  const deleted = await open(t, app, browser).catch((error: Error) => error.message)
  t.match(deleted, /401/)
})

t.test('a logout, a new login and a change of the password close a websocket that only sends, at once', async (t) => {
  const { app, users, browser } = await createSite(t)
  for (const [url, change] of [
    ['/logout', () => {}],
    ['/login', () => {}],
    ['/who', () => users.set('1', { id: 1, password: 'pbkdf2_sha256$1000$b$new' })]
  ] as const) {
    await browser.get('/login')
    const socket = await connect(app, browser, 'http://localhost', '/news')
    const closed = once(socket, 'close')
    change()
    await browser.get(url)
    t.equal((await closed)[0], 1008, url)
  }
})
