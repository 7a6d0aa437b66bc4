/** Plugins and code that use a session as those of other plugins: the real ones, with `load: 'eager'`, since they read synchronously. */
import csrfProtection from '@fastify/csrf-protection'
import fastifyPassport from '@fastify/passport'
import { Strategy as LocalStrategy } from 'passport-local'
import t, { type Test } from 'tap'
import { getSession, type SessionOptions } from '../lib/untyped.ts'
import { Browser, createApp } from './fixtures/app.ts'
import { openDatabase } from './fixtures/databases.ts'

async function createEagerApp(t: Test, options: Partial<SessionOptions> = {}) {
  const knex = await openDatabase(t, 'sqlite')
  const { app } = await createApp(t, { knex, load: 'eager', ...options }, (app) => {
    app.get('/data', async (request) => getSession(request).data())
    app.get<{ Params: { name: string } }>('/set/:name', async (request) => {
      getSession(request).set(request.params.name, 'before')
      return 'set'
    })
  })
  const stored = async ({ cookie }: Browser) => (await app.sessions.open(cookie).load()).toObject()
  const countRows = async () => (await knex('django_session').select()).length
  return { app, stored, countRows }
}

// --- @fastify/passport ----------------------------------------------------------------

interface PassportOptions {
  clearSessionOnLogin?: boolean
  clearSessionIgnoreFields?: string[]
}

async function createPassportApp(t: Test, options: PassportOptions = {}) {
  const { app, ...rest } = await createEagerApp(t)
  const passport = new fastifyPassport.Authenticator(options)
  const users = new Map([['ada', { name: 'ada' }]])
  await app.register(passport.initialize())
  await app.register(passport.secureSession())
  passport.use(
    'local',
    new LocalStrategy((username, password, done) => {
      const user = password === 'right' ? users.get(username) : undefined
      if (user === undefined) done(null, false)
      else done(null, user)
    })
  )
  passport.registerUserSerializer(async (user: { name: string }) => user.name)
  passport.registerUserDeserializer(async (name: string) => users.get(name) ?? null)

  const redirects = { successRedirect: '/data', failureRedirect: '/messages' }
  const handler = async () => 'unreachable'
  app.get('/login', { preValidation: passport.authenticate('local', { ...redirects, failureFlash: 'wrong password' }) }, handler)
  app.get('/login-keeping', { preValidation: passport.authenticate('local', { ...redirects, keepSessionInfo: true }) }, handler)
  app.get('/login-returning', { preValidation: passport.authenticate('local', { successReturnToOrRedirect: '/data' }) }, handler)
  app.get('/messages', async (_request, reply) => reply.flash())
  app.get('/who', async (request) => ({ user: request.user ?? null, isAuthenticated: request.isAuthenticated() }))
  app.get('/logout', async (request) => {
    await request.logOut()
    return { user: request.user }
  })
  return { app, users, ...rest }
}

const credentials = '?username=ada&password=right'

t.test('passport: a login rotates the session and is remembered in the new one', async (t) => {
  const { app, stored, countRows } = await createPassportApp(t)
  const browser = new Browser(app)
  t.strictSame((await browser.get('/who')).json(), { user: null, isAuthenticated: false })
  await browser.get('/set/cart')
  const planted = browser.fork()
  const response = await browser.get(`/login${credentials}`)
  t.equal(response.headers.location, '/data')
  t.not(browser.cookie, planted.cookie)
  t.strictSame(await stored(browser), { passport: 'ada' }, 'what was in the session before is gone')
  t.strictSame(await stored(planted), {}, 'the old key is worth nothing')
  t.equal(await countRows(), 1)
  t.strictSame((await browser.get('/who')).json(), { user: { name: 'ada' }, isAuthenticated: true })
})

t.test('passport: keepSessionInfo keeps all of the data under the new key', async (t) => {
  const { app, stored, countRows } = await createPassportApp(t)
  const browser = new Browser(app)
  await browser.get('/set/cart')
  await browser.get('/set/accessed')
  const before = browser.cookie
  await browser.get(`/login-keeping${credentials}`)
  t.not(browser.cookie, before)
  t.strictSame(await stored(browser), { cart: 'before', accessed: 'before', passport: 'ada' })
  t.equal(await countRows(), 1)
})

