/** Signing in and out: what is stored, under which key, and what becomes of the old session. */
import { readFileSync } from 'node:fs'
import Fastify from 'fastify'
import t from 'tap'
import { Browser, gate } from '../fixtures/app.ts'
import { missing } from '../fixtures/databases.ts'
import { createSite, djangoLogin, stores, type User } from '../fixtures/login-site.ts'

t.test('a login writes the three keys that Django reads', async (t) => {
  const { app, stored } = await createSite(t)
  const browser = new Browser(app)
  t.strictSame((await browser.get('/login/1')).json(), { id: '1' }, 'known to the same request')
  t.strictSame(await stored(browser), djangoLogin('1', 'pbkdf2_sha256$1000$a$ada'))
  t.strictSame((await browser.get('/who')).json(), { id: '1', name: 'ada' })
})

t.test('the hash of the password is what Django computes', async (t) => {
  const file = new URL('../fixtures/vectors/django-sessions.json', import.meta.url)
  const vectors = JSON.parse(readFileSync(file, 'utf8')).session_auth_hash
  const secrets = new Set<string>(vectors.map(({ secret }: { secret: string }) => secret))
  t.not(secrets.size, 0)
  for (const secret of secrets) {
    const { app, users, stored } = await createSite(t, { secretKey: secret })
    for (const vector of vectors.filter((vector: { secret: string }) => vector.secret === secret)) {
      users.set('3', { id: 3, name: 'vector', password: vector.password_field })
      const browser = new Browser(app)
      await browser.get('/login/3')
      t.match(await stored(browser), { _auth_user_hash: vector.session_auth_hash })
    }
  }
})

t.test('a login moves an anonymous session to a new key, with its data and without its secrets against CSRF', async (t) => {
  const { app, stored } = await createSite(t)
  const browser = new Browser(app)
  for (const name of ['cart', '_csrftoken', '_csrf']) await browser.get(`/set/${name}`)
  const planted = browser.fork()
  await browser.get('/login/1')
  t.not(browser.cookie, planted.cookie)
  t.strictSame(await stored(browser), { cart: 'kept', ...djangoLogin('1', 'pbkdf2_sha256$1000$a$ada') })
  t.equal(await stored(planted), null, 'the old key is worth nothing')
})

t.test('a login as someone else, or after a change of the password, inherits nothing', async (t) => {
  const { app, users, stored } = await createSite(t)
  const browser = new Browser(app)
  await browser.get('/login/1')
  await browser.get('/set/private')
  const before = browser.fork()
  await browser.get('/login/2')
  t.not(browser.cookie, before.cookie)
  t.strictSame(await stored(browser), djangoLogin('2', 'pbkdf2_sha256$1000$g$grace'))
  t.equal(await stored(before), null)

  for (const id of ['2', '3']) {
    await browser.get('/set/private')
    users.set(id, { id, name: 'grace', password: '!' })
    await browser.get(`/login/${id}`)
    t.strictSame(await stored(browser), djangoLogin(id, '!'), 'also where two have the same in the field password')
  }
})

t.test('where the session of the user before cannot be deleted, the login fails and leaves it as it is', async (t) => {
  const { app, auth, users, knex, stored } = await createSite(t)
  app.get('/try-login', async (request) => {
    await t.rejects(auth.login(request, users.get('2') as User), { code: 'FST_SESSION_STORE_REFUSED' })
    return {}
  })
  const browser = new Browser(app)
  await browser.get('/login/1')
  await browser.get('/set/private')
  const before = await stored(browser)
  await knex.raw("CREATE TRIGGER refuse BEFORE DELETE ON django_session BEGIN SELECT RAISE(ABORT, 'refused'); END")
  t.equal((await browser.get('/try-login')).statusCode, 200)
  t.strictSame(await stored(browser), before)
  t.match((await browser.get('/who')).json(), { id: '1' })
})

