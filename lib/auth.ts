/**
 * Logins shared with Django: port of django/contrib/auth/__init__.py (Django 5.x), of
 * `AbstractBaseUser.get_session_auth_hash`, and of what a login page needs besides.
 * Users themselves are the application's.
 */
import { pbkdf2, type ScryptOptions, scrypt, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { InvalidOptions, LoginRequired, UnsupportedPassword } from './errors.js'
import { getSession } from './http/plugin.js'

const MODEL_BACKEND = 'django.contrib.auth.backends.ModelBackend'
const HASH_SALT = 'django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash'

/** Where secrets against CSRF are kept by Django with `CSRF_USE_SESSIONS`, and by @fastify/csrf-protection. */
const CSRF_NAMES = ['_csrftoken', '_csrf']

/** What of a user is needed to sign in; yours may have more. */
export interface AuthUser {
  /** The primary key. */
  id: string | number | bigint
  /** Django's field `password`, as it is stored: of it only a hash goes into the session. */
  password: string
  /** false: cannot sign in, as if deleted. @default true */
  isActive?: boolean
}

/** Where users come from. */
export interface AuthOptions<User extends AuthUser> {
  /** Finds the user with this primary key, which is text as sessions have it. */
  getUser: (id: string, request: FastifyRequest) => Promise<User | null | undefined> | User | null | undefined
  /** `AUTHENTICATION_BACKENDS`: whose logins count. Ours are stored as by the first. @default ['django.contrib.auth.backends.ModelBackend'] */
  backends?: readonly [string, ...string[]]
}

/** What `loginRequired` does with nobody. */
export interface LoginRequiredOptions {
  /** `LOGIN_URL`, a path of this site. @default nobody is redirected */
  redirectTo?: string
}

/** Functions that need no `this`. */
export interface Auth<User extends AuthUser> {
  /**
   * Signs a user in, whose password and `isActive` were checked. An anonymous session keeps its data
   * under a new key; that of another user is flushed.
   */
  login(request: FastifyRequest, user: User): Promise<void>
  /** Signs out: flushes the session, for Django too. */
  logout(request: FastifyRequest): Promise<void>
  /**
   * The user who is signed in, null for nobody. `getUser` is called once per request.
   * A session from before a change of the password is flushed; one that was signed with
   * a fallback of the secret key goes on under a new key.
   */
  user(request: FastifyRequest): Promise<User | null>
  /** The primary key of `user(request)`, as text. */
  userId(request: FastifyRequest): Promise<string | null>
  /**
   * Keeps the user of this request signed in after a change of their password, which
   * ends all their other sessions. Verify the login before you store the new password.
   *
   * @param user with the new password
   */
  updateSessionAuthHash(request: FastifyRequest, user: User): Promise<void>
  /**
   * A preHandler for users only. Pages are redirected to the login page, with the way
   * back in `next` (see `safeNext`); other requests fail with 401, FST_SESSION_LOGIN_REQUIRED.
   *
   * @throws InvalidOptions
   */
  loginRequired(options?: LoginRequiredOptions): (request: FastifyRequest, reply: FastifyReply) => Promise<FastifyReply | undefined>
}

/** @throws InvalidOptions */
export function createAuth<User extends AuthUser>({ getUser, backends = [MODEL_BACKEND] }: AuthOptions<User>): Auth<User> {
  if (typeof getUser !== 'function') throw new InvalidOptions(`- getUser: expected a function, got a value of type ${typeof getUser}`)
  const users = new WeakMap<FastifyRequest, Promise<User | null>>()

  async function login(request: FastifyRequest, user: User): Promise<void> {
    const session = await getSession(request).load()
    const id = String(user.id)
    const [hash] = authHashes(request, user)
    if (!session.has('_auth_user_id')) await session.cycleKey()
    else if (session.get('_auth_user_id') !== id || !equal(session.get('_auth_user_hash'), hash)) await session.flush()
    session.update({ _auth_user_id: id, _auth_user_backend: backends[0], _auth_user_hash: hash })
    // Who planted the anonymous session knows what was in it.
    for (const name of CSRF_NAMES) session.delete(name)
    users.set(request, Promise.resolve(user))
  }

  async function logout(request: FastifyRequest): Promise<void> {
    await getSession(request).flush()
    users.set(request, Promise.resolve(null))
  }

  function user(request: FastifyRequest): Promise<User | null> {
    const known = users.get(request)
    if (known !== undefined) return known
    const verified = verify(request)
    users.set(request, verified)
    // A failure is not remembered: the next call asks again.
    verified.catch(() => users.delete(request))
    return verified
  }

  /** django.contrib.auth.get_user */
  async function verify(request: FastifyRequest): Promise<User | null> {
    const session = await getSession(request).load()
    const id = session.get('_auth_user_id')
    const backend = session.get('_auth_user_backend')
    if (typeof id !== 'string' || !backends.some((accepted) => accepted === backend)) return null
    const found = await getUser(id, request)
    // Falsy, since some databases have 0 for false.
    if (!found || !(found.isActive ?? true)) return null

    const stored = session.get('_auth_user_hash')
    const [hash, ...fallbacks] = authHashes(request, found)
    if (equal(stored, hash)) return found
    if (fallbacks.some((fallback) => equal(stored, fallback))) {
      await session.cycleKey()
      session.set('_auth_user_hash', hash)
      return found
    }
    await session.flush()
    return null
  }

  async function userId(request: FastifyRequest): Promise<string | null> {
    const found = await user(request)
    return found === null ? null : String(found.id)
  }

  async function updateSessionAuthHash(request: FastifyRequest, changed: User): Promise<void> {
    const isSame = (await userId(request)) === String(changed.id)
    const session = getSession(request)
    await session.cycleKey()
    if (!isSame) return
    session.set('_auth_user_hash', authHashes(request, changed)[0])
    users.set(request, Promise.resolve(changed))
  }

  function loginRequired({ redirectTo }: LoginRequiredOptions = {}) {
    if (redirectTo !== undefined && (safeNext(redirectTo, '') === '' || redirectTo.includes('#'))) {
      throw new InvalidOptions(`- redirectTo: expected a path of this site such as /login/, got ${JSON.stringify(redirectTo)}`)
    }
    return async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply | undefined> => {
      if ((await user(request)) !== null) return
      if (redirectTo === undefined || !isPageView(request)) throw new LoginRequired()
      return reply.redirect(withNext(redirectTo, safeNext(request.originalUrl, '/')))
    }
  }

  return { login, logout, user, userId, updateSessionAuthHash, loginRequired }
}

/** `get_session_auth_hash`, by the secret key and then by its fallbacks. */
function authHashes(request: FastifyRequest, { password }: AuthUser): [string, ...string[]] {
  const [hash, ...fallbacks] = request.server.sessions.saltedHmacs(HASH_SALT, password)
  return [hash.toString('hex'), ...fallbacks.map((fallback) => fallback.toString('hex'))]
}

/** In constant time. */
function equal(given: unknown, expected: string): boolean {
  if (typeof given !== 'string') return false
  const [left, right] = [Buffer.from(given), Buffer.from(expected)]
  return left.length === right.length && timingSafeEqual(left, right)
}

// --- the way back -------------------------------------------------------------------

/**
 * Where to go after signing in: `next`, which anybody may have written, if it is a path
 * of this site, else `fallback`. Stricter than `url_has_allowed_host_and_scheme`: no
 * hosts at all, and only what may stand in a URL, so that there is nothing which a
 * browser, or a proxy that decodes, reads in another way.
 */
export function safeNext(next: unknown, fallback: string): string {
  if (typeof next !== 'string' || !/^\/(?!\/|%2f|%5c)[!-[\]-~]*$/i.test(next)) return fallback
  // Without its dots `/.//host` is `//host`, should anybody on the way resolve them.
  return new URL(next, 'http://localhost').pathname.startsWith('//') ? fallback : next
}

/** django.contrib.auth.views.redirect_to_login */
function withNext(url: string, next: string): string {
  return `${url}${url.includes('?') ? '&' : '?'}next=${encodeURIComponent(next).replaceAll('%2F', '/')}`
}

/** Whether a person asks for a page, who can be shown another one and come back. */
function isPageView({ method, headers }: FastifyRequest): boolean {
  if (method !== 'GET' && method !== 'HEAD') return false
  return headers['x-requested-with'] !== 'XMLHttpRequest' && (headers.accept ?? '').toLowerCase().includes('text/html')
}

// --- passwords ------------------------------------------------------------------------

const pbkdf2Async = promisify(pbkdf2)
const scryptAsync = promisify<string, string, number, ScryptOptions, Buffer>(scrypt)

/** What a password costs where there is none to check: Django 5.2's. */
const DEFAULT_ITERATIONS = 1_000_000
/** Over ten times what Django will ask for soon; more is no honest password field. */
const MAX_ITERATIONS = 20_000_000
/** Bytes of memory, four times what Django's scrypt takes. */
const MAX_SCRYPT_MEMORY = 64 * 1024 * 1024

/**
 * Whether `password` is that of Django's field `password` (`check_password`): PBKDF2 and
 * scrypt. A user who does not exist (null) or has no usable password takes as long as one
 * whose password is stored in Django's present default, PBKDF2 of a million iterations, so
 * that nobody learns which names exist. Sites with older hashes rehash them in Django.
 *
 * @throws UnsupportedPassword for other algorithms (Argon2, bcrypt) and beyond reasonable costs
 */
export async function checkPassword(password: string, encoded: string | null | undefined): Promise<boolean> {
  const [, algorithm, rest] = /^([a-z][a-z\d_]*)\$(.*)$/s.exec(encoded ?? '') ?? []
  if (algorithm === undefined || rest === undefined) {
    await pbkdf2Async(password, 'nobody', DEFAULT_ITERATIONS, 32, 'sha256')
    return false
  }
  const fields = rest.split('$')
  const expected = fields.at(-1) as string
  const actual = await hashPassword(password, algorithm, fields)
  return equal(expected, actual.toString('base64'))
}

/** @param fields what follows the algorithm, up to the hash, which is not looked at */
function hashPassword(password: string, algorithm: string, fields: string[]): Promise<Buffer> {
  if (algorithm === 'pbkdf2_sha256' && fields.length === 3) {
    const [iterations, salt] = fields as [string, string]
    return pbkdf2Async(password, salt, cost(iterations, MAX_ITERATIONS), 32, 'sha256')
  }
  if (algorithm === 'scrypt' && fields.length === 5) {
    const [workFactor, salt, blockSize, parallelism] = fields as [string, string, string, string]
    const N = cost(workFactor, 2 ** 20)
    const r = cost(blockSize, 32)
    const p = cost(parallelism, 16)
    if (128 * r * (N + p + 2) > MAX_SCRYPT_MEMORY) throw new UnsupportedPassword('its costs are out of bounds')
    return scryptAsync(password, salt, 64, { N, r, p, maxmem: MAX_SCRYPT_MEMORY })
  }
  throw new UnsupportedPassword(`its format is that of ${algorithm}`)
}

function cost(text: string, most: number): number {
  const number = /^\d{1,10}$/.test(text) ? Number(text) : 0
  if (number < 1 || number > most) throw new UnsupportedPassword('its costs are out of bounds')
  return number
}
