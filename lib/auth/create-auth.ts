/**
 * Logins that are shared with Django: port of `login`, `logout`, `get_user` and
 * `update_session_auth_hash` in django/contrib/auth/__init__.py (Django 5.x). The
 * application provides the users.
 */
import type { FastifyRequest } from 'fastify'
import { constantTimeCompare } from '../django/crypto.js'
import { InvalidOptions } from '../errors.js'
import { kindOf } from '../kind-of.js'
import type { Session } from '../session/session.js'
import { createLoginRequired, type LoginRequiredHook, type LoginRequiredOptions } from './login-required.js'
import { type AuthUser, authHashes, checkUser, isUserId, sessionOf } from './users.js'

const MODEL_BACKEND = 'django.contrib.auth.backends.ModelBackend'

/** The session keys of CSRF secrets: of Django with `CSRF_USE_SESSIONS`, and of @fastify/csrf-protection. */
const CSRF_NAMES = ['_csrftoken', '_csrf']

/** Options of `createAuth`. */
export interface AuthOptions<User extends AuthUser> {
  /** Finds the user with a primary key. The key is a string, whatever type its column has. */
  getUser: (id: string, request: FastifyRequest) => Promise<User | null | undefined> | User | null | undefined
  /** `AUTHENTICATION_BACKENDS`: logins through these backends are accepted, and ours name the first. @default ['django.contrib.auth.backends.ModelBackend'] */
  backends?: readonly [string, ...string[]]
}

/** Functions for logins. They do not use `this`. */
export interface Auth<User extends AuthUser> {
  /**
   * Signs a user in. Check the password and `isActive` before. The session gets a new key,
   * and the old key is invalid at once. The data of an anonymous session, or of a session of
   * the same user, is kept. The session of another user is flushed.
   *
   * @throws TypeError when the user has no usable `id` or no string `password`, or when `request` is not a request
   * @throws NotRegistered, SessionDisabled, SessionInterrupted, StoreUnavailable
   */
  login(request: FastifyRequest, user: User): Promise<void>
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
   * @param request a request of the same application, for `getUser`
   */
  userOf(session: Session, request: FastifyRequest): Promise<User | null>
  /**
   * Keeps the user of this request signed in after a change of the password, which ends
   * all other sessions of the user. Verify the login before you store the new password.
   *
   * @param user the user with the new password
   * @throws TypeError when the user has no usable `id` or no string `password`
   */
  updateSessionAuthHash(request: FastifyRequest, user: User): Promise<void>
  /**
   * Makes a preHandler that lets only signed-in users pass. Other visitors of a page are
   * redirected to the login page, with the path of the page in `next` (see `safeNext`).
   * Other requests fail with 401, FST_SESSION_LOGIN_REQUIRED.
   *
   * @throws InvalidOptions
   * @throws TypeError when `loginRequired` itself is used as the hook
   */
  loginRequired(options?: LoginRequiredOptions): LoginRequiredHook
}

/** A verified user, valid as long as the session has this id and backend. */
interface Remembered<User> {
  id: unknown
  backend: unknown
  user: Promise<User | null>
}

/**
 * Makes the functions for logins.
 *
 * @throws InvalidOptions
 */
export function createAuth<User extends AuthUser>({ getUser, backends = [MODEL_BACKEND] }: AuthOptions<User>): Auth<User> {
  if (typeof getUser !== 'function') throw new InvalidOptions(`- getUser: expected a function, got ${kindOf(getUser)}`)
  const users = new WeakMap<Session, Remembered<User>>()

  function remember(session: Session, user: Promise<User | null>): void {
    users.set(session, { id: session.get('_auth_user_id'), backend: session.get('_auth_user_backend'), user })
  }

  async function login(request: FastifyRequest, user: User): Promise<void> {
    checkUser('login', user)
    const session = await sessionOf(request).load()
    const hashes = authHashes(request.server.sessions, user)
    const id = String(user.id)
    const stored = session.get('_auth_user_hash')
    const isSame = userIdOf(session) === id && hashes.some((hash) => isEqual(stored, hash))
    if (isSame || !session.has('_auth_user_id')) await session.cycleKey()
    else await session.flush()
    session.update({ _auth_user_id: id, _auth_user_backend: backends[0], _auth_user_hash: hashes[0] })
    // An attacker who planted the session knows its CSRF secrets. `delete` would do nothing for a secret
    // that is added after this request has loaded the session; a function runs at the save.
    for (const name of CSRF_NAMES) session.set(name, () => undefined)
    remember(session, Promise.resolve(user))
  }

  async function logout(request: FastifyRequest): Promise<void> {
    await sessionOf(request).flush()
  }

  async function user(request: FastifyRequest): Promise<User | null> {
    const session = await sessionOf(request).load()
    const known = users.get(session)
    if (known !== undefined && known.id === session.get('_auth_user_id') && known.backend === session.get('_auth_user_backend'))
      return known.user
    const verified = verify(session, request)
    remember(session, verified)
    // A failure is not remembered, so the next call tries again.
    verified.catch(() => users.delete(session))
    return verified
  }

  async function userOf(session: Session, request: FastifyRequest): Promise<User | null> {
    return verify(await session.load(), request)
  }

  /** django.contrib.auth.get_user */
  async function verify(session: Session, request: FastifyRequest): Promise<User | null> {
    const id = userIdOf(session)
    const backend = session.get('_auth_user_backend')
    if (id === null || !backends.some((accepted) => accepted === backend)) return null
    const stored = session.get('_auth_user_hash')
    const found = await getUser(id, request)
    // Not `=== false`: some databases return 0.
    if (!found || !(found.isActive ?? true)) return null
    checkUser('getUser', found)

    const [hash, ...fallbacks] = authHashes(request.server.sessions, found)
    if (isEqual(stored, hash)) return found
    // The handler may have signed in or out during the query. Then the session must not be changed here.
    const isStillThere = userIdOf(session) === id && session.get('_auth_user_hash') === stored
    if (fallbacks.some((fallback) => isEqual(stored, fallback))) {
      if (isStillThere) session.set('_auth_user_hash', hash)
      return found
    }
    if (isStillThere) await session.flush()
    return null
  }

  async function userId(request: FastifyRequest): Promise<string | null> {
    const found = await user(request)
    return found === null ? null : String(found.id)
  }

  async function updateSessionAuthHash(request: FastifyRequest, changed: User): Promise<void> {
    checkUser('updateSessionAuthHash', changed)
    const isSame = (await userId(request)) === String(changed.id)
    const session = sessionOf(request)
    await session.cycleKey()
    if (!isSame) return
    session.set('_auth_user_hash', authHashes(request.server.sessions, changed)[0])
    remember(session, Promise.resolve(changed))
  }

  return { login, logout, user, userId, userOf, updateSessionAuthHash, loginRequired: createLoginRequired(user) }
}

/** The user id of a session, as a string. Null if it has none. Django accepts numbers too (`_get_user_session_key`). */
function userIdOf(session: Session): string | null {
  const id: unknown = session.get('_auth_user_id')
  return isUserId(id) ? String(id) : null
}

function isEqual(stored: unknown, hash: string): boolean {
  return typeof stored === 'string' && constantTimeCompare(stored, hash)
}
