/** The user of a session: which logins count, for how long, and who is asked for them. */
import t from 'tap'
import type { Session } from '../../lib/index.ts'
import { Browser, gate, secretKey } from '../fixtures/app.ts'
import { missing, recordQueries } from '../fixtures/databases.ts'
import { BACKEND, createSite, djangoHash, djangoLogin, read, stores, type User } from '../fixtures/login-site.ts'

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
  ...Object.fromEntries(
    [true, 1.5, Number.NaN, 2 ** 53, '', null, ['1'], {}].map((id) => [
      `with the id ${JSON.stringify(id)} (${typeof id})`,
      { ...djangoLogin('1', 'pbkdf2_sha256$1000$a$ada'), _auth_user_id: id }
    ])
  ),
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

t.test('a login whose id Django stored as a number counts, as there', async (t) => {
  const { users, asked, open, stored } = await createSite(t)
  users.set('9007199254740993', { id: 9007199254740993n, name: 'big', password: 'big' })
  for (const [id, password, expected] of [
    [1, 'pbkdf2_sha256$1000$a$ada', { id: '1', name: 'ada' }],
    [2n, 'pbkdf2_sha256$1000$g$grace', { id: '2', name: 'grace' }],
    [9007199254740993n, 'big', { id: '9007199254740993', name: 'big' }]
  ] as const) {
    const browser = await open({ ...djangoLogin('', password), _auth_user_id: id })
    const before = await stored(browser)
    t.strictSame((await browser.get('/who')).json(), expected)
    t.strictSame(await stored(browser), before, 'the session is left alone')
  }
  t.strictSame(asked, ['1', '2', '9007199254740993'], 'getUser is asked for strings')
})

t.test('signing in again as a user whose id is stored as a number keeps the data', async (t) => {
  const { open, stored } = await createSite(t)
  const browser = await open({ private: 1, ...djangoLogin('', 'pbkdf2_sha256$1000$a$ada'), _auth_user_id: 1 })
  await browser.get('/login/1')
  t.strictSame(await stored(browser), { private: 1, ...djangoLogin('1', 'pbkdf2_sha256$1000$a$ada') })
})

// --- rotating the secret key -------------------------------------------------------------

const rotated = { secretKey: 'the new one', secretKeyFallbacks: [secretKey, 'the oldest'] }
const rotatingStores: typeof stores = { ...stores, "db with onConflict: 'reject'": async () => ({ onConflict: 'reject' }) }

for (const [store, optionsOf] of Object.entries(rotatingStores)) {
  const skip = store === 'db on postgres' && missing('postgres')
  t.test(`nobody notices that the secret key was rotated, three requests at once either: ${store}`, { skip }, async (t) => {
    const doors = [gate(), gate(), gate()]
    let arrived = 0
    const getUser = async () => {
      await doors[arrived++]?.pass()
      return { id: 1, name: 'ada', password: 'pbkdf2_sha256$1000$a$ada' }
    }
    const options = await optionsOf(t)
    const before = await createSite(t, options)
    const old = new Browser(before.app)
    await old.get('/login/1')
    await old.get('/set/private')
    const { app } = await createSite(t, { ...options, knex: before.knex, ...rotated }, { getUser })
    const tabs = [1, 2, 3].map(() => new Browser(app, old.cookie))
    const responses = tabs.map((tab) => tab.get('/who'))
    await Promise.all(doors.map(({ reached }) => reached))
    for (const door of doors) door.open()
    for (const response of await Promise.all(responses)) {
      t.strictSame([response.statusCode, response.json()], [200, { id: '1', name: 'ada' }])
    }
    for (const tab of tabs) t.equal(tab.cookie, old.cookie, 'the cookie goes on')
    const after = await createSite(t, { ...options, knex: before.knex, secretKey: 'the new one' })
    t.strictSame((await new Browser(after.app, old.cookie).get('/who')).json(), { id: '1', name: 'ada' }, 'also without the old key')
    t.match(await read(after.app.sessions, old), {
      private: 'kept',
      _auth_user_hash: djangoHash('pbkdf2_sha256$1000$a$ada', 'the new one')
    })
  })
}

