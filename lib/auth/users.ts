/** Checks of the user and the request that a login is given: plain JavaScript could pass anything. */
import type { FastifyRequest } from 'fastify'
import { getSession } from '../http/plugin.js'
import { kindOf } from '../kind-of.js'
import type { CompatSession as Session } from '../session/compat.js'
import type { Sessions } from '../sessions.js'

const HASH_SALT = 'django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash'

/** The fields of a user that a login needs; yours may have more. */
export interface AuthUser {
  /** The primary key: a string that is not empty, a safe integer or a bigint. */
  id: string | number | bigint
  /** Django's field `password`, as it is stored: the session holds a keyed hash of it only. A user without a password may have an empty one. */
  password: string
  /** false: cannot sign in, as if deleted. @default true */
  isActive?: boolean
}

/** Whether a value identifies a user. Numbers that JavaScript rounds do not: they could be those of another user. */
export function isUserId(value: unknown): value is AuthUser['id'] {
  return (typeof value === 'string' && value !== '') || typeof value === 'bigint' || Number.isSafeInteger(value)
}

/** @throws TypeError that names the missing property */
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

/** The session of a request. @throws TypeError, NotRegistered, SessionDisabled */
export function sessionOf(request: FastifyRequest): Session {
  if (typeof request?.server !== 'object') throw new TypeError(`Expected a request as the first argument, got ${kindOf(request)}`)
  return getSession(request)
}

/** `get_session_auth_hash`, by the secret key and then by its fallbacks. */
export function authHashes(sessions: Sessions, { password }: AuthUser): [string, ...string[]] {
  const [hash, ...fallbacks] = sessions.saltedHmacs(HASH_SALT, password)
  return [hash.toString('hex'), ...fallbacks.map((fallback) => fallback.toString('hex'))]
}
