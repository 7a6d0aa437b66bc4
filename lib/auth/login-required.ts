/** The preHandlers that let only signed-in users pass, or only users who have authenticated a short time ago. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { InvalidOptions, LoginRequired, ReauthenticationRequired } from '../errors.js'
import { kRefuse } from '../http/route-config.js'
import { isDurationFrom, parseDuration } from '../settings/duration.js'
import { isFresh } from './authentication.js'
import { safeNext, withNext } from './safe-next.js'
import { sessionOf } from './users.js'

/** Options of `loginRequired`. */
export interface LoginRequiredOptions {
  /** `LOGIN_URL`: a path of this site to redirect to. @default no redirect: 401 */
  redirectTo?: string
}

/** Options of `freshLoginRequired`. */
export interface FreshLoginRequiredOptions {
  /** The longest time since the login or the re-authentication: seconds, or a string such as '90s' or '5m'. @default 300, as in django-allauth */
  within?: number | string
  /** The path of the page on which users authenticate again. @default no redirect: 401 */
  redirectTo?: string
}

/** A hook of Fastify. */
export type LoginRequiredHook = (request: FastifyRequest, reply: FastifyReply) => Promise<FastifyReply | undefined>

/** The error for a request that may not pass, or null. */
type Ask = (request: FastifyRequest) => Promise<Error | null>
type UserOf = (request: FastifyRequest) => Promise<unknown>

/** django-allauth's `ACCOUNT_REAUTHENTICATION_TIMEOUT`, in seconds. */
const DEFAULT_WITHIN = 300

/** @param user returns the user of a request, or null */
export function createLoginRequired(user: UserOf): (options?: LoginRequiredOptions) => LoginRequiredHook {
  const example = "an object with redirectTo, as in loginRequired({ redirectTo: '/login/' })"
  return hookMaker('loginRequired', example, (options: LoginRequiredOptions) => {
    const { redirectTo, ...unknown } = options
    const ask: Ask = async (request) => ((await user(request)) === null ? new LoginRequired() : null)
    return { redirectTo, unknown, ask }
  })
}

/** @param user returns the user of a request, or null */
export function createFreshLoginRequired(user: UserOf): (options?: FreshLoginRequiredOptions) => LoginRequiredHook {
  const example = "an object with within and redirectTo, as in freshLoginRequired({ within: '5m' })"
  return hookMaker('freshLoginRequired', example, (options: FreshLoginRequiredOptions) => {
    const { within = DEFAULT_WITHIN, redirectTo, ...unknown } = options
    if (!isDurationFrom(1)(within)) {
      throw new InvalidOptions(`- within: expected seconds from 1, or a string such as "90s" or "5m", got ${JSON.stringify(within)}`)
    }
    const seconds = parseDuration(within)
    const ask: Ask = async (request) => {
      if ((await user(request)) === null) return new LoginRequired()
      return isFresh(sessionOf(request), seconds) ? null : new ReauthenticationRequired()
    }
    return { redirectTo, unknown, ask }
  })
}

/**
 * Creates a function that makes a hook, such as `loginRequired`.
 *
 * @param example the expected options, for the error
 * @param read reads the options. `unknown` has those that do not exist
 */
function hookMaker<Options extends object>(
  name: string,
  example: string,
  read: (options: Options) => { redirectTo: string | undefined; unknown: object; ask: Ask }
) {
  const refuse = (): never => {
    throw new TypeError(`${name} is not a hook but makes one: call it, as in preHandler: ${name}()`)
  }
  const maker = (options = {} as Options, ...rest: unknown[]): LoginRequiredHook => {
    // More arguments mean that it was called as a hook. It would return another hook, and the request would get no reply.
    if (rest.length > 0) refuse()
    const { redirectTo, unknown, ask } = read(Object(options))
    if (options !== Object(options) || Object.keys(unknown).length > 0) {
      throw new InvalidOptions(`- ${name}: expected nothing or ${example}`)
    }
    if (redirectTo !== undefined && (safeNext(redirectTo, '') === '' || redirectTo.includes('#'))) {
      throw new InvalidOptions(`- redirectTo: expected a path of this site such as /login/, got ${JSON.stringify(redirectTo)}`)
    }
    return async (request, reply) => {
      const error = await ask(request)
      if (error === null) return
      if (redirectTo === undefined || !isPageView(request)) throw error
      return reply.redirect(withNext(redirectTo, safeNext(request.originalUrl, '/')))
    }
  }
  return Object.assign(maker, { [kRefuse]: refuse })
}

/** Whether a browser asks for a page, so that a redirect to the login page makes sense. */
function isPageView({ method, headers }: FastifyRequest): boolean {
  if (method !== 'GET' && method !== 'HEAD') return false
  return headers['x-requested-with'] !== 'XMLHttpRequest' && (headers.accept ?? '').toLowerCase().includes('text/html')
}
