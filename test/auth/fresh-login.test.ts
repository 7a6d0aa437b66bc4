/** Signing in again before what is sensitive: how long ago was the last time? */
import t, { type Test } from 'tap'
import { createAuth } from '../../lib/auth/index.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { Browser, gate } from '../fixtures/app.ts'
import { createSite as createLoginSite, djangoLogin, type User } from '../fixtures/login-site.ts'

const html = { accept: 'text/html' }
const START = new Date('2030-01-01T00:00:00.250Z')
const BEGAN = START.getTime() / 1000

async function createSite(t: Test, options: Partial<SessionOptions> = {}) {
  let seconds = 0
  const site = await createLoginSite(t, { clock: () => new Date(START.getTime() + seconds * 1000), ...options })
  const { app, auth, users } = site
  app.get('/fresh', { preHandler: auth.freshLoginRequired({ within: '5m', redirectTo: '/confirm/' }) }, async () => 'passed')
  app.get('/api/fresh', { preHandler: auth.freshLoginRequired() }, async () => 'passed')
  app.get<{ Params: { id: string; method: string } }>('/confirm/:id/:method', async (request) => {
    const { id, method } = request.params
    await auth.reauthenticate(request, users.get(id) as User, { method })
    return 'confirmed'
  })
  const methods = async ({ cookie }: Browser) => (await app.sessions.open(cookie).load()).get('account_authentication_methods')
  const pass = (by: number) => {
    seconds += by
  }
  return { ...site, methods, pass }
}

t.test(
  "a login is recorded as django-allauth does, to the fraction of a second, and an anonymous session's record is dropped",
  async (t) => {
    const { methods, open } = await createSite(t)
    const browser = await open({ account_authentication_methods: [{ method: 'mfa', at: BEGAN - 10 }] })
    await browser.get('/login/1')
    t.strictSame(await methods(browser), [{ method: 'password', at: BEGAN }])
  }
)

t.test('after a login users pass for so long, however much they do, and then authenticate again', async (t) => {
  const { app, pass } = await createSite(t, { saveEveryRequest: true })
  const browser = new Browser(app)
  await browser.get('/login/1')
  for (let minute = 0; minute < 5; minute++) {
    for (const url of ['/fresh', '/api/fresh']) t.equal((await browser.get(url, html)).body, 'passed', `${url} after ${minute} minutes`)
    await browser.get('/set/draft')
    pass(minute === 4 ? 59 : 60)
  }
  t.equal((await browser.get('/fresh')).body, 'passed')
  pass(1)
  const page = await browser.get('/fresh?a=1', html)
  t.strictSame([page.statusCode, page.headers.location], [302, '/confirm/?next=/fresh%3Fa%3D1'])
  for (const [url, headers] of [
    ['/fresh', {}],
    ['/api/fresh', html]
  ] as const) {
    const refused = await browser.get(url, headers)
    t.match([refused.statusCode, refused.json()], [401, { code: 'FST_SESSION_REAUTHENTICATION_REQUIRED' }], url)
  }
  t.strictSame((await browser.get('/who')).json(), { id: '1', name: 'ada' }, 'and stay signed in')

  const nobody = new Browser(app)
  t.equal((await nobody.get('/fresh', html)).headers.location, '/confirm/?next=/fresh')
  t.match((await nobody.get('/api/fresh')).json(), { statusCode: 401, code: 'FST_SESSION_LOGIN_REQUIRED' })
})

t.test('after authenticating again a user passes, with a new key and the same data', async (t) => {
  const { app, methods, pass, stored } = await createSite(t)
  const browser = new Browser(app)
  await browser.get('/login/1')
  await browser.get('/set/draft')
  pass(400)
  const thief = browser.fork()
  t.equal((await browser.get('/confirm/1/mfa')).body, 'confirmed')
  t.not(browser.cookie, thief.cookie)
  t.equal(await stored(thief), null, 'the old key is worth nothing')
  t.strictSame(await stored(browser), { ...djangoLogin('1', 'pbkdf2_sha256$1000$a$ada'), draft: 'kept' })
  t.equal((await browser.get('/fresh')).body, 'passed')
  for (let times = 0; times < 20; times++) {
    pass(10)
    await browser.get('/confirm/1/password')
  }
  t.strictSame(
    await methods(browser),
    [
      { method: 'mfa', at: BEGAN + 400, reauthenticated: true },
      { method: 'password', at: BEGAN + 600, reauthenticated: true }
    ],
    'the list has an entry for each method'
  )
})

