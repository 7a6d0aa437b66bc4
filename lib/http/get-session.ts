import type { FastifyRequest } from 'fastify'
import { NotRegistered } from '../errors.js'
import type { Session } from '../session/session.js'

/**
 * The session of a request, for applications in which another plugin types `request.session`.
 *
 * @throws NotRegistered, SessionDisabled
 */
export function getSession(request: FastifyRequest): Session {
  const { session } = request as FastifyRequest & { session?: Session }
  if (session === undefined) throw new NotRegistered(String(request.routeOptions.url))
  return session
}
