/** The cookies of the entry `testing`. The engine contract is run in engines.test.ts. */
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { type AuthUser, createAuth } from '../lib/auth/index.ts'
import sessions, { type SessionOptions } from '../lib/index.ts'
import { loginCookie, sessionCookie } from '../lib/testing.ts'
import { Browser, createApp, secretKey } from './fixtures/app.ts'
import { openDatabase } from './fixtures/databases.ts'
import { createSite, openUserSessions, sessionsOf } from './fixtures/user-sessions.ts'

const ada = { id: 7, password: 'pbkdf2_sha256$1000$a$ada' }
const auth = createAuth({ getUser: (id) => (id === '7' ? ada : null), backends: ['site.backends.Own'] })

function routes(app: FastifyInstance): void {
  app.get('/cart', async (request) => (await request.session.load()).get('cart', null))
  app.get('/add', async (request) => {
    request.session.set('added', true)
    return {}
  })
  app.get('/account', { preHandler: auth.loginRequired() }, async (request) => ({ id: await auth.userId(request) }))
}

const engines = {
  db: async (t: Test): Promise<Partial<SessionOptions>> => ({ knex: await openDatabase(t, 'sqlite') }),
  signed_cookies: async (): Promise<Partial<SessionOptions>> => ({ engine: 'signed_cookies' })
}

for (const [name, options] of Object.entries(engines)) {
  t.test(`on ${name}`, async (t) => {
    t.test('a visitor has the data, and what the application does can be seen', async (t) => {
      const { app } = await createApp(t, await options(t), routes)
      const cookie = await sessionCookie(app, { cart: ['tea'] })
      const response = await app.inject({ url: '/cart', headers: { cookie } })
      t.strictSame(response.json(), ['tea'])
      const [changed] = (await app.inject({ url: '/add', headers: { cookie } })).cookies
      const session = await app.sessions.forCookie(`${changed?.name}=${changed?.value}`).load()
      t.strictSame(session.toObject(), { cart: ['tea'], added: true })
    })

    t.test('a user is signed in as login() does, with data of their own', async (t) => {
      const { app } = await createApp(t, await options(t), routes)
      const cookie = await loginCookie(app, auth, ada, { cart: ['tea'] })
      t.strictSame((await app.inject({ url: '/account', headers: { cookie } })).json(), { id: '7' })
      t.strictSame((await app.inject({ url: '/cart', headers: { cookie } })).json(), ['tea'])
      const visitor = await sessionCookie(app, { cart: [] })
      t.equal((await app.inject({ url: '/account', headers: { cookie: visitor } })).statusCode, 401)
    })
  })
}

t.test('a user is signed in with all that a login may do: a limit, a list of sessions, and a hook that reads the request', async (t) => {
  const seen: unknown[] = []
  const onLogin = (user: AuthUser, { ip, headers, log, server }: FastifyRequest) => {
    log.info('%s signs in', user.id)
    seen.push(ip, headers['user-agent'], typeof server.sessions.ofUser)
  }
  const { app, auth, users, logs } = await createSite(
    t,
    await openUserSessions(t, 'sqlite'),
    {},
    { maxSessions: { of: 1, then: 'endOldest' }, onLogin }
  )
  const login = async () => new Browser(app, (await loginCookie(app, auth, users.get('1') as AuthUser)).split('=')[1])
  const [first, second] = [await login(), await login()]
  t.strictSame((await first.get('/who')).json(), { id: null })
  t.match(await sessionsOf(second), [{ isCurrent: true, ip: '127.0.0.1', userAgent: null }])
  t.strictSame(seen.slice(0, 3), ['127.0.0.1', undefined, 'function'])
  t.ok(logs.some(({ msg }) => msg === '1 signs in'))
})

t.test('each cookie is a session of its own', async (t) => {
  const { app } = await createApp(t, await engines.db(t))
  t.not(await sessionCookie(app, { a: 1 }), await sessionCookie(app, { a: 1 }))
})

t.test('the cookie has the name of the option', async (t) => {
  const { app } = await createApp(t, { ...(await engines.db(t)), cookie: { name: '__Host-id', secure: true } })
  t.match(await sessionCookie(app, {}), /^__Host-id=[a-z0-9]{32}$/)
})

t.test('an application that has not started yet is started, and one without the plugin refused', async (t) => {
  const app = Fastify() as unknown as FastifyInstance
  t.teardown(() => app.close())
  app.register(sessions, { secretKey, knex: await openDatabase(t, 'sqlite') })
  t.match(await sessionCookie(app, {}), /^sessionid=/)

  const without = Fastify() as unknown as FastifyInstance
  await t.rejects(sessionCookie(without, {}), { name: 'TypeError', message: /fastify-django-sessions is registered/ })
})
