/** The options and the functions of `createAuth`. */
import type { FastifyRequest } from 'fastify'
import type { Session } from '../session/session.js'
import type { FreshLoginRequiredOptions, LoginRequiredHook, LoginRequiredOptions } from './login-required.js'
import type { MaxSessions, OwnSession } from './user-sessions.js'
import type { AuthUser } from './users.js'

/** Options of `createAuth`. */
export interface AuthOptions<User extends AuthUser> {
  /** Finds the user with a primary key. The key is a string, whatever type its column has. There is no request where `userOf` got none. */
  getUser: (id: string, request?: FastifyRequest) => Promise<User | null | undefined> | User | null | undefined
  /** `AUTHENTICATION_BACKENDS`: logins through these backends are accepted, and ours name the first. @default ['django.contrib.auth.backends.ModelBackend'] */
  backends?: readonly [string, ...string[]]
  /** The most sessions of a user, with the option `userSessions` of the plugin: `{ of: 5, then: 'endOldest' }`, or `'refuse'`. @default no limit */
  maxSessions?: MaxSessions<User>
  /** Called and awaited at each login, before the session changes. If it throws, `login` fails with its error. */
  onLogin?: (user: User, request: FastifyRequest) => unknown
  /** Called and awaited at each logout, before the session ends. The user is null if nobody is signed in. If it throws, the session still ends, and `logout` fails with its error. */
  onLogout?: (user: User | null, request: FastifyRequest) => unknown
}

/** Options of `login`. */
export interface LoginOptions extends ReauthenticateOptions {
  /**
   * false ends the cookie when the browser closes. true keeps it for `cookieAge`, or `timeouts.idle`, whatever the option
   * `expireAtBrowserClose` is. @default what `setExpiry` or an earlier login gave the session, or else the option `expireAtBrowserClose`
   */
  rememberMe?: boolean
}

/** Options of `reauthenticate`. */
export interface ReauthenticateOptions {
  /** How the user has authenticated, as django-allauth calls it: 'password', 'mfa', 'socialaccount' and so on. @default 'password' */
  method?: string
}

/** Functions for logins. They do not use `this`. */
export interface Auth<User extends AuthUser> {
  /**
   * Signs a user in. Check the password and `isActive` before. The session gets a new key,
   * and the old key is invalid at once. The data of an anonymous session, or of a session of
   * the same user, is kept. The session of another user is flushed. With the option `userSessions` it is stored at once.
   *
   * @throws TypeError when the user has no usable `id` or no string `password`, when `request` is not a request, or for other options
   * @throws NotRegistered, SessionDisabled, SessionInterrupted, StoreUnavailable
   * @throws TooManySessions with `maxSessions` and `then: 'refuse'`; then nobody is signed in
   */
  login(request: FastifyRequest, user: User, options?: LoginOptions): Promise<void>
  /**
   * Records that the signed-in user has authenticated again. Check the password before. The session gets a new key,
   * its absolute timeout starts again, and `freshLoginRequired` lets the user pass.
   *
   * @throws LoginRequired when another user is signed in, or none
   * @throws TypeError as `login`
   * @throws SessionInterrupted, StoreUnavailable
   */
  reauthenticate(request: FastifyRequest, user: User, options?: ReauthenticateOptions): Promise<void>
  /** Signs the user out, in Django too: flushes the session. */
  logout(request: FastifyRequest): Promise<void>
  /**
   * The user who is signed in. Null if none is. `getUser` is called once per request, and
   * again if the user of the session changes. If the password has changed since the login,
   * the session is flushed. A login that was verified with a fallback of the secret key is
   * renewed with the current key.
   *
   * @throws TypeError when `getUser` returns a user without `id` or `password`
   */
  user(request: FastifyRequest): Promise<User | null>
  /** The primary key of `user(request)`, as a string. */
  userId(request: FastifyRequest): Promise<string | null>
  /**
   * The user of any session, verified at each call. For websockets, whose request may
   * outlive the login: open the session anew by `app.sessions.forCookie`. If the password
   * has changed since the login, the session is flushed. Other changes need `session.save()`.
   *
   * @param request is passed on to `getUser`
   */
  userOf(session: Session, request?: FastifyRequest): Promise<User | null>
  /**
   * Keeps the user of this request signed in after a change of the password, which ends
   * all other sessions of the user. Verify the login before you store the new password.
   *
   * @param user the user with the new password
   * @throws TypeError when the user has no usable `id` or no string `password`
   */
  updateSessionAuthHash(request: FastifyRequest, user: User): Promise<void>
  /**
   * The sessions with which the user of this request is signed in, the one that was used last first; none where nobody
   * is. With the option `userSessions`.
   *
   * @throws InvalidOptions without the option
   * @throws StoreUnavailable, StoreRefused
   */
  sessionsOf(request: FastifyRequest): Promise<OwnSession[]>
  /**
   * Ends a session of the user of this request, everywhere. That of the request itself is signed out. With the option
   * `userSessions`.
   *
   * @param id that of `sessionsOf()`, also as the text of a form
   * @returns false when the user has no such session
   * @throws InvalidOptions without the option
   * @throws StoreUnavailable, StoreRefused
   */
  endSession(request: FastifyRequest, id: number | string): Promise<boolean>
  /**
   * Ends all sessions of the user of this request but its own, everywhere. With the option `userSessions`.
   *
   * @returns their number
   * @throws InvalidOptions without the option
   * @throws StoreUnavailable, StoreRefused
   */
  endOtherSessions(request: FastifyRequest): Promise<number>
  /**
   * Makes a preHandler that lets only signed-in users pass. Other visitors of a page are
   * redirected to the login page, with the path of the page in `next` (see `safeNext`).
   * Other requests fail with 401, FST_SESSION_LOGIN_REQUIRED.
   *
   * @throws InvalidOptions
   * @throws TypeError when `loginRequired` itself is used as the hook
   */
  loginRequired(options?: LoginRequiredOptions): LoginRequiredHook
  /**
   * Makes a preHandler that lets only users pass who have logged in, or authenticated again, a short time ago. Other
   * visitors of a page are redirected to a page that calls `reauthenticate`, with the path of the page in `next`. Other
   * requests fail with 401: FST_SESSION_REAUTHENTICATION_REQUIRED, or FST_SESSION_LOGIN_REQUIRED if nobody is signed in.
   *
   * @throws InvalidOptions
   * @throws TypeError when `freshLoginRequired` itself is used as the hook
   */
  freshLoginRequired(options?: FreshLoginRequiredOptions): LoginRequiredHook
}