t.test('only the signed-in user can authenticate again', async (t) => {
  const { app, methods, pass } = await createSite(t)
  const [ada, nobody] = [new Browser(app), new Browser(app)]
  await ada.get('/login/1')
  const { cookie } = ada
  pass(400)
  for (const browser of [ada, nobody]) {
    t.match((await browser.get('/confirm/2/password')).json(), { statusCode: 401, code: 'FST_SESSION_LOGIN_REQUIRED' })
  }
  t.equal(ada.cookie, cookie)
  t.strictSame(await methods(ada), [{ method: 'password', at: BEGAN }])
  t.equal(nobody.cookie, null)
})

t.test('a login or a re-authentication begins the absolute timeout anew, and nothing else does', async (t) => {
  const { app, pass } = await createSite(t, { timeouts: { absolute: 1000 } })
  const browser = new Browser(app)
  const ends = async () => ((await app.sessions.open(browser.cookie).load()).endsAt?.absolute?.getTime() ?? 0) / 1000 - BEGAN
  const began = Math.floor(BEGAN) - BEGAN
  await browser.get('/set/cart')
  t.equal(await ends(), 1000 + began, 'of an anonymous session, in whole seconds')
  pass(100)
  await browser.get('/set/cart')
  t.equal(await ends(), 1000 + began)
  await browser.get('/login/1')
  t.equal(await ends(), 1100)
  pass(100)
  for (const url of ['/set/cart', '/who', '/password/1']) await browser.get(url)
  t.equal(await ends(), 1100)
  await browser.get('/confirm/1/password')
  t.equal(await ends(), 1200)
  pass(999)
  t.strictSame((await browser.get('/who')).json(), { id: '1', name: 'changed' })
  pass(1)
  t.strictSame((await browser.get('/who')).json(), { id: null })
})

t.test('what a request had loaded before the re-authentication is not saved by the old key', async (t) => {
  const { app } = await createSite(t)
  const { reached, pass, open } = gate()
  app.get('/slow', async (request) => {
    await request.session.load()
    await pass()
    return request.session.set('late', true).isEmpty
  })
  const browser = new Browser(app)
  await browser.get('/login/1')
  const slow = browser.fork().get('/slow')
  await reached
  await browser.get('/confirm/1/password')
  open()
  t.match((await slow).json(), { statusCode: 400, code: 'FST_SESSION_INTERRUPTED' })
})

t.test('what django-allauth recorded counts beside a user, and not before the second factor', async (t) => {
  const { open } = await createSite(t)
  const methods = (at: unknown) => ({ account_authentication_methods: [{ method: 'password', at, username: 'ada' }] })
  const user = djangoLogin('1', 'pbkdf2_sha256$1000$a$ada')
  const isFresh = async (data: Record<string, unknown>) => (await (await open(data)).get('/fresh')).body === 'passed'
  t.equal(await isFresh({ ...user, ...methods(BEGAN - 299.5) }), true)
  t.equal(await isFresh({ ...user, ...methods(BEGAN - 300) }), false)
  t.equal(await isFresh({ ...user, ...methods(BEGAN + 300) }), true, 'a clock that is five minutes ahead of ours')
  t.equal(await isFresh({ ...user, ...methods(BEGAN * 1000) }), false, 'milliseconds')
  t.equal(await isFresh(user), false, 'a login of Django alone is of unknown age')
  t.equal(await isFresh(methods(BEGAN)), false)
})

t.test('a method that is not a name, and invalid limits, are refused', async (t) => {
  const { app, auth, users } = await createSite(t)
  const ada = users.get('1') as User
  const uncalled = { preHandler: auth.freshLoginRequired as never }
  const message = 'freshLoginRequired is not a hook but makes one: call it, as in preHandler: freshLoginRequired()'
  t.throws(() => app.get('/uncalled', uncalled, async () => ''), { message })
  app.get('/bad', async (request) => {
    for (const method of ['', 1, null, {}]) {
      const message = /^Expected method to be a name such as "password", got /
      await t.rejects(auth.login(request, ada, { method } as never), { name: 'TypeError', message })
      await t.rejects(auth.reauthenticate(request, ada, { method } as never), { name: 'TypeError', message })
    }
    return auth.userId(request)
  })
  t.equal((await app.inject('/bad')).body, 'null')
  const { freshLoginRequired } = createAuth({ getUser: () => null })
  for (const within of [0, -1, Number.NaN, '', '5 minutes', null, {}]) {
    t.throws(() => freshLoginRequired({ within } as never), { code: 'FST_SESSION_INVALID_OPTIONS', message: /- within: expected seconds/ })
  }
})
