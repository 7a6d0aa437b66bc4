/** What the plugin checks of a route: its session settings, `config: { session }`, and its hooks. */
import type { FastifyContextConfig, RouteOptions } from 'fastify'
import { InvalidRouteConfig } from '../errors.js'
import { kindOf } from '../kind-of.js'

/** `object &`, because a type of optional properties alone also accepts a boolean or a misspelt string. */
type RouteSessionSettings = object & { load?: 'lazy' | 'eager'; renew?: boolean }

/**
 * The session of a route. `false` disables it. 'lazy' or 'eager', alone or as `load`, overrides the option `load`.
 * `renew: false` is for requests that are not a user's activity, such as the polling of a page: they do not renew the session.
 */
export type RouteSession = false | 'lazy' | 'eager' | RouteSessionSettings

/**
 * How a route loads its session. Undefined if its config does not say.
 *
 * @throws InvalidRouteConfig
 */
export function checkRouteConfig(config: FastifyContextConfig | undefined, url = ''): false | 'lazy' | 'eager' | undefined {
  const session: unknown = config?.session
  if (session === undefined || session === false || isMode(session)) return session
  if (typeof session !== 'object' || session === null) throw new InvalidRouteConfig(url, described(session))
  const { load, renew, ...unknown } = session as Record<string, unknown>
  const [name] = Object.keys(unknown)
  if (name !== undefined) throw new InvalidRouteConfig(url, `an object with ${JSON.stringify(name)}`)
  if (load !== undefined && !isMode(load)) throw new InvalidRouteConfig(url, `load: ${described(load)}`)
  if (renew !== undefined && typeof renew !== 'boolean') throw new InvalidRouteConfig(url, `renew: ${described(renew)}`)
  return load
}

/** Whether requests of a route count as activity and renew the session. */
export function renewsOn(config: FastifyContextConfig | undefined): boolean {
  const session = config?.session
  return typeof session !== 'object' || session.renew !== false
}

function isMode(value: unknown): value is 'lazy' | 'eager' {
  return value === 'lazy' || value === 'eager'
}

function described(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value) : kindOf(value)
}

/** A method of functions that return a hook. It throws when a route uses the function itself as a hook, without calling it. */
export const kRefuse = Symbol('fastify-django-sessions.refuse')

/** Refuses `preHandler: loginRequired`, where `preHandler: loginRequired()` is meant. */
export function refuseUncalled(route: RouteOptions): void {
  for (const hook of Object.values(route).flat()) (hook as { [kRefuse]?: () => never } | undefined)?.[kRefuse]?.()
}