t.test('signing in again as the same user keeps the data, under a new key, and the old key is dead at once', async (t) => {
  const { app, stored } = await createSite(t)
  const browser = new Browser(app)
  await browser.get('/login/1')
  await browser.get('/set/private')
  const thief = browser.fork()
  await browser.get('/login/1')
  t.not(browser.cookie, thief.cookie)
  t.strictSame(await stored(browser), { private: 'kept', ...djangoLogin('1', 'pbkdf2_sha256$1000$a$ada') })
  t.equal(await stored(thief), null)
  t.strictSame((await thief.get('/who')).json(), { id: null })
})

t.test('signing in again after a change of the secret key keeps the data too', async (t) => {
  const { app, auth, users, open, stored } = await createSite(t, { secretKeyFallbacks: ['older'] })
  // Without asking who it is, which would renew the hash first.
  app.get('/login-at-once', async (request) => auth.login(request, users.get('1') as User))
  const browser = await open({ private: 1, ...djangoLogin('1', 'pbkdf2_sha256$1000$a$ada', 'older') })
  const before = browser.fork()
  await browser.get('/login-at-once')
  t.strictSame(await stored(browser), { private: 1, ...djangoLogin('1', 'pbkdf2_sha256$1000$a$ada') })
  t.equal(await stored(before), null)
})

for (const [store, optionsOf] of Object.entries(stores)) {
  const title = `a secret against CSRF that is planted while a password is checked does not survive the login: ${store}`
  t.test(title, { skip: store === 'db on postgres' && missing('postgres') }, async (t) => {
    const { app, auth, users, open, stored } = await createSite(t, await optionsOf(t))
    const passwordCheck = gate()
    app.get('/slow-login', async (request) => {
      await request.session.load()
      await passwordCheck.pass()
      await auth.login(request, users.get('1') as User)
      return {}
    })
    const browser = await open({ cart: 'kept' })
    const planter = browser.fork()
    const login = browser.get('/slow-login')
    await passwordCheck.reached
    for (const name of ['_csrftoken', '_csrf']) t.equal((await planter.get(`/set/${name}`)).statusCode, 200)
    passwordCheck.open()
    t.equal((await login).statusCode, 200)
    t.strictSame(await stored(browser), { cart: 'kept', ...djangoLogin('1', 'pbkdf2_sha256$1000$a$ada') })
  })
}

t.test('a secret against CSRF that the login page makes after the login is kept', async (t) => {
  const { app, auth, users, stored } = await createSite(t)
  app.get('/login-with-form', async (request) => {
    await auth.login(request, users.get('1') as User)
    request.session.set('_csrf', 'new')
    return {}
  })
  const browser = new Browser(app)
  await browser.get('/login-with-form')
  t.strictSame(await stored(browser), { ...djangoLogin('1', 'pbkdf2_sha256$1000$a$ada'), _csrf: 'new' })
})

const BAD_USERS: [user: unknown, problem: string][] = [
  [undefined, 'expected a user, got undefined'],
  [null, 'expected a user, got null'],
  ['1', 'expected a user, got a string'],
  [{ _id: 1, password: 'x' }, 'expected a user whose id is a string, an integer or a bigint, got undefined'],
  [{ id: null, password: 'x' }, 'expected a user whose id is a string, an integer or a bigint, got null'],
  [{ id: '', password: 'x' }, 'expected a user whose id is a string, an integer or a bigint, got an empty string'],
  [{ id: { hex: 'f' }, password: 'x' }, 'expected a user whose id is a string, an integer or a bigint, got a plain object'],
  [{ id: true, password: 'x' }, 'expected a user whose id is a string, an integer or a bigint, got a boolean'],
  [
    { id: Number.NaN, password: 'x' },
    'expected a user whose id is a string, an integer or a bigint, got a number that is not a safe integer'
  ],
  [{ id: 2 ** 53, password: 'x' }, 'expected a user whose id is a string, an integer or a bigint, got a number that is not a safe integer'],
  [{ id: 1 }, 'expected a user whose password (the stored field) is a string, got undefined'],
  [{ id: 1, password: null }, 'expected a user whose password (the stored field) is a string, got null'],
  [{ id: 1, password: Buffer.from('x') }, 'expected a user whose password (the stored field) is a string, got an instance of Buffer']
]

