/** What a login and a logout do besides: hooks, and how long the browser keeps the cookie. */
import t from 'tap'
import { type AuthOptions, createAuth } from '../../lib/auth/index.ts'
import { Browser } from '../fixtures/app.ts'
import { createSite, djangoLogin, type User } from '../fixtures/login-site.ts'

const ada = djangoLogin('1', 'pbkdf2_sha256$1000$a$ada')

t.test('onLogin is awaited before the session changes, and can refuse the login', async (t) => {
  const seen: unknown[] = []
  const onLogin: AuthOptions<User>['onLogin'] = async (user, request) => {
    await null
    seen.push([user.name, request.url, request.session.sessionKey, request.session.has('_auth_user_id')])
    if (user.name === 'grace') throw new Error('out of order')
  }
  const { app, stored } = await createSite(t, {}, { onLogin })
  const browser = new Browser(app)
  await browser.get('/set/cart')
  const { cookie } = browser
  t.equal((await browser.get('/login/1')).statusCode, 200)
  t.strictSame(seen, [['ada', '/login/1', cookie, false]])
  const signedIn = browser.cookie
  const refused = await browser.get('/login/2')
  t.match([refused.statusCode, refused.json()], [500, { message: 'out of order' }])
  t.equal(browser.cookie, signedIn, 'who was signed in before still is')
  t.strictSame(await stored(browser), { cart: 'kept', ...ada })
})

t.test('onLogout gets who was signed in, or null, and the session ends whatever it does', async (t) => {
  const seen: unknown[] = []
  const onLogout: AuthOptions<User>['onLogout'] = async (user, request) => {
    seen.push([user?.name ?? null, request.session.get('_auth_user_id')])
    if (seen.length === 2) throw new Error('out of order')
  }
  const { app, knex } = await createSite(t, {}, { onLogout })
  const browser = new Browser(app)
  await browser.get('/login/1')
  t.equal((await browser.get('/logout')).statusCode, 200)
  await browser.get('/login/2')
  const failed = await browser.get('/logout')
  t.match([failed.statusCode, failed.json()], [500, { message: 'out of order' }])
  t.equal(browser.cookie, null)
  t.strictSame(await knex('django_session'), [])
  await browser.get('/logout')
  t.strictSame(seen, [
    ['ada', '1'],
    ['grace', '2'],
    [null, undefined]
  ])
})

t.test('without onLogout a logout asks nobody for the user', async (t) => {
  const { app, asked, auth } = await createSite(t)
  app.get('/logout-at-once', async (request) => auth.logout(request))
  const browser = new Browser(app)
  await browser.get('/login/1')
  asked.length = 0
  await browser.get('/logout-at-once')
  t.strictSame(asked, [])
})

t.test('a login without rememberMe leaves the session the end that it has', async (t) => {
  const { app, auth, users } = await createSite(t)
  app.get('/forget', async (request) => {
    await auth.login(request, users.get('1') as User, { rememberMe: false })
    return ''
  })
  const browser = new Browser(app)
  await browser.get('/forget')
  t.equal((await browser.get('/login/1')).cookies[0]?.maxAge, undefined)
  t.equal((await browser.get('/login/2')).cookies[0]?.maxAge, 1_209_600, 'another user has another session')
})

for (const [title, options, lifetimes] of [
  ['by default', {}, { yes: 1_209_600, no: undefined, unsaid: 1_209_600 }],
  ['with expireAtBrowserClose', { expireAtBrowserClose: true }, { yes: 1_209_600, no: undefined, unsaid: undefined }],
  ['with an idle timeout', { timeouts: { idle: '1h' } }, { yes: 3600, no: undefined, unsaid: 3600 }]
] as const) {
  t.test(`rememberMe says whether the browser keeps the cookie: ${title}`, async (t) => {
    const { app, auth, users } = await createSite(t, options)
    app.get<{ Params: { remember: keyof typeof lifetimes } }>('/remember/:remember', async (request) => {
      const rememberMe = { yes: true, no: false, unsaid: undefined }[request.params.remember]
      await auth.login(request, users.get('1') as User, rememberMe === undefined ? {} : { rememberMe })
      return ''
    })
    for (const [remember, maxAge] of Object.entries(lifetimes)) {
      const browser = new Browser(app)
      for (const url of [`/remember/${remember}`, '/set/cart']) {
        const [cookie] = (await browser.get(url)).cookies
        t.strictSame([cookie?.maxAge, cookie?.expires === undefined], [maxAge, maxAge === undefined], `${remember}: ${url}`)
      }
    }
  })
}

