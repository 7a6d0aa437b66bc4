/**
 * Logins shared with Django: port of `login`, `logout`, `get_user` and
 * `update_session_auth_hash` in django/contrib/auth/__init__.py (Django 5.x). Users
 * themselves are the application's.
 */
import type { FastifyRequest } from 'fastify'
import { constantTimeCompare } from '../django/crypto.js'
import { InvalidOptions } from '../errors.js'
import { kindOf } from '../kind-of.js'
import type { CompatSession as Session } from '../session/compat.js'
import { createLoginRequired, type LoginRequiredHook, type LoginRequiredOptions } from './login-required.js'
import { type AuthUser, authHashes, checkUser, isUserId, sessionOf } from './users.js'

const MODEL_BACKEND = 'django.contrib.auth.backends.ModelBackend'

/** Where secrets against CSRF are kept by Django with `CSRF_USE_SESSIONS`, and by @fastify/csrf-protection. */
const CSRF_NAMES = ['_csrftoken', '_csrf']

/** Where users come from. */
export interface AuthOptions<User extends AuthUser> {
  /** Finds the user with this primary key, which is a string whatever its type is in your table. */
  getUser: (id: string, request: FastifyRequest) => Promise<User | null | undefined> | User | null | undefined
  /** `AUTHENTICATION_BACKENDS`: whose logins count. Ours are stored as by the first. @default ['django.contrib.auth.backends.ModelBackend'] */
  backends?: readonly [string, ...string[]]
}

/** Functions that need no `this`. */
export interface Auth<User extends AuthUser> {
  /**
   * Signs a user in, whose password and `isActive` were checked. The session gets a new
   * key, and the old one is dead at once. An anonymous session and one of the same user
   * keep their data; that of another user is flushed.
   *
   * @throws TypeError when the user has no usable `id` or no string `password`, and when `request` is no request
   * @throws NotRegistered, SessionDisabled, SessionInterrupted, StoreUnavailable
   */
  login(request: FastifyRequest, user: User): Promise<void>
  /** Signs out: flushes the session, for Django too. */
  logout(request: FastifyRequest): Promise<void>
  /**
   * The user who is signed in, null for nobody. `getUser` is called once per request,
   * and again only when the session was flushed or changed hands meanwhile. A session
   * from before a change of the password is flushed; one that was signed with a fallback
   * of the secret key is signed with the present one.
   *
   * @throws TypeError when `getUser` gives a user without `id` or `password`
   */
  user(request: FastifyRequest): Promise<User | null>
  /** The primary key of `user(request)`, as a string. */
  userId(request: FastifyRequest): Promise<string | null>
  /**
   * The user of any session, verified at each call: for websockets, whose request may
   * outlive the login. Open the session afresh, by `app.sessions.forCookie`. A session
   * from before a change of the password is flushed; other changes need `session.save()`.
   *
   * @param request of the same application: it is handed to `getUser`
   */
  userOf(session: Session, request: FastifyRequest): Promise<User | null>
  /**
   * Keeps the user of this request signed in after a change of their password, which
   * ends all their other sessions. Verify the login before you store the new password.
   *
   * @param user with the new password
   * @throws TypeError when the user has no usable `id` or no string `password`
   */
  updateSessionAuthHash(request: FastifyRequest, user: User): Promise<void>
  /**
   * Makes a preHandler for users only. Pages are redirected to the login page, with the
   * way back in `next` (see `safeNext`); other requests fail with 401,
   * FST_SESSION_LOGIN_REQUIRED.
   *
   * @throws InvalidOptions
   * @throws TypeError when it is used as a hook itself, without being called
   */
  loginRequired(options?: LoginRequiredOptions): LoginRequiredHook
}

/** The user of a session as long as the session is theirs. */
interface Remembered<User> {
  id: unknown
  backend: unknown
  user: Promise<User | null>
}

/** @throws InvalidOptions */
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
    // The author of a planted session knows them. A function is recorded even where this
    // request sees no such key, since the author may add one until the key has changed.
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
    // A failure is not remembered: the next call asks again.
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
    // Falsy, since some databases have 0 for false.
    if (!found || !(found.isActive ?? true)) return null
    checkUser('getUser', found)

    const [hash, ...fallbacks] = authHashes(request.server.sessions, found)
    if (isEqual(stored, hash)) return found
    // The handler may have signed in or out while the user was looked up: that session is not this login's.
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

/** As a string, null for none. Django accepts numbers too (`_get_user_session_key`). */
function userIdOf(session: Session): string | null {
  const id: unknown = session.get('_auth_user_id')
  return isUserId(id) ? String(id) : null
}

function isEqual(stored: unknown, hash: string): boolean {
  return typeof stored === 'string' && constantTimeCompare(stored, hash)
}
