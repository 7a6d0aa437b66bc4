/**
 * Logins that are shared with Django: port of `login`, `logout`, `get_user` and
 * `update_session_auth_hash` in django/contrib/auth/__init__.py (Django 5.x). The
 * application provides the users.
 */
import type { FastifyRequest } from 'fastify'
import { constantTimeCompare } from '../django/crypto.js'
import type { Members } from '../django/serializer.js'
import { userIdOf } from '../django/user-id.js'
import { LoginRequired } from '../errors.js'
import { lifecycleOf } from '../session/facade.js'
import type { Session } from '../session/session.js'
import { Sessions } from '../sessions.js'
import { checkLoginOptions, checkNames } from './arguments.js'
import type { AuthOptions, LoginOptions, ReauthenticateOptions } from './auth.js'
import { entryOf, recordLogin, recordReauthentication } from './authentication.js'
import { CSRF_NAMES, undoLogin } from './undo-login.js'
import { OwnSessions } from './user-sessions.js'
import { type AuthUser, authHashes, checkUser, sessionOf } from './users.js'

const MODEL_BACKEND = 'django.contrib.auth.backends.ModelBackend'

/** A verified user, valid as long as the session has this id and backend. */
interface Remembered<User> {
  id: unknown
  backend: unknown
  user: Promise<User | null>
}

/** The methods are those of `Auth`. */
export class Logins<User extends AuthUser> {
  /** The functions about the user's sessions. */
  readonly own: OwnSessions<User>
  readonly #getUser: AuthOptions<User>['getUser']
  readonly #backends: readonly [string, ...string[]]
  readonly #onLogin: AuthOptions<User>['onLogin']
  readonly #onLogout: AuthOptions<User>['onLogout']
  readonly #users = new WeakMap<Session, Remembered<User>>()

  constructor({ getUser, backends = [MODEL_BACKEND], maxSessions, onLogin, onLogout }: AuthOptions<User>) {
    this.#getUser = getUser
    this.#backends = backends
    this.#onLogin = onLogin
    this.#onLogout = onLogout
    this.own = new OwnSessions<User>({
      user: (request) => this.user(request),
      logout: (request) => this.logout(request),
      isSignedIn: (sessions, user, members) => this.#isSignedIn(sessions, user, members),
      maxSessions
    })
  }