t.test('a rememberMe that is not a boolean, and a hook that is not a function, are refused', async (t) => {
  const { app, auth, users } = await createSite(t)
  app.get('/remember', async (request) => {
    const message = /^login: expected rememberMe to be true or false, got a (string|number|plain object)$/
    for (const rememberMe of ['on', 'false', 0, {}])
      await t.rejects(auth.login(request, users.get('1') as User, { rememberMe } as never), { name: 'TypeError', message })
    return auth.userId(request)
  })
  t.equal((await app.inject('/remember')).body, 'null')
  t.throws(() => createAuth({ getUser: () => null, onLogin: 'log', onLogout: null } as never), {
    code: 'FST_SESSION_INVALID_OPTIONS',
    message: /- onLogin: expected a function, got a string\n- onLogout: expected a function, got null/
  })
})

t.test('options of login and reauthenticate that do not exist are refused', async (t) => {
  const { app, auth, users } = await createSite(t)
  app.get('/login', async (request) => {
    const user = users.get('1') as User
    for (const [call, options, message] of [
      ['login', { remember: true }, 'login: unknown option remember; there are method, rememberMe'],
      ['login', { RememberMe: true }, 'login: unknown option RememberMe, did you mean rememberMe?'],
      ['login', true, 'login: expected an object with method or rememberMe as the options, got a boolean'],
      ['login', null, 'login: expected an object with method or rememberMe as the options, got null'],
      ['reauthenticate', { rememberMe: true }, 'reauthenticate: unknown option rememberMe; there are method']
    ] as const) {
      await t.rejects(auth[call](request, user, options as never), { name: 'TypeError', message })
    }
    return auth.userId(request)
  })
  t.equal((await app.inject('/login')).body, 'null')
})

t.test('misspelt options of createAuth, and backends that are none, are refused', async (t) => {
  for (const [options, message] of [
    [
      { maxSession: { of: 1, then: 'refuse' } },
      /- maxSession: unknown option; there are getUser, backends, maxSessions, onLogin, onLogout/
    ],
    [{ onlogin: () => {} }, /- onlogin: unknown option, did you mean onLogin\?/],
    [{ backends: [] }, /- backends: expected an array of names, of which there is at least one, got an array of 0/],
    [{ backends: 'site.Backend' }, /- backends: expected an array of names, .+ got a string/],
    [{ getUser: undefined }, /- getUser: expected a function, got nothing/]
  ] as const) {
    t.throws(() => createAuth({ getUser: () => null, ...options } as never), { code: 'FST_SESSION_INVALID_OPTIONS', message })
  }
})

t.test('userOf needs no request, and gives it to getUser where there is one', async (t) => {
  const requests: unknown[] = []
  const user: User = { id: 1, name: 'ada', password: 'pbkdf2_sha256$1000$a$ada' }
  const getUser: AuthOptions<User>['getUser'] = (_id, request) => {
    requests.push(request?.url)
    return user
  }
  const { app, auth } = await createSite(t, {}, { getUser })
  const browser = new Browser(app)
  const opened = () => app.sessions.open(browser.cookie)
  app.get('/of', async (request) => (await auth.userOf(opened(), request))?.name)
  await browser.get('/login/1')
  requests.length = 0
  t.equal((await auth.userOf(opened()))?.name, 'ada')
  t.equal((await app.inject('/of')).body, 'ada')
  t.strictSame(requests, [undefined, '/of'])
  user.password = 'changed'
  t.equal(await auth.userOf(opened()), null)
  t.equal((await opened().load()).sessionKey, null, 'a session of the former password is ended')
  t.equal(await auth.userOf(app.sessions.open()), null)
})
