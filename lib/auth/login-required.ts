/** The preHandler that lets users pass only. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { InvalidOptions, LoginRequired } from '../errors.js'
import { kRefuse } from '../http/plugin.js'
import { safeNext, withNext } from './safe-next.js'

/** Options of `loginRequired`: the answer to a request without a user. */
export interface LoginRequiredOptions {
  /** `LOGIN_URL`, a path of this site. @default nobody is redirected */
  redirectTo?: string
}

/** A hook of Fastify. */
export type LoginRequiredHook = (request: FastifyRequest, reply: FastifyReply) => Promise<FastifyReply | undefined>

/** @param user finds out who makes a request */
export function createLoginRequired(user: (request: FastifyRequest) => Promise<unknown>) {
  const loginRequired = (options: LoginRequiredOptions = {}, ...rest: unknown[]): LoginRequiredHook => {
    // Called as a hook, which would only make another hook and leave the request without an answer.
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
  throw new TypeError('loginRequired makes a hook and is none itself: call it, as in preHandler: loginRequired()')
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

/** Whether a person asks for a page, who can be shown another one and come back. */
function isPageView({ method, headers }: FastifyRequest): boolean {
  if (method !== 'GET' && method !== 'HEAD') return false
  return headers['x-requested-with'] !== 'XMLHttpRequest' && (headers.accept ?? '').toLowerCase().includes('text/html')
}
