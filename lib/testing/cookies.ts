/** Cookies of visitors and users, for tests of an application. */
import type { Auth, AuthUser } from '../auth/index.js'
import type { Session, SessionData } from '../session/session.js'
import type { Sessions } from '../sessions.js'

/** The part of a Fastify application that these helpers use. The plugin may still be waiting to be registered. */
export interface SessionsApp {
  /** Made by the plugin. */
  sessions: Sessions
  /** Fastify's own. */
  ready(): PromiseLike<unknown>
}

type Request = Parameters<Auth<AuthUser>['login']>[0]

/** Data of a session. The keys that `SessionData` declares have their declared types. */
export type TestData = Partial<SessionData> & Record<string, unknown>

/**
 * Stores a session and returns the header `Cookie` that its browser would send, for
 * `inject`, `fetch` and `injectWS`: `app.inject({ url: '/', headers: { cookie } })`.
 * After a request, `app.sessions.forCookie(cookie)` opens the session as it then is.
 *
 * @throws TypeError when the plugin is not registered in this scope of the application
 */
export function sessionCookie(app: SessionsApp, data: TestData): Promise<string> {
  return cookieOf(app, data, async () => {})
}

/**
 * Does the same for a user, whom `auth.login` signs in without a password
 * (django.test.Client.force_login). The request that `onLogin` gets came from 127.0.0.1 without headers, as that of
 * Django's test client.
 *
 * @throws TypeError when the plugin is not registered in this scope of the application
 */
export function loginCookie<User extends AuthUser>(
  app: SessionsApp,
  auth: Pick<Auth<User>, 'login'>,
  user: User,
  data: TestData = {}
): Promise<string> {
  return cookieOf(app, data, (session) => auth.login(requestOf(app, session), user))
}

/** A request to sign in with: nobody has sent it, so that it has no reply and no body. */
function requestOf(app: SessionsApp, session: Session): Request {
  const { log } = app as { log?: unknown }
  return { session, server: app, log, ip: '127.0.0.1', headers: {}, params: {}, query: {} } as unknown as Request
}

async function cookieOf(app: SessionsApp, data: TestData, change: (session: Session) => Promise<void>): Promise<string> {
  await app.ready()
  // The type says that every application has it. At run time only scopes with the plugin do.
  const { sessions } = app as Partial<SessionsApp>
  if (sessions === undefined) throw new TypeError('Expected a Fastify application in which fastify-django-sessions is registered')
  const session = sessions.open().update(data)
  await change(session)
  await session.save()
  return `${sessions.cookieName}=${session.sessionKey}`
}