t.test('a user without a usable id or password is not signed in, and the error names what is missing', async (t) => {
  const { app, auth, knex } = await createSite(t)
  for (const [index, [user, problem]] of BAD_USERS.entries()) {
    app.get(`/login-bad/${index}`, async (request) => {
      await t.rejects(auth.login(request, user as User), { name: 'TypeError', message: `login: ${problem}` })
      await t.rejects(auth.updateSessionAuthHash(request, user as User), {
        name: 'TypeError',
        message: `updateSessionAuthHash: ${problem}`
      })
      return { id: await auth.userId(request) }
    })
  }
  for (const index of BAD_USERS.keys()) {
    const response = await app.inject(`/login-bad/${index}`)
    t.strictSame([response.json(), response.headers['set-cookie']], [{ id: null }, undefined])
  }
  t.strictSame(await knex('django_session').select(), [])
})

t.test('users with an empty password field, or any type of id, can sign in', async (t) => {
  const { app, users, stored } = await createSite(t)
  for (const [id, expected] of [
    [0, '0'],
    [-1, '-1'],
    ['0a1b', '0a1b'],
    [1n, '1']
  ] as const) {
    users.set(expected, { id, name: 'any', password: '' })
    const browser = new Browser(app)
    await browser.get(`/login/${expected}`)
    t.strictSame(await stored(browser), djangoLogin(expected, ''))
  }
})

t.test('whatever is given in place of a request is an error that says so', async (t) => {
  const { auth, users } = await createSite(t)
  const ada = users.get('1') as User
  const withoutPlugin = Fastify()
  t.teardown(() => withoutPlugin.close())
  const noRequest = (got: string) => ({ name: 'TypeError', message: `Expected a request as the first argument, got ${got}` })
  t.throws(() => auth.login(undefined as never, ada), noRequest('undefined'))
  t.throws(() => auth.login(ada as never, ada), noRequest('a plain object'))
  for (const ask of [auth.logout, auth.user, auth.userId]) t.throws(() => ask(undefined as never), noRequest('undefined'))
  withoutPlugin.get('/', async (request) => {
    t.throws(() => auth.login(request, ada), { code: 'FST_SESSION_NOT_REGISTERED' })
    t.throws(() => auth.user(request), { code: 'FST_SESSION_NOT_REGISTERED' })
    return 'refused'
  })
  t.equal((await withoutPlugin.inject('/')).body, 'refused')
})

t.test('with the arguments in the wrong order nobody is signed in', async (t) => {
  const { app, auth, users, knex } = await createSite(t)
  app.get('/wrong-order', async (request) => auth.login(users.get('1') as never, request as never))
  const response = await app.inject('/wrong-order')
  t.strictSame([response.statusCode, response.json().message], [500, 'Expected a request as the first argument, got a plain object'])
  t.strictSame(await knex('django_session').select(), [])
})

t.test('a logout ends the session for every tab, and for the request itself', async (t) => {
  const { app, knex } = await createSite(t)
  const browser = new Browser(app)
  await browser.get('/login/1')
  const tab = browser.fork()
  t.strictSame((await browser.get('/logout')).json(), { id: null })
  t.equal(browser.cookie, null, 'the cookie is deleted')
  t.strictSame(await knex('django_session').select(), [])
  t.strictSame((await tab.get('/who')).json(), { id: null })
})

t.test('user ids are returned as strings, whatever their type', async (t) => {
  const { app, users, stored } = await createSite(t)
  users.set('9007199254740993', { id: 9007199254740993n, name: 'big', password: '' })
  const browser = new Browser(app)
  await browser.get('/login/9007199254740993')
  t.match(await stored(browser), { _auth_user_id: '9007199254740993' })
  t.strictSame((await browser.get('/who')).json(), { id: '9007199254740993', name: 'big' })
})

t.test('a session as a reply has nothing of a login', async (t) => {
  const { app } = await createSite(t)
  app.get('/dump', (request) => request.session.load())
  const browser = new Browser(app)
  await browser.get('/set/cart')
  await browser.get('/login/1')
  t.strictSame((await browser.get('/dump')).json(), { cart: 'kept' })
})
