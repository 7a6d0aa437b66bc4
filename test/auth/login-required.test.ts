/** Pages for users only. */
import t from 'tap'
import { type AuthOptions, type AuthUser, createAuth, safeNext } from '../../lib/auth/index.ts'
import { Browser } from '../fixtures/app.ts'
import { createSite } from '../fixtures/login-site.ts'

const html = { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' }

t.test('a page for users redirects to the login page, with the way back', async (t) => {
  const { app } = await createSite(t)
  for (const method of ['GET', 'HEAD'] as const) {
    const response = await app.inject({ method, url: '/secret?a=1&b=%26%2F', headers: html })
    t.equal(response.statusCode, 302)
    t.equal(response.headers.location, '/login/?next=/secret%3Fa%3D1%26b%3D%2526%252F')
    t.equal(response.headers.vary, 'Cookie')
    const next = new URL(response.headers.location as string, 'http://localhost').searchParams.get('next')
    t.equal(safeNext(next, '/'), '/secret?a=1&b=%26%2F', 'it survives the round trip')
  }
})

t.test('a client that is no browser, or asks for no page, gets 401 as JSON', async (t) => {
  const { app } = await createSite(t)
  const requests = [
    { url: '/secret' },
    { url: '/secret', headers: { accept: 'application/json' } },
    { url: '/secret', headers: { accept: '*/*' } },
    { url: '/secret', headers: { ...html, 'x-requested-with': 'XMLHttpRequest' } },
    { url: '/secret', headers: html, method: 'POST' as const },
    { url: '/api', headers: html }
  ]
  for (const request of requests) {
    const response = await app.inject(request)
    t.equal(response.statusCode, 401)
    t.match(response.headers['content-type'], 'application/json')
    t.match(response.json(), { code: 'FST_SESSION_LOGIN_REQUIRED', statusCode: 401 })
    t.notOk(response.headers.location)
  }
})

t.test('a user passes; one whose session ended does not', async (t) => {
  const { app, users } = await createSite(t)
  const browser = new Browser(app)
  await browser.get('/login/1')
  for (const url of ['/secret', '/api']) t.equal((await browser.get(url, html)).body, 'secret')
  users.delete('1')
  t.equal((await browser.get('/secret', html)).statusCode, 302)
  t.equal((await browser.get('/api', html)).statusCode, 401)
})

t.test('the login page may have a query of its own', async (t) => {
  const { app, auth } = await createSite(t)
  app.get('/other', { preHandler: auth.loginRequired({ redirectTo: '/login?theme=dark' }) }, async () => 'secret')
  t.equal((await app.inject({ url: '/other', headers: html })).headers.location, '/login?theme=dark&next=/other')
})

t.test('a request target that points elsewhere is no way back', async (t) => {
  const { app, auth } = await createSite(t)
  app.get('*', { preHandler: auth.loginRequired({ redirectTo: '/login/' }) }, async () => 'secret')
  const response = await app.inject({ url: '/%2Fevil.example/', headers: html })
  t.equal(response.headers.location, '/login/?next=/')
})

t.test('a login page elsewhere, or none, is refused at the start', async (t) => {
  const auth = createAuth({ getUser: () => null })
  for (const redirectTo of ['https://evil.example/', '//evil.example', 'login', '', '/login#top']) {
    t.throws(() => auth.loginRequired({ redirectTo }), { code: 'FST_SESSION_INVALID_OPTIONS' }, redirectTo)
  }
  t.throws(() => createAuth({} as AuthOptions<AuthUser>), { code: 'FST_SESSION_INVALID_OPTIONS' })
  const message = /createAuth: expected an object with options, such as getUser, got undefined/
  t.throws(() => createAuth(undefined as never), { code: 'FST_SESSION_INVALID_OPTIONS', message })
})

t.test('loginRequired used as a hook without being called is refused where the route is added', async (t) => {
  const { app, auth } = await createSite(t)
  const message = 'loginRequired is not a hook but makes one: call it, as in preHandler: loginRequired()'
  const hook = auth.loginRequired as never
  for (const name of ['onRequest', 'preParsing', 'preValidation', 'preHandler'] as const) {
    t.throws(() => app.get(`/${name}`, { [name]: hook }, async () => 'secret'), { name: 'TypeError', message })
    t.throws(() => app.get(`/${name}`, { [name]: [auth.loginRequired(), hook] }, async () => 'secret'), { message })
  }
  t.throws(() => app.get('/handler', hook), { message })
  t.throws(() => app.route({ method: 'GET', url: '/route', preHandler: hook, handler: async () => 'secret' }), { message })
})

t.test('loginRequired called as a hook in another way fails the request, with neither an answer from the route nor a hang', async (t) => {
  const { app, auth } = await createSite(t)
  const uncalled = auth.loginRequired as unknown as (...args: unknown[]) => undefined
  app.get('/callback', { preHandler: (request, reply, done) => uncalled(request, reply, done) }, async () => 'secret')
  app.get('/async', { preHandler: async (request, reply) => uncalled(request, reply) }, async () => 'secret')
  app.get('/one-argument', { preHandler: async (request) => uncalled(request) }, async () => 'secret')
  await app.register(async (scope) => {
    scope.addHook('onRequest', uncalled)
    scope.get('/hook', async () => 'secret')
  })
  const call = /^loginRequired is not a hook but makes one: call it, as in preHandler: loginRequired\(\)$/
  for (const [url, message] of [
    ['/callback', call],
    ['/async', call],
    ['/hook', call],
    ['/one-argument', /expected nothing or an object with redirectTo/]
  ] as const) {
    const response = await app.inject(url)
    t.match([response.statusCode, response.json()], [500, { message }], url)
  }
})

t.test('options of loginRequired that mean nothing are refused', async (t) => {
  const { loginRequired, freshLoginRequired } = createAuth({ getUser: () => null })
  for (const options of ['/login/', null, { redirect: '/login/' }, { redirectTo: 1 }, { redirectTo: null }]) {
    t.throws(() => loginRequired(options as never), { code: 'FST_SESSION_INVALID_OPTIONS' }, JSON.stringify(options))
    t.throws(() => freshLoginRequired(options as never), { code: 'FST_SESSION_INVALID_OPTIONS' }, JSON.stringify(options))
  }
})