t.test('passport: clearSessionIgnoreFields keeps those keys only', async (t) => {
  const { app, stored } = await createPassportApp(t, { clearSessionIgnoreFields: ['cart'] })
  const browser = new Browser(app)
  await browser.get('/set/cart')
  await browser.get('/set/other')
  await browser.get(`/login${credentials}`)
  t.strictSame(await stored(browser), { cart: 'before', passport: 'ada' })
})

t.test('passport: without clearSessionOnLogin all of the data goes along, in and out', async (t) => {
  const { app, stored, countRows } = await createPassportApp(t, { clearSessionOnLogin: false })
  const browser = new Browser(app)
  await browser.get('/set/cart')
  for (const [url, expected] of [
    [`/login${credentials}`, { cart: 'before', passport: 'ada' }],
    ['/logout', { cart: 'before' }]
  ] as const) {
    const before = browser.cookie
    await browser.get(url)
    t.not(browser.cookie, before, url)
    t.strictSame(await stored(browser), expected)
    t.equal(await countRows(), 1)
  }
})

t.test('passport: a logout ends the session', async (t) => {
  const { app, countRows } = await createPassportApp(t)
  const browser = new Browser(app)
  await browser.get(`/login${credentials}`)
  const tab = browser.fork()
  t.strictSame((await browser.get('/logout')).json(), { user: null })
  t.equal(browser.cookie, null, 'the cookie is deleted')
  t.equal(await countRows(), 0)
  t.strictSame((await tab.get('/who')).json(), { user: null, isAuthenticated: false })
})

t.test('passport: the session of a user who is gone ends', async (t) => {
  const { app, users, countRows } = await createPassportApp(t)
  const browser = new Browser(app)
  await browser.get(`/login${credentials}`)
  users.clear()
  t.strictSame((await browser.get('/who')).json(), { user: null, isAuthenticated: false })
  t.equal(browser.cookie, null)
  t.equal(await countRows(), 0)
})

t.test('passport: a failed login signs nobody in and leaves a message', async (t) => {
  const { app } = await createPassportApp(t)
  const browser = new Browser(app)
  t.equal((await browser.get('/login?username=ada&password=wrong')).headers.location, '/messages')
  t.strictSame((await browser.get('/messages')).json(), { error: ['wrong password'] })
  t.strictSame((await browser.get('/messages')).json(), {})
  t.match((await browser.get('/who')).json(), { isAuthenticated: false })
})

t.test('passport: set(key, undefined) deletes, as for returnTo', async (t) => {
  const { app, stored } = await createPassportApp(t, { clearSessionIgnoreFields: ['returnTo'] })
  const browser = new Browser(app)
  await browser.get('/set/returnTo')
  t.equal((await browser.get(`/login-returning${credentials}`)).headers.location, 'before')
  t.strictSame(await stored(browser), { passport: 'ada' })
})

// --- @fastify/csrf-protection -------------------------------------------------------------

async function createCsrfApp(t: Test) {
  const { app, ...rest } = await createEagerApp(t)
  await app.register(csrfProtection, { sessionPlugin: '@fastify/secure-session' })
  app.get('/form', async (_request, reply) => reply.generateCsrf())
  app.get('/form-for-a-minute', async (_request, reply) => reply.generateCsrf({ maxAge: 60 }))
  app.get('/form-with-attributes', async (_request, reply) => reply.generateCsrf({ path: '/form' }))
  app.get('/submit', { preHandler: app.csrfProtection }, async () => 'submitted')
  return { app, ...rest }
}

t.test('csrf-protection: a form passes with the token of its own session only', async (t) => {
  const { app } = await createCsrfApp(t)
  const browser = new Browser(app)
  const other = new Browser(app)
  const submit = (token: string) => browser.get('/submit', { 'csrf-token': token })
  t.match((await submit('guessed')).json(), { code: 'FST_CSRF_MISSING_SECRET' })
  const token = (await browser.get('/form')).body
  const foreign = (await other.get('/form')).body
  t.equal((await submit(token)).body, 'submitted')
  t.equal((await submit((await browser.get('/form')).body)).body, 'submitted', 'a second form')
  t.equal((await submit(token)).body, 'submitted', 'the first one still')
  t.match((await submit(foreign)).json(), { code: 'FST_CSRF_INVALID_TOKEN' })
})