  async login(request: FastifyRequest, user: User, options: LoginOptions = {}): Promise<void> {
    checkUser('login', user)
    checkLoginOptions(options)
    const { method = 'password', rememberMe } = options
    const session = await sessionOf(request).load()
    const entry = entryOf(session, method)
    await this.own.refuseSurplus(session, user)
    await this.#onLogin?.(user, request)
    const hashes = authHashes(Sessions.of(session), user)
    const id = String(user.id)
    const stored = session.get('_auth_user_hash')
    const isSame = userIdOf(session.get('_auth_user_id')) === id && hashes.some((hash) => isEqual(stored, hash))
    // The session of another user ends last: a login that fails leaves it as it is, also where it has been ended meanwhile.
    const isAnother = !isSame && session.has('_auth_user_id')
    const next = isAnother ? await Sessions.of(session).open(null, request.log, request).load() : session
    const before = next.toObject()
    if (!isAnother) await lifecycleOf(session).cycleKey(id)
    next.update({ _auth_user_id: id, _auth_user_backend: this.#backends[0], _auth_user_hash: hashes[0] })
    // An attacker who planted the session knows its CSRF secrets. `delete` would do nothing for a secret
    // that is added after this request has loaded the session; a function runs at the save.
    for (const name of CSRF_NAMES) next.set(name, () => undefined)
    recordLogin(next, entry)
    if (rememberMe !== undefined) next.setExpiry(rememberMe ? Sessions.of(session).cookieAge : 0)
    try {
      await this.own.enter(request, next, user)
      if (isAnother) await lifecycleOf(session).continueAs(lifecycleOf(next))
    } catch (error) {
      // Otherwise the reply of a handler that catches the error would save the login.
      await undoLogin(next, before)
      throw error
    }
    this.#remember(session, Promise.resolve(user))
  }

  async reauthenticate(request: FastifyRequest, user: User, options: ReauthenticateOptions = {}): Promise<void> {
    checkUser('reauthenticate', user)
    checkNames('reauthenticate', options, ['method'])
    const { method = 'password' } = options
    const session = await sessionOf(request).load()
    const entry = entryOf(session, method)
    if ((await this.userId(request)) !== String(user.id)) throw new LoginRequired()
    await session.cycleKey()
    recordReauthentication(session, entry)
  }

  async logout(request: FastifyRequest): Promise<void> {
    const session = sessionOf(request)
    try {
      if (this.#onLogout !== undefined) await this.#onLogout(await this.user(request), request)
    } finally {
      await session.flush()
    }
  }

  async user(request: FastifyRequest): Promise<User | null> {
    const session = await sessionOf(request).load()
    const known = this.#users.get(session)
    if (known !== undefined && known.id === session.get('_auth_user_id') && known.backend === session.get('_auth_user_backend'))
      return known.user
    const verified = this.#verify(session, request)
    this.#remember(session, verified)
    // A failure is not remembered, so the next call tries again.
    verified.catch(() => this.#users.delete(session))
    const found = await verified
    if (found !== null) this.own.use(request, session, found)
    return found
  }

  async userOf(session: Session, request?: FastifyRequest): Promise<User | null> {
    return this.#verify(await session.load(), request)
  }

  /** Whether members are those of a login of the user that still counts: the backend is accepted, and the hash is right. */
  #isSignedIn(sessions: Sessions, user: User, members: Members): boolean {
    const stored = members.get('_auth_user_hash')?.value
    const isAccepted = this.#backends.some((accepted) => accepted === members.get('_auth_user_backend')?.value)
    return isAccepted && authHashes(sessions, user).some((hash) => isEqual(stored, hash))
  }

  async userId(request: FastifyRequest): Promise<string | null> {
    const found = await this.user(request)
    return found === null ? null : String(found.id)
  }

  async updateSessionAuthHash(request: FastifyRequest, changed: User): Promise<void> {
    checkUser('updateSessionAuthHash', changed)
    const isSame = (await this.userId(request)) === String(changed.id)
    const session = sessionOf(request)
    await session.cycleKey()
    if (!isSame) return
    session.set('_auth_user_hash', authHashes(Sessions.of(session), changed)[0])
    this.#remember(session, Promise.resolve(changed))
  }

  #remember(session: Session, user: Promise<User | null>): void {
    this.#users.set(session, { id: session.get('_auth_user_id'), backend: session.get('_auth_user_backend'), user })
  }

  /** django.contrib.auth.get_user */
  async #verify(session: Session, request?: FastifyRequest): Promise<User | null> {
    const id = userIdOf(session.get('_auth_user_id'))
    const backend = session.get('_auth_user_backend')
    if (id === null || !this.#backends.some((accepted) => accepted === backend)) return null
    const stored = session.get('_auth_user_hash')
    const found = await this.#getUser(id, request)
    // Not `=== false`: some databases return 0.
    if (!found || !(found.isActive ?? true)) return null
    checkUser('getUser', found)

    const [hash, ...fallbacks] = authHashes(Sessions.of(session), found)
    if (isEqual(stored, hash)) return found
    // The handler may have signed in or out during the query. Then the session must not be changed here.
    const isStillThere = userIdOf(session.get('_auth_user_id')) === id && session.get('_auth_user_hash') === stored
    if (fallbacks.some((fallback) => isEqual(stored, fallback))) {
      if (isStillThere) session.set('_auth_user_hash', hash)
      return found
    }
    if (isStillThere) await session.flush()
    return null
  }
}

function isEqual(stored: unknown, hash: string): boolean {
  return typeof stored === 'string' && constantTimeCompare(stored, hash)
}