t.test('a login of any former secret key is signed anew, once', async (t) => {
  const { open, stored } = await createSite(t, rotated)
  for (const secret of [secretKey, 'the oldest']) {
    const browser = await open({ private: 1, ...djangoLogin('1', 'pbkdf2_sha256$1000$a$ada', secret) })
    const before = browser.cookie
    t.match((await browser.get('/who')).json(), { id: '1' })
    t.equal(browser.cookie, before)
    t.strictSame(await stored(browser), { private: 1, ...djangoLogin('1', 'pbkdf2_sha256$1000$a$ada', 'the new one') })
    t.notOk((await browser.get('/who')).headers['set-cookie'])
  }
})

for (const [store, optionsOf] of Object.entries(rotatingStores)) {
  const skip = store === 'db on postgres' && missing('postgres')
  t.test(`a change of the password ends what is under way with the old secret key: ${store}`, { skip }, async (t) => {
    const lookUp = gate()
    let isFirst = true
    const ada = { id: 1, name: 'ada', password: 'pbkdf2_sha256$1000$a$ada' }
    const getUser = async () => {
      if (!isFirst) return users.get('1')
      isFirst = false
      await lookUp.pass()
      return ada
    }
    const { users, open, stored } = await createSite(t, { ...(await optionsOf(t)), ...rotated }, { getUser })
    const browser = await open(djangoLogin('1', ada.password, secretKey))
    const other = await open(djangoLogin('1', ada.password, secretKey))
    const slow = browser.fork()
    const answer = slow.get('/who')
    await lookUp.reached
    t.strictSame((await browser.get('/password/1')).json(), { name: 'changed' })
    lookUp.open()
    t.equal((await answer).statusCode, 400)
    t.equal(await stored(slow), null, 'the old key stays dead')
    t.strictSame((await other.get('/who')).json(), { id: null })
    t.match((await browser.get('/who')).json(), { id: '1' })
    t.strictSame(await stored(browser), djangoLogin('1', 'pbkdf2_sha256$1000$n$new', 'the new one'))
  })
}

// --- one request, several users ----------------------------------------------------------

t.test('within a request, a user is forgotten as soon as the session is another one', async (t) => {
  const { app, auth, asked, open } = await createSite(t)
  const ends: Record<string, (session: Session) => unknown> = {
    flush: (session) => session.flush(),
    'flush without await': (session) => void session.flush(),
    destroy: (session) => session.destroy(),
    regenerate: (session) => session.regenerate(),
    clear: (session) => session.clear(),
    'delete of the id': (session) => session.delete('_auth_user_id')
  }
  for (const [index, end] of Object.values(ends).entries()) {
    app.get(`/end/${index}`, async (request) => {
      const before = await auth.userId(request)
      await end(request.session)
      return [before, await auth.userId(request), await auth.user(request)]
    })
  }
  for (const [index, name] of Object.keys(ends).entries()) {
    const browser = await open(djangoLogin('1', 'pbkdf2_sha256$1000$a$ada'))
    t.strictSame((await browser.get(`/end/${index}`)).json(), ['1', null, null], name)
  }
  t.strictSame(asked, ['1', '1', '1', '1', '1', '1'], 'for nobody no user is asked')
})

t.test("within a request, the application's own login is the one that counts", async (t) => {
  const { app, auth, open } = await createSite(t)
  app.get('/own-login', async (request) => {
    const before = await auth.userId(request)
    await request.session.flush()
    const between = await auth.userId(request)
    request.session.update(djangoLogin('2', 'pbkdf2_sha256$1000$g$grace'))
    return [before, between, await auth.userId(request)]
  })
  const browser = await open(djangoLogin('1', 'pbkdf2_sha256$1000$a$ada'))
  t.strictSame((await browser.get('/own-login')).json(), ['1', null, '2'])
  t.strictSame((await browser.get('/who')).json(), { id: '2', name: 'grace' })
})

