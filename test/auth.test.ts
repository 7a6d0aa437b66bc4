/** Logins shared with Django: what django.contrib.auth does with a session, and the login page's redirects. */
import { createHash, createHmac } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { type Auth, type AuthOptions, type AuthUser, checkPassword, createAuth, safeNext } from '../lib/auth.ts'
import type { SessionOptions, Sessions } from '../lib/index.ts'
import { Browser, createApp, secretKey } from './fixtures/app.ts'
import { openDatabase, recordQueries } from './fixtures/databases.ts'

const BACKEND = 'django.contrib.auth.backends.ModelBackend'

interface User extends AuthUser {
  name: string
}

/** Written apart from the library, after Django's source. */
function djangoHash(password: string, secret = secretKey): string {
  const salt = 'django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash'
  const key = createHash('sha256').update(`${salt}${secret}`).digest()
  return createHmac('sha256', key).update(password).digest('hex')
}

/** The three keys that a login on the Django side leaves. */
function djangoLogin(id: string, password: string, secret?: string) {
  return { _auth_user_id: id, _auth_user_backend: BACKEND, _auth_user_hash: djangoHash(password, secret) }
}

async function createSite(t: Test, options: Partial<SessionOptions> = {}, authOptions: Partial<AuthOptions<User>> = {}) {
  const users = new Map<string, User>([
    ['1', { id: 1, name: 'ada', password: 'pbkdf2_sha256$1000$a$ada' }],
    ['2', { id: 2, name: 'grace', password: 'pbkdf2_sha256$1000$g$grace' }]
  ])
  const asked: string[] = []
  const getUser = async (id: string) => {
    asked.push(id)
    return users.get(String(id))
  }
  const auth: Auth<User> = createAuth({ getUser, ...authOptions })
  const knex = await openDatabase(t, 'sqlite')
  const { app } = await createApp(t, { knex, ...options }, (app) => routes(app, auth, users))
  const open = async (data: Record<string, unknown>): Promise<Browser> => {
    const session = app.sessions.open().update(data)
    await session.save()
    return new Browser(app, session.sessionKey)
  }
  return { app, auth, users, asked, knex, open, stored: (browser: Browser) => read(app.sessions, browser) }
}

function routes(app: FastifyInstance, auth: Auth<User>, users: Map<string, User>): void {
  app.get('/who', async (request) => ({ id: await auth.userId(request), name: (await auth.user(request))?.name }))
  app.get<{ Params: { id: string } }>('/login/:id', async (request) => {
    await auth.userId(request)
    await auth.login(request, users.get(request.params.id) as User)
    return { id: await auth.userId(request) }
  })
  app.get('/logout', async (request) => {
    await auth.userId(request)
    await auth.logout(request)
    return { id: await auth.userId(request) }
  })
  app.get<{ Params: { id: string } }>('/password/:id', async (request) => {
    await auth.userId(request)
    const changed = { id: request.params.id, name: 'changed', password: 'pbkdf2_sha256$1000$n$new' }
    users.set(request.params.id, changed)
    await auth.updateSessionAuthHash(request, changed)
    return { name: (await auth.user(request))?.name }
  })
  app.get<{ Params: { name: string } }>('/set/:name', async (request) => {
    request.session.set(request.params.name, 'kept')
    return {}
  })
  const secret = { preHandler: auth.loginRequired({ redirectTo: '/login/' }) }
  app.get('/secret', secret, async () => 'secret')
  app.post('/secret', secret, async () => 'secret')
  app.get('/api', { preHandler: auth.loginRequired() }, async () => 'secret')
}

/** The data of the browser's session, null where there is none. */
async function read(sessions: Sessions, { cookie }: Browser): Promise<Record<string, unknown> | null> {
  const session = await sessions.open(cookie).load()
  return session.sessionKey === null ? null : session.toObject()
}

// --- login and logout ------------------------------------------------------------------

