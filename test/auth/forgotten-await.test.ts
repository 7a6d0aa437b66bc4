/** Calls of what `createAuth` returns without `await`: the reply waits for them, and fails with their errors. */
import { setImmediate as turn } from 'node:timers/promises'
import type { FastifyReply } from 'fastify'
import t, { type Test } from 'tap'
import type { Auth, AuthUser } from '../../lib/auth/index.ts'
import { Browser, warnings } from '../fixtures/app.ts'
import { createSite, openUserSessions, sessionsOf } from '../fixtures/user-sessions.ts'

const rejections: unknown[] = []
process.on('unhandledRejection', (error) => rejections.push(error))

type Request = Parameters<Auth<AuthUser>['user']>[0]

const ADA: AuthUser = { id: '1', password: 'the stored password of 1' }

const CALLS: Record<string, (auth: Auth<AuthUser>, request: Request) => unknown> = {
  login: (auth, request) => auth.login(request, ADA),
  reauthenticate: (auth, request) => auth.reauthenticate(request, ADA),
  logout: (auth, request) => auth.logout(request),
  user: (auth, request) => auth.user(request),
  userId: (auth, request) => auth.userId(request),
  userOf: (auth, request) => auth.userOf(request.session, request),
  updateSessionAuthHash: (auth, request) => auth.updateSessionAuthHash(request, ADA),
  sessionsOf: (auth, request) => auth.sessionsOf(request),
  endSession: (auth, request) => auth.endSession(request, 1),
  endOtherSessions: (auth, request) => auth.endOtherSessions(request)
}

/** A site whose hooks fail with `failure.error` if there is one. Its route /forgotten/<name> returns before the call has ended. */
async function createForgetful(t: Test) {
  const failure: { error: Error | null } = { error: null }
  const ask = async () => {
    for (let turns = 0; turns < 10; turns++) await turn()
    if (failure.error !== null) throw failure.error
  }
  const getUser = async (id: string) => {
    await ask()
    return id === '1' ? ADA : null
  }
  const site = await createSite(t, await openUserSessions(t, 'sqlite'), {}, { getUser, onLogin: ask, onLogout: ask })
  for (const [name, call] of Object.entries(CALLS)) {
    site.app.get(`/forgotten/${name}`, async (request) => {
      call(site.auth, request)
      return 'did not wait'
    })
  }
  return { ...site, failure }
}

t.test('a forgotten login signs in, and a forgotten logout out', async (t) => {
  const { app } = await createForgetful(t)
  const browser = new Browser(app)
  t.equal((await browser.get('/forgotten/login')).statusCode, 200)
  t.match(await sessionsOf(browser), [{ isCurrent: true }])
  const tab = browser.fork()
  t.equal((await browser.get('/forgotten/logout')).statusCode, 200)
  t.equal(browser.cookie, null)
  t.strictSame((await tab.get('/who')).json(), { id: null })
})

t.test('a forgotten reauthenticate() that refuses fails the reply', async (t) => {
  const { app, login } = await createForgetful(t)
  const refusal = { statusCode: 401, code: 'FST_SESSION_LOGIN_REQUIRED' }
  t.match((await new Browser(app).get('/forgotten/reauthenticate')).json(), refusal, 'nobody is signed in')
  t.match((await (await login('2')).get('/forgotten/reauthenticate')).json(), refusal, 'somebody else is')
  t.strictSame(rejections, [])
})

for (const name of Object.keys(CALLS)) {
  t.test(`a forgotten ${name}() that fails, fails the reply`, async (t) => {
    const { login, failure } = await createForgetful(t)
    const browser = await login('1')
    failure.error = new Error('the users are away')
    t.match((await browser.get(`/forgotten/${name}`)).json(), { statusCode: 500, message: 'the users are away' })
    t.strictSame(rejections, [])
  })
}

t.test('a forgotten call on what is no request fails the reply', async (t) => {
  const { app, auth } = await createForgetful(t)
  const names = Object.keys(CALLS).filter((name) => name !== 'userOf')
  for (const name of names) {
    app.get(`/nothing/${name}`, async () => {
      CALLS[name]?.(auth, undefined as unknown as Request)
      return 'did not wait'
    })
  }
  const refusal = { statusCode: 500, message: /^Expected a request as the first argument, got / }
  for (const name of names) t.match((await new Browser(app).get(`/nothing/${name}`)).json(), refusal, name)
  t.strictSame(rejections, [])
})

t.test('a call that does not end fails the reply at storeTimeout, and the log names it', async (t) => {
  const getUser = (id: string) => (isAway ? new Promise<never>(() => {}) : { ...ADA, id })
  let isAway = false
  const site = await createSite(t, await openUserSessions(t, 'sqlite'), { storeTimeout: 0.1 }, { getUser })
  site.app.get('/impatient', (request) => Promise.race([site.auth.user(request), turn('gave up')]))
  const browser = await site.login('1')
  isAway = true
  t.match((await browser.get('/impatient')).json(), { statusCode: 503, code: 'FST_SESSION_STORE_UNAVAILABLE' })
  t.match(warnings(site.logs).at(-1), { err: { message: /until storeTimeout for user\(\) of createAuth: is an await missing/ } })
})

t.test('a hook that waits for the reply, which waits for the hook, fails at storeTimeout', async (t) => {
  const replies = new WeakMap<object, FastifyReply>()
  const onLogin = async (_: AuthUser, request: Request) => replies.get(request)?.saveSession()
  const site = await createSite(t, await openUserSessions(t, 'sqlite'), { storeTimeout: 0.1 }, { onLogin })
  site.app.addHook('onRequest', async (request, reply) => void replies.set(request, reply))
  t.match((await new Browser(site.app).get('/login/1')).json(), { statusCode: 503, code: 'FST_SESSION_STORE_UNAVAILABLE' })
  t.match(warnings(site.logs).at(-1), { err: { message: /for login\(\) of createAuth: .+ does a hook wait for the reply\?/ } })
})

t.test('errors that the handler awaits and handles do not fail the reply', async (t) => {
  const { app, auth, login, failure } = await createForgetful(t)
  app.get('/handled', async (request) => {
    const outcomes = await Promise.allSettled(Object.values(CALLS).map((call) => call(auth, request)))
    return outcomes.map(({ status }) => status)
  })
  const browser = await login('1')
  failure.error = new Error('the users are away')
  t.strictSame(
    (await browser.get('/handled')).json(),
    Object.keys(CALLS).map(() => 'rejected')
  )
})