t.test('a new key, and data of others, do not make a user asked for again', async (t) => {
  const { app, auth, asked, open } = await createSite(t)
  app.get('/cycle', async (request) => {
    await auth.userId(request)
    await request.session.cycleKey()
    request.session.set('a', 1)
    return [await auth.userId(request)]
  })
  const browser = await open(djangoLogin('1', 'pbkdf2_sha256$1000$a$ada'))
  t.strictSame((await browser.get('/cycle')).json(), ['1'])
  t.strictSame(asked, ['1'])
})

t.test('a login while the former user is looked up is not undone', async (t) => {
  const lookUp = gate()
  const getUser = async () => {
    await lookUp.pass()
    // Their password has changed.
    return { id: 1, name: 'ada', password: 'changed' }
  }
  const { app, auth, users, open, stored } = await createSite(t, {}, { getUser })
  app.get('/both', async (request) => {
    const former = auth.userId(request)
    await lookUp.reached
    await auth.login(request, users.get('2') as User)
    lookUp.open()
    return [await former, await auth.userId(request)]
  })
  const browser = await open(djangoLogin('1', 'pbkdf2_sha256$1000$a$ada'))
  t.strictSame((await browser.get('/both')).json(), [null, '2'])
  t.strictSame(await stored(browser), djangoLogin('2', 'pbkdf2_sha256$1000$g$grace'))
})

// --- sessions without a request ------------------------------------------------------------

t.test('userOf verifies a session afresh each time', async (t) => {
  const { app, auth, users, asked, open, stored } = await createSite(t, rotated)
  app.get<{ Params: { cookie: string } }>('/user-of/:cookie', async (request) => {
    const name = async () => (await auth.userOf(app.sessions.open(request.params.cookie), request))?.name ?? null
    return [await name(), await name()]
  })
  const ask = async (browser: Browser) => (await app.inject(`/user-of/${browser.cookie}`)).json()
  const browser = await open(djangoLogin('1', 'pbkdf2_sha256$1000$a$ada', 'the new one'))
  t.strictSame(await ask(browser), ['ada', 'ada'])
  t.strictSame(asked, ['1', '1'])
  t.strictSame(await ask(await open({ a: 1 })), [null, null])
  const former = djangoLogin('1', 'pbkdf2_sha256$1000$a$ada', secretKey)
  const rotating = await open(former)
  t.strictSame(await ask(rotating), ['ada', 'ada'])
  t.strictSame(await stored(rotating), former, 'nothing is saved without save()')

  users.set('1', { id: 1, name: 'ada', password: 'pbkdf2_sha256$1000$a$ada', isActive: false })
  t.strictSame(await ask(browser), [null, null], 'deactivated')
  users.set('1', { id: 1, name: 'ada', password: 'pbkdf2_sha256$1000$n$new' })
  t.not(await stored(browser), null)
  t.strictSame(await ask(browser), [null, null], 'a new password')
  t.equal(await stored(browser), null, 'which flushes the session')
})

t.test('a user from getUser without id or password fails the request, and the session stays', async (t) => {
  const ada = djangoLogin('1', 'pbkdf2_sha256$1000$a$ada')
  const given: [user: unknown, message: string][] = [
    [{}, 'getUser: expected a user whose id is a string, an integer or a bigint, got undefined'],
    [{ _id: 1, password: 'x' }, 'getUser: expected a user whose id is a string, an integer or a bigint, got undefined'],
    [{ id: 1, hash: 'x' }, 'getUser: expected a user whose password (the stored field) is a string, got undefined'],
    ['ada', 'getUser: expected a user, got a string']
  ]
  let user: unknown
  const { open, stored } = await createSite(t, {}, { getUser: () => user as User })
  for (const [wrong, message] of given) {
    user = wrong
    const browser = await open(ada)
    const response = await browser.get('/who')
    t.match([response.statusCode, response.json()], [500, { message }])
    t.strictSame(await stored(browser), ada)
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
