/** The functions for logins, and the check of their options. */
import type { FastifyRequest } from 'fastify'
import { kindOf } from '../kind-of.js'
import { lifecycleOf, lifecycleOfArgument } from '../session/facade.js'
import { type Check, checkAll, FUNCTION, isObject, isText, refuse } from '../settings/check.js'
import type { Auth, AuthOptions } from './auth.js'
import { createFreshLoginRequired, createLoginRequired } from './login-required.js'
import { Logins } from './logins.js'
import { MAX_SESSIONS_CHECK } from './user-sessions.js'
import { type AuthUser, sessionOf } from './users.js'

/**
 * Makes the functions for logins.
 *
 * @throws InvalidOptions
 */
export function createAuth<User extends AuthUser>(options: AuthOptions<User>): Auth<User> {
  refuse(problemsOf(options))
  const logins = new Logins(options)
  const user = (request: FastifyRequest) => logins.user(request)
  return {
    login: followed('login', (request, user: User, options) => logins.login(request, user, options)),
    reauthenticate: followed('reauthenticate', (request, user: User, options) => logins.reauthenticate(request, user, options)),
    logout: followed('logout', (request) => logins.logout(request)),
    user: followed('user', user),
    userId: followed('userId', (request) => logins.userId(request)),
    userOf: (session, request) => lifecycleOfArgument('userOf', session).queue.follow(logins.userOf(session, request), 'userOf'),
    updateSessionAuthHash: followed('updateSessionAuthHash', (request, user: User) => logins.updateSessionAuthHash(request, user)),
    sessionsOf: followed('sessionsOf', (request) => logins.own.list(request)),
    endSession: followed('endSession', (request, id) => logins.own.end(request, id)),
    endOtherSessions: followed('endOtherSessions', (request) => logins.own.endOthers(request)),
    loginRequired: createLoginRequired(user),
    freshLoginRequired: createFreshLoginRequired(user)
  }
}

/**
 * Makes the session follow calls of a function. Without a session it throws at once, since nothing would notice the
 * rejection of a call that is not awaited.
 */
function followed<Args extends unknown[], T>(name: string, work: (request: FastifyRequest, ...args: Args) => Promise<T>) {
  return (request: FastifyRequest, ...args: Args): Promise<T> => lifecycleOf(sessionOf(request)).queue.follow(work(request, ...args), name)
}

const CHECKS: Record<keyof AuthOptions<AuthUser>, Check> = {
  getUser: FUNCTION,
  backends: [
    'an array of names, of which there is at least one',
    (value) => Array.isArray(value) && value.length > 0 && value.every(isText)
  ],
  maxSessions: MAX_SESSIONS_CHECK,
  onLogin: FUNCTION,
  onLogout: FUNCTION
}

/** Describes everything that is wrong with the options. */
function problemsOf(options: unknown): string[] {
  if (!isObject(options)) return [`createAuth: expected an object with options, such as getUser, got ${kindOf(options)}`]
  const missing = options.getUser === undefined ? ['getUser: expected a function, got nothing'] : []
  return [...missing, ...checkAll(options, CHECKS)]
}
