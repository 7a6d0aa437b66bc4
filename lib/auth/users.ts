/** Users: their type, the checks of arguments, and the hashes that a login stores. */
import type { FastifyRequest } from 'fastify'
import { isUserId } from '../django/user-id.js'
import { getSession } from '../http/get-session.js'
import { kindOf } from '../kind-of.js'
import type { Session } from '../session/session.js'
import type { Sessions } from '../sessions.js'

const HASH_SALT = 'django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash'

/** The fields of a user that a login needs. Your users may have more. */
export interface AuthUser {
  /** The primary key: a string that is not empty, a safe integer or a bigint. */
  id: string | number | bigint
  /** Django's field `password`, as it is stored. The session contains only a keyed hash of it. Empty for a user without a password. */
  password: string
  /** false treats the user like a deleted one. @default true */
  isActive?: boolean
}

/**
 * Checks a user.
 *
 * @param source the function that got the user, for the error
 * @throws TypeError that names the missing property
 */
export function checkUser(source: string, user: AuthUser): void {
  const { id, password } = (user ?? {}) as Partial<AuthUser>
  if (typeof user !== 'object' || user === null) throw new TypeError(`${source}: expected a user, got ${kindOf(user)}`)
  if (!isUserId(id)) {
    const received = typeof id === 'number' ? 'a number that is not a safe integer' : kindOf(id)
    throw new TypeError(`${source}: expected a user whose id is a string, an integer or a bigint, got ${received}`)
  }
  if (typeof password !== 'string') {
    throw new TypeError(`${source}: expected a user whose password (the stored field) is a string, got ${kindOf(password)}`)
  }
}

/**
 * The session of a request.
 *
 * @throws TypeError, NotRegistered, SessionDisabled
 */
export function sessionOf(request: FastifyRequest): Session {
  if (typeof request?.server !== 'object') throw new TypeError(`Expected a request as the first argument, got ${kindOf(request)}`)
  return getSession(request)
}

/** The hashes of a user's password: with the secret key (`get_session_auth_hash`), then with each fallback. */
export function authHashes(sessions: Sessions, { password }: AuthUser): [string, ...string[]] {
  const [hash, ...fallbacks] = sessions.saltedHmacs(HASH_SALT, password)
  return [hash.toString('hex'), ...fallbacks.map((fallback) => fallback.toString('hex'))]
}