t.test('a login writes the three keys that Django reads', async (t) => {
  const { app, stored } = await createSite(t)
  const browser = new Browser(app)
  t.strictSame((await browser.get('/login/1')).json(), { id: '1' }, 'known to the same request')
  t.strictSame(await stored(browser), djangoLogin('1', 'pbkdf2_sha256$1000$a$ada'))
  t.strictSame((await browser.get('/who')).json(), { id: '1', name: 'ada' })
})

t.test('the hash of the password is what Django computes', async (t) => {
  const file = new URL('./fixtures/vectors/django-sessions.json', import.meta.url)
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

t.test('a login as the same user keeps the session', async (t) => {
  const { app, stored } = await createSite(t)
  const browser = new Browser(app)
  await browser.get('/login/1')
  await browser.get('/set/private')
  const before = browser.cookie
  await browser.get('/login/1')
  t.equal(browser.cookie, before)
  t.match(await stored(browser), { private: 'kept', _auth_user_id: '1' })
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

t.test('ids are text, whatever their type', async (t) => {
  const { app, users, stored } = await createSite(t)
  users.set('9007199254740993', { id: 9007199254740993n, name: 'big', password: '' })
  const browser = new Browser(app)
  await browser.get('/login/9007199254740993')
  t.match(await stored(browser), { _auth_user_id: '9007199254740993' })
  t.strictSame((await browser.get('/who')).json(), { id: '9007199254740993', name: 'big' })
})

// --- verification ------------------------------------------------------------------------

t.test('a login on the Django side counts here', async (t) => {
  const { open } = await createSite(t)
  const browser = await open(djangoLogin('2', 'pbkdf2_sha256$1000$g$grace'))
  const before = browser.cookie
  const response = await browser.get('/who')
  t.strictSame(response.json(), { id: '2', name: 'grace' })
  t.notOk(response.headers['set-cookie'])
  t.equal(response.headers.vary, 'Cookie')
  t.equal(browser.cookie, before)
})

t.test('nobody is asked for without a login, and a user once per request', async (t) => {
  const { app, asked, open, knex } = await createSite(t)
  t.strictSame((await new Browser(app).get('/who')).json(), { id: null })
  await (await open({ a: 1 })).get('/who')
  t.strictSame(asked, [])
  const browser = await open(djangoLogin('1', 'pbkdf2_sha256$1000$a$ada'))
  const queries = recordQueries(knex)
  await browser.get('/who')
  t.strictSame(asked, ['1'])
  t.equal(queries.length, 1)
})

for (const [name, change] of Object.entries<Record<string, unknown>>({
  'the hash of another password': { _auth_user_hash: djangoHash('the old one') },
  'no hash': { _auth_user_hash: undefined },
  'an empty hash': { _auth_user_hash: '' },
  'a hash that is no text': { _auth_user_hash: 1 },
  'a hash of another key': { _auth_user_hash: djangoHash('pbkdf2_sha256$1000$a$ada', 'another key') }
})) {
  t.test(`a session with ${name} ends, with all that is in it`, async (t) => {
    const { open, knex } = await createSite(t)
    const browser = await open({ private: 1, ...djangoLogin('1', 'pbkdf2_sha256$1000$a$ada'), ...change })
    t.strictSame((await browser.get('/who')).json(), { id: null })
    t.equal(browser.cookie, null, 'the cookie is deleted')
    t.strictSame(await knex('django_session').select(), [])
  })
}

t.test('a change of the password on the Django side ends the session here', async (t) => {
  const { app, users } = await createSite(t)
  const browser = new Browser(app)
  await browser.get('/login/1')
  users.set('1', { id: 1, name: 'ada', password: 'pbkdf2_sha256$1000$b$new' })
  t.strictSame((await browser.get('/who')).json(), { id: null })
  t.equal(browser.cookie, null)
})

for (const [name, data] of Object.entries<Record<string, unknown>>({
  'of an unknown or deleted user': djangoLogin('99', ''),
  'of a user who may not sign in any more': djangoLogin('3', 'inactive'),
  'of such a user, where the database has 0 for false': djangoLogin('4', 'inactive'),
  'by a backend that does not count here': { ...djangoLogin('1', 'pbkdf2_sha256$1000$a$ada'), _auth_user_backend: 'other.Backend' },
  'without a backend': { ...djangoLogin('1', 'pbkdf2_sha256$1000$a$ada'), _auth_user_backend: undefined },
  'with an id that is no text': { ...djangoLogin('1', 'pbkdf2_sha256$1000$a$ada'), _auth_user_id: 1 },
  'without an id': { ...djangoLogin('1', 'pbkdf2_sha256$1000$a$ada'), _auth_user_id: undefined }
})) {
  t.test(`a login ${name} is nobody's, and the session stays, as in Django`, async (t) => {
    const { users, open, stored } = await createSite(t)
    users.set('3', { id: 3, name: 'old', password: 'inactive', isActive: false })
    users.set('4', { id: 4, name: 'old', password: 'inactive', isActive: 0 as unknown as boolean })
    const browser = await open(data)
    const before = await stored(browser)
    t.strictSame((await browser.get('/who')).json(), { id: null })
    t.strictSame(await stored(browser), before)
  })
}

t.test('a login of a backend that counts, where there are several', async (t) => {
  const backends = ['our.Backend', BACKEND] as const
  const { app, open, stored } = await createSite(t, {}, { backends })
  t.match((await (await open(djangoLogin('1', 'pbkdf2_sha256$1000$a$ada'))).get('/who')).json(), { id: '1' })
  const browser = new Browser(app)
  await browser.get('/login/1')
  t.match(await stored(browser), { _auth_user_backend: 'our.Backend' }, 'ours are stored as by the first')
})

t.test('a session of before a change of the secret key goes on, under a new key and with a new hash', async (t) => {
  const { open, stored } = await createSite(t, { secretKeyFallbacks: ['older', 'oldest'] })
  for (const secret of ['older', 'oldest']) {
    const browser = await open({ private: 1, ...djangoLogin('1', 'pbkdf2_sha256$1000$a$ada', secret) })
    const before = browser.fork()
    t.match((await browser.get('/who')).json(), { id: '1' })
    t.not(browser.cookie, before.cookie)
    t.strictSame(await stored(browser), { private: 1, ...djangoLogin('1', 'pbkdf2_sha256$1000$a$ada') })
    t.equal(await stored(before), null)
    const now = browser.cookie
    t.match((await browser.get('/who')).json(), { id: '1' })
    t.equal(browser.cookie, now, 'once')
  }
})

t.test('a failure to find the user fails the request, and is not remembered', async (t) => {
  let failures = 1
  const getUser = async () => {
    if (failures-- > 0) throw new Error('no users today')
    return { id: 1, name: 'ada', password: 'pbkdf2_sha256$1000$a$ada' }
  }
  const { app, auth, open } = await createSite(t, {}, { getUser })
  const browser = await open(djangoLogin('1', 'pbkdf2_sha256$1000$a$ada'))
  app.get('/twice', async (request) => {
    await t.rejects(auth.userId(request), { message: 'no users today' })
    return auth.userId(request)
  })
  t.equal((await browser.get('/twice')).body, '1')
  failures = 1
  const response = await browser.get('/who')
  t.equal(response.statusCode, 500)
  t.notOk(response.headers['set-cookie'], 'the session stays')
  t.match((await browser.get('/who')).json(), { id: '1' })
})

t.test('who changes the password stays signed in, under a new key; other browsers do not', async (t) => {
  const { app, stored } = await createSite(t)
  const browser = new Browser(app)
  const other = new Browser(app)
  await browser.get('/login/1')
  await other.get('/login/1')
  const before = browser.cookie
  t.strictSame((await browser.get('/password/1')).json(), { name: 'changed' })
  t.not(browser.cookie, before)
  t.strictSame(await stored(browser), djangoLogin('1', 'pbkdf2_sha256$1000$n$new'))
  t.match((await browser.get('/who')).json(), { id: '1' })
  t.match((await other.get('/who')).json(), { id: null })
})

t.test("a change of another user's password signs nobody in as that user", async (t) => {
  const { app } = await createSite(t)
  const browser = new Browser(app)
  await browser.get('/login/1')
  t.strictSame((await browser.get('/password/2')).json(), { name: 'ada' })
  t.match((await browser.get('/who')).json(), { id: '1' })
})

// --- loginRequired -----------------------------------------------------------------------

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
  t.throws(() => createAuth({} as AuthOptions<User>), { code: 'FST_SESSION_INVALID_OPTIONS' })
})

// --- the way back ------------------------------------------------------------------------

const HOSTILE = [
  ...[
    '//evil.example',
    '///evil.example',
    '////evil.example/a',
    '//evil.example@localhost',
    '//user@evil.example',
    '//localhost@evil.example'
  ],
  ...['\\evil.example', '\\\\evil.example', '/\\evil.example', '\\/evil.example', '/\\/evil.example', '/a\\b', '/\\\\evil.example'],
  ...[
    'https:evil.example',
    'https:/evil.example',
    'https://evil.example',
    'http:///evil.example',
    'HTTPS://evil.example',
    'ftp://evil.example'
  ],
  ...[
    'javascript:alert(1)',
    'JavaScript:alert(1)',
    'data:text/html,a',
    'vbscript:a',
    'blob:a',
    'evil.example',
    '@evil.example',
    'user:pw@evil.example'
  ],
  ...[' //evil.example', ' /a', '/ /evil.example', '/a b', '\t//evil.example', '/\t/evil.example', '/\n/evil.example', '/\r/evil.example'],
  ...[
    '\u0000//evil.example',
    '/\u0000/evil.example',
    '/\u0008/evil.example',
    '\u001f/a',
    '/a\u007f',
    '/a\u0085',
    '/a\r\nset-cookie: a=b',
    '/a\n'
  ],
  ...['\u00a0//evil.example', '\u2028/a', '\ufeff//evil.example', '/\u00ad/evil.example', '/\u200b/evil.example', '/\u202e/evil.example'],
  ...['/%2Fevil.example', '/%2fevil.example', '/%5Cevil.example', '/%5cevil.example', '%2F%2Fevil.example', '%2Fa'],
  ...[
    '/.//evil.example',
    '/a/..//evil.example',
    '/%2e//evil.example',
    '/a/%2E%2e//evil.example',
    '/..//evil.example',
    '/a/b/../..//evil.example'
  ],
  ...[
    '/\uff0fevil.example',
    '\uff0f\uff0fevil.example',
    '/\u2044evil.example',
    '/\u2215evil.example',
    '/\uff3cevil.example',
    '/\u29f8evil.example'
  ],
  ...['', '?next=/a', '#a', 'a', './a', '../a', '/\ud800']
]

t.test('the way back leads to no other site, by none of the known tricks', async (t) => {
  t.strictSame(
    HOSTILE.filter((next) => safeNext(next, '/home') !== '/home'),
    []
  )
})

t.test('the way back is text', async (t) => {
  for (const next of [undefined, null, 1, ['/a'], { toString: () => '/a' }]) t.equal(safeNext(next, '/home'), '/home')
})

t.test('a path of this site is the way back, unchanged', async (t) => {
  const paths = [
    '/',
    '/a',
    '/a/b/?q=1&r=%2F%2F#part',
    '/@ada',
    '/a//b',
    '/a?next=//evil.example',
    '/a#//b',
    '/caf%C3%A9',
    '/a:b',
    '/a/../b',
    '/./a'
  ]
  for (const next of paths) {
    t.equal(safeNext(next, '/home'), next)
    t.equal(new URL(next, 'https://our.example/login/').origin, 'https://our.example')
  }
})

// --- passwords -----------------------------------------------------------------------------

/** Made by Django 3.2 (PBKDF2) and by Python's hashlib after Django 5.1's `ScryptPasswordHasher`. */
const ENCODED: [password: string, encoded: string][] = [
  ['correct horse', 'pbkdf2_sha256$260000$seasalt$htpQDYdyy5MZ7bxS8mQJ0sjrWSVIvZJLEHJYe2DWsYQ='],
  ['correct horse', 'pbkdf2_sha256$1000$seasalt$mQnueSakb748zqBAC1tmWVZsZbi2zPGZarEzTGdfmso='],
  ['пароль ✓', 'pbkdf2_sha256$1000$seasalt$kFMyuO7CCxItEtsb58uhJaSbANY9yHkv4JO9ZPGSw1o='],
  ['', 'pbkdf2_sha256$1000$seasalt$XHfRVmyEZRTCcSbqGP00JKv0fRwYHK0ogjPZdSJxCXk='],
  ['correct horse', 'scrypt$16384$seasalt$8$5$nXachnDoZ26UFUF1o3PD3FjYfKq/mD4nZm22d5L0rp+Bi3DZTjkayk+fTW77FlT+2IelThLoihBYgWjZHfwh3Q=='],
  ['correct horse', 'scrypt$16384$seasalt$8$1$WHJS3/wrzhi2rYiZ44/lAqpycQxKRPVfHXMQFxWIaII7u1p+2cO61B97UL7OFL5ZSWsnhfwdgsItJJ6HcrHG4Q==']
]

t.test('passwords are checked as Django checks them', async (t) => {
  for (const [password, encoded] of ENCODED) t.equal(await checkPassword(password, encoded), true, encoded)
  for (const [password, encoded] of ENCODED.slice(1)) {
    t.equal(await checkPassword(`${password} `, encoded), false)
    t.equal(await checkPassword(password, encoded.slice(0, -1)), false, 'a shortened hash')
    t.equal(await checkPassword(password, encoded.replace('seasalt', 'pepper')), false, 'another salt')
  }
})

t.test('a user who does not exist, or has no usable password, has no right password', async (t) => {
  for (const encoded of [null, '!unusable', 'secret']) t.equal(await checkPassword('secret', encoded), false)
})

t.test('a password field in another format is an error, which names the algorithm and nothing else', async (t) => {
  const fields = {
    bcrypt_sha256$$2b$12$abcdefghijklmnopqrstuv: /bcrypt_sha256$/,
    'argon2$argon2id$v=19$m=102400,t=2,p=8$salt$hash': /argon2$/,
    md5$salt$hash: /md5$/,
    pbkdf2_sha256$salt$hash: /pbkdf2_sha256$/,
    scrypt$16384$salt$hash: /scrypt$/
  }
  for (const [encoded, message] of Object.entries(fields)) {
    await t.rejects(checkPassword('secret', encoded), { code: 'FST_SESSION_UNSUPPORTED_PASSWORD', message })
  }
})

t.test('a password field cannot ask for work without end', async (t) => {
  const fields = [
    ...['0', '-1', '1e3', '', '20000001', '99999999999999'].map((iterations) => `pbkdf2_sha256$${iterations}$salt$hash`),
    ...['1048576$salt$8$1', '16384$salt$0$1', '16384$salt$8$17', '16384$salt$33$1', '0$salt$8$1', '65536$salt$8$1'].map(
      (costs) => `scrypt$${costs}$hash`
    )
  ]
  for (const encoded of fields) {
    await t.rejects(checkPassword('secret', encoded), { code: 'FST_SESSION_UNSUPPORTED_PASSWORD' }, encoded)
  }
})
