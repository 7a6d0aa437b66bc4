/** Recipe: who may connect to a websocket, and what a logout means for one that is open. */
import websocket from '@fastify/websocket'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { createAuth } from '../../lib/auth.ts'
import { Browser, createApp } from '../fixtures/app.ts'
import { openDatabase } from '../fixtures/databases.ts'

const ada = { id: 1, password: 'pbkdf2_sha256$1000$a$ada' }

async function createSite(t: Test): Promise<FastifyInstance> {
  const { app } = await createApp(t, { knex: await openDatabase(t, 'sqlite') })
  const { login, logout, loginRequired, userId } = createAuth({ getUser: (id) => (id === '1' ? ada : null) })
  await app.register(websocket)
  app.get('/socket', { websocket: true, preHandler: loginRequired() }, (socket, request) => {
    socket.on('message', async () => {
      const session = await app.sessions.forCookie(request.headers.cookie).load()
      socket.send(JSON.stringify({ connected: await userId(request), now: session.get('_auth_user_id') ?? null }))
    })
  })
  app.get('/login', async (request) => {
    await login(request, ada)
    return {}
  })
  app.get('/logout', async (request) => {
    await logout(request)
    return {}
  })
  await app.ready()
  return app
}

function connect(app: FastifyInstance, { cookie }: Browser) {
  return app.injectWS('/socket', { headers: cookie === null ? {} : { cookie: `sessionid=${cookie}` } })
}

t.test('only users connect', async (t) => {
  const app = await createSite(t)
  const browser = new Browser(app)
  await t.rejects(connect(app, browser), { message: /401/ })
  await browser.get('/login')
  const socket = await connect(app, browser)
  t.teardown(() => socket.terminate())
  const tab = browser.fork()
  await browser.get('/logout')
  await t.rejects(connect(app, tab), { message: /401/ })
})

t.test('a message after the logout finds no session', async (t) => {
  const app = await createSite(t)
  const browser = new Browser(app)
  await browser.get('/login')
  const socket = await connect(app, browser)
  t.teardown(() => socket.terminate())
  const ask = () => {
    const answer = new Promise((resolve) => socket.once('message', (data: Buffer) => resolve(JSON.parse(data.toString()))))
    socket.send('who?')
    return answer
  }
  t.strictSame(await ask(), { connected: '1', now: '1' })
  await browser.get('/logout')
  t.strictSame(await ask(), { connected: '1', now: null })
})
