/** The preHandler that lets only signed-in users pass. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { InvalidOptions, LoginRequired } from '../errors.js'
import { kRefuse } from '../http/plugin.js'
import { safeNext, withNext } from './safe-next.js'

/** Options of `loginRequired`. */
export interface LoginRequiredOptions {
  /** `LOGIN_URL`: a path of this site to redirect to. @default no redirect: 401 */
  redirectTo?: string
}

/** A hook of Fastify. */
export type LoginRequiredHook = (request: FastifyRequest, reply: FastifyReply) => Promise<FastifyReply | undefined>

/** @param user returns the user of a request, or null */
export function createLoginRequired(user: (request: FastifyRequest) => Promise<unknown>) {
  const loginRequired = (options: LoginRequiredOptions = {}, ...rest: unknown[]): LoginRequiredHook => {
    // More arguments mean that it was called as a hook. It would return another hook, and the request would get no reply.
    if (rest.length > 0) refuse()
    const redirectTo = checkOptions(options)
    return async (request, reply) => {
      if ((await user(request)) !== null) return
      if (redirectTo === undefined || !isPageView(request)) throw new LoginRequired()
      return reply.redirect(withNext(redirectTo, safeNext(request.originalUrl, '/')))
    }
  }
  return Object.assign(loginRequired, { [kRefuse]: refuse })
}

function refuse(): never {
  throw new TypeError('loginRequired is not a hook but makes one: call it, as in preHandler: loginRequired()')
}

function checkOptions(options: LoginRequiredOptions): string | undefined {
  const { redirectTo, ...unknown } = Object(options) as LoginRequiredOptions
  if (options !== Object(options) || Object.keys(unknown).length > 0) {
    throw new InvalidOptions(
      "- loginRequired: expected nothing or an object with redirectTo, as in loginRequired({ redirectTo: '/login/' })"
    )
  }
  if (redirectTo !== undefined && (safeNext(redirectTo, '') === '' || redirectTo.includes('#'))) {
    throw new InvalidOptions(`- redirectTo: expected a path of this site such as /login/, got ${JSON.stringify(redirectTo)}`)
  }
  return redirectTo
}

/** Whether a browser asks for a page, so that a redirect to the login page makes sense. */
function isPageView({ method, headers }: FastifyRequest): boolean {
  if (method !== 'GET' && method !== 'HEAD') return false
  return headers['x-requested-with'] !== 'XMLHttpRequest' && (headers.accept ?? '').toLowerCase().includes('text/html')
}