t.test('csrf-protection: of its options for a cookie the age counts, in seconds', async (t) => {
  const { app } = await createCsrfApp(t)
  const browser = new Browser(app)
  t.match((await browser.get('/form-for-a-minute')).headers['set-cookie'], 'Max-Age=60; Path=/;')
  const other = new Browser(app)
  t.match((await other.get('/form-with-attributes')).headers['set-cookie'], 'Max-Age=1209600; Path=/;')
})

// --- code written for @fastify/secure-session ----------------------------------------------------

t.test('regenerate() needs no await: what is set next is in the new session', async (t) => {
  const { app, stored, countRows } = await createEagerApp(t)
  app.get('/regenerate', async (request) => {
    const session = getSession(request)
    session.regenerate(['cart'])
    session.set('user', 'ada')
    return session.data()
  })
  const browser = new Browser(app)
  await browser.get('/set/cart')
  await browser.get('/set/other')
  const before = browser.fork()
  t.strictSame((await browser.get('/regenerate')).json(), { cart: 'before', user: 'ada' })
  t.not(browser.cookie, before.cookie)
  t.strictSame(await stored(browser), { cart: 'before', user: 'ada' })
  t.strictSame(await stored(before), {})
  t.equal(await countRows(), 1)
})

t.test('regenerate() of a session that is not loaded needs load() to keep keys', async (t) => {
  const { app, stored } = await createEagerApp(t)
  app.get('/regenerate', { config: { session: 'lazy' } }, async (request) => {
    await getSession(request).regenerate(['cart'])
    return ''
  })
  const browser = new Browser(app)
  await browser.get('/set/cart')
  t.match((await browser.get('/regenerate')).json(), { code: 'FST_SESSION_NOT_LOADED' })
  t.strictSame(await stored(browser), { cart: 'before' }, 'nothing has happened')
})

// --- code written for @fastify/session -----------------------------------------------------------

t.test('save, destroy and regenerate call a callback, as in @fastify/session', async (t) => {
  const { app, stored, countRows } = await createEagerApp(t)
  app.get('/save', (request, reply) => {
    getSession(request).set('cart', 1)
    getSession(request).save((error) => reply.send({ error }))
  })
  app.get('/regenerate', (request, reply) => {
    getSession(request).regenerate((error) => {
      getSession(request).set('user', 'ada')
      reply.send({ error })
    })
  })
  app.get('/regenerate-keeping', (request, reply) => {
    getSession(request).regenerate(['user'], (error) => reply.send({ error }))
  })
  app.get('/destroy', (request, reply) => {
    getSession(request).destroy((error) => reply.send({ error }))
  })
  const browser = new Browser(app)
  t.strictSame((await browser.get('/save')).json(), { error: null })
  const first = browser.cookie
  t.strictSame(await stored(browser), { cart: 1 })
  t.strictSame((await browser.get('/regenerate')).json(), { error: null })
  t.not(browser.cookie, first)
  t.strictSame(await stored(browser), { user: 'ada' })
  t.strictSame((await browser.get('/regenerate-keeping')).json(), { error: null })
  t.strictSame(await stored(browser), { user: 'ada' })
  t.strictSame((await browser.get('/destroy')).json(), { error: null })
  t.equal(browser.cookie, null)
  t.equal(await countRows(), 0)
})

t.test('a callback gets the error of the store', async (t) => {
  const { app } = await createEagerApp(t, { tableName: 'missing', verify: false, load: 'lazy' })
  const codes: unknown[] = []
  app.get('/save', (request, reply) => {
    getSession(request)
      .set('cart', 1)
      .save((error) => {
        codes.push((error as NodeJS.ErrnoException).code)
        reply.send(error)
      })
  })
  t.match(await app.inject('/save'), { statusCode: /5\d\d/ })
  t.match(codes, [/^FST_SESSION_STORE_/])
})

t.test('what is no callback is refused, before anything has happened', async (t) => {
  const { app, countRows } = await createEagerApp(t)
  const session = app.sessions.open().set('cart', 1)
  const call = (method: 'save' | 'destroy' | 'regenerate', argument: unknown) => () =>
    (session[method] as (argument: unknown) => unknown).call(session, argument)
  for (const argument of ['x', null, {}, 1]) {
    t.throws(call('save', argument), { message: /^session\.save\(callback\): expected a function, got / })
    t.throws(call('destroy', argument), { message: /^session\.destroy\(callback\): expected a function, got / })
    t.throws(call('regenerate', argument), { message: /^session\.regenerate\(keep\): expected an array of names, got / })
  }
  t.equal(await countRows(), 0)
})
