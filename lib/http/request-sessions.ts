/** The session of each request: it is created at its first use. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { readCookie } from '../django/cookie-header.js'
import { SessionDisabled, SessionInterrupted } from '../errors.js'
import { lifecycleOf } from '../session/facade.js'
import type { Sessions } from '../sessions.js'
import type { Settings } from '../settings/settings.js'
import { kReply, LateWatch } from './late.js'
import { RequestState } from './reply.js'
import { checkRouteConfig, renewsOn } from './route-config.js'

export const kState = Symbol('fastify-django-sessions.state')

/** Both may be missing: Fastify's decorators do not reach scopes that were created before the plugin was loaded. */
export type Stateful = FastifyRequest & { [kState]?: RequestState | null; [kReply]?: FastifyReply | null }

export class RequestSessions {
  readonly #sessions: Sessions
  readonly #settings: Settings

  constructor(sessions: Sessions, settings: Settings) {
    this.#sessions = sessions
    this.#settings = settings
  }

  /** Called at the start of each request. Returns its state if the session is to be loaded before the handler, otherwise null. */
  begin(request: FastifyRequest, reply: FastifyReply): RequestState | null {
    const stateful = request as Stateful
    stateful[kReply] = reply
    const state = stateful[kState]
    // A hook of a plugin that was registered earlier may have changed or saved the session.
    if (state && (state.session.modified || state.session.sessionKey !== state.cookieKey)) {
      lifecycleOf(state.session).data.observer?.changed()
    }
    const { config, url } = request.routeOptions
    // Checked here too, because the onRoute hook misses routes that were declared before the plugin was loaded.
    return (checkRouteConfig(config, url) ?? this.#settings.load) === 'eager' ? this.stateOf(request) : null
  }

  /** @throws SessionDisabled */
  stateOf(request: FastifyRequest): RequestState {
    const stateful = request as Stateful
    stateful[kState] ??= this.#open(stateful)
    return stateful[kState]
  }

  /**
   * The state that a reply has to commit, or null if there is nothing to do. A session that was never used is
   * committed in two cases: to renew it (`saveEveryRequest`), and to delete a cookie that cannot be a session key.
   */
  dueStateOf(request: FastifyRequest): RequestState | null {
    const state = (request as Stateful)[kState]
    if (state) return state
    const sent = readCookie(request.headers.cookie, this.#settings.cookie.name)
    if (sent === null) return null
    const { config } = request.routeOptions
    if (this.#sessions.couldBeKey(sent) && !(this.#settings.saveEveryRequest && renewsOn(config))) return null
    return config?.session === false ? null : this.stateOf(request)
  }

  /** The state of a request, null where its session was not used. */
  usedStateOf(request: FastifyRequest): RequestState | null {
    return (request as Stateful)[kState] ?? null
  }

  /** The reply will be that of an error. */
  noteError(request: FastifyRequest, error: Error): void {
    const state = (request as Stateful)[kState]
    if (state && error instanceof SessionInterrupted) state.interruptionIsReported = true
  }

  #open(request: Stateful): RequestState {
    const { config, url } = request.routeOptions
    if (config?.session === false) throw new SessionDisabled(String(url))
    const sent = readCookie(request.headers.cookie, this.#settings.cookie.name)
    const session = this.#sessions.open(sent, request.log, request)
    const isActivity = renewsOn(config)
    const state = new RequestState(session, sent !== null, this.#settings.saveEveryRequest && isActivity)
    const lifecycle = lifecycleOf(session)
    if (!isActivity) lifecycle.keepsEnd = true
    lifecycle.data.observer = new LateWatch(state, request)
    return state
  }
}
