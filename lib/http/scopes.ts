/** The scopes of an application that have sessions. */
import type { FastifyInstance } from 'fastify'
import { AlreadyRegistered } from '../errors.js'
import type { Settings } from '../settings/settings.js'
import { isInTable } from '../settings/storage.js'

interface Claim {
  scope: FastifyInstance
  settings: Settings
}

/** The scopes with sessions, by server. */
const claimed = new WeakMap<object, Claim[]>()

/**
 * Refuses a scope inside or around another one with sessions: the hooks of the outer one would run for requests of the inner one.
 * Warns of scopes beside each other that would overwrite each other's cookie.
 *
 * @throws AlreadyRegistered
 */
export function claimScope(scope: FastifyInstance, settings: Settings): void {
  const claims = claimed.get(scope.server) ?? []
  // A scope inherits from the one around it, but the outer one does not have the decorators of the inner one.
  const isOutside = (other: Claim) => Object.prototype.isPrototypeOf.call(scope, other.scope)
  if (scope.hasRequestDecorator('session') || claims.some(isOutside)) throw new AlreadyRegistered()
  claimed.set(scope.server, [...claims, { scope, settings }])
  const isRival = (other: Claim) => hasSameCookie(other.settings, settings) && !hasSameStore(other.settings, settings)
  // Not an error, because the routes of the scopes may have different hosts.
  if (claims.some(isRival)) {
    const { name } = settings.cookie
    scope.log.warn(
      `Two scopes store sessions in different places, but have the same cookie, ${JSON.stringify(name)}: on one host each overwrites the key of the other. Set another cookie.name`
    )
  }
}

function hasSameCookie({ cookie: a }: Settings, { cookie: b }: Settings): boolean {
  return a.name === b.name && a.domain === b.domain && a.path === b.path
}

/** Whether sessions may be in the same place, as far as the options tell: two configurations may be those of one database. */
function hasSameStore(a: Settings, b: Settings): boolean {
  if (isInTable(a.engine) && isInTable(b.engine)) return a.tableName === b.tableName
  return a.engine === b.engine && a.filePath === b.filePath
}
