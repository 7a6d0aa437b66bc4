/** The Fastify plugin: its hooks and decorators. */
import type { FastifyInstance, FastifyReply, FastifyRequest, onSendHookHandler, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import { readCookie } from '../django/cookie-header.js'
import { NotRegistered, SessionDisabled, SessionInterrupted } from '../errors.js'
import { lifecycleOf } from '../session/facade.js'
import type { Session } from '../session/session.js'
import { Sessions } from '../sessions.js'
import type { SessionOptions } from '../settings/options.js'
import type { ClearExpiredSchedule } from '../settings/schedule.js'
import { warnOfWeakKeys } from '../settings/secret-key.js'
import { resolveSettings, type Settings } from '../settings/settings.js'
import { Schedule } from './cleanup-schedule.js'
import { kReply, LateWatch } from './late.js'
import { Committer, RequestState } from './reply.js'
import { checkRouteConfig, type RouteSession, renewsOn } from './route-config.js'
import { claimScope } from './scopes.js'
import { cookieSerializer, cookieSetter } from './set-cookie.js'

declare module 'fastify' {
  interface FastifyInstance {
    /** Sessions outside requests, and the table. */
    sessions: Sessions
  }
  interface FastifyReply {
    /**
     * Saves the session now and puts its cookie and `Vary` into the reply's headers: for
     * replies that Fastify does not send itself, before `reply.hijack()` or `reply.raw`.
     *
     * @throws SessionInterrupted, StoreUnavailable, SessionTooLarge
     */
    saveSession(): Promise<void>
  }
  interface FastifyContextConfig {
    session?: RouteSession
  }
}

/** A method of functions that return a hook. It throws when a route uses the function itself as a hook, without calling it. */
export const kRefuse = Symbol('fastify-django-sessions.refuse')

const kState = Symbol('fastify-django-sessions.state')
/** Both may be missing: Fastify's decorators do not reach scopes that were created before the plugin was loaded. */
type Stateful = FastifyRequest & { [kState]?: RequestState | null; [kReply]?: FastifyReply | null }

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

async function plugin(fastify: FastifyInstance, options: SessionOptions): Promise<void> {
  const settings = resolveSettings(withoutRegisterOptions(options))
  claimScope(fastify, settings)
  warnOfWeakKeys(settings, fastify.log)
  const sessions = await Sessions.create(settings, fastify.log)
  fastify.addHook('preClose', () => sessions.closeWatches())
  fastify.addHook('onClose', () => sessions.close())
  const requests = new RequestSessions(sessions, settings)
  const committer = new Committer(settings, cookieSetter(settings, await cookieSerializer(fastify)))

  fastify.decorate('sessions', sessions)
  fastify.decorateRequest(kState, null)
  fastify.decorateRequest(kReply, null)
  fastify.decorateRequest('session', {
    getter(this: FastifyRequest) {
      return requests.stateOf(this).session
    },
    setter(this: FastifyRequest, value: unknown) {
      // Another plugin may decorate `session` in its own scope. Fastify then assigns the initial value to each request.
      if (value !== null || (this as Stateful)[kReply]) refuseAssignment()
      Object.defineProperty(this, 'session', { value, writable: true, enumerable: true, configurable: true })
    }
  })
  fastify.decorateReply('saveSession', function (this: FastifyReply) {
    const state = requests.dueStateOf(this.request)
    return state === null ? Promise.resolve() : committer.save(this, state)
  })

  const protect: onSendHookHandler = (request, reply, payload, done) => {
    const state = requests.usedStateOf(request)
    if (state !== null) committer.protect(reply, state)
    done(null, payload)
  }
  fastify.addHook('onRoute', (route) => {
    checkRouteConfig(route.config, route.url)
    refuseUncalled(route)
    // The hooks of a route run after those of all plugins.
    route.onSend = [route.onSend ?? [], protect].flat()
  })
  fastify.addHook('onRequest', (request, reply, done) => {
    const state = requests.begin(request, reply)
    if (state === null) return done()
    lifecycleOf(state.session)
      .load(null)
      .then(() => done(), done)
  })
  fastify.addHook('onSend', (request, reply, payload, done) => {
    const state = requests.dueStateOf(request)
    if (state === null) done(null, payload)
    else committer.send(reply, state, payload, done)
  })
  const { userSessions } = sessions
  if (userSessions !== null) {
    fastify.addHook('onResponse', (request, _reply, done) => {
      const state = requests.usedStateOf(request)
      if (state !== null) userSessions.replied(state.session)
      done()
    })
  }
  fastify.addHook('onError', (request, _reply, error, done) => {
    requests.noteError(request, error)
    done()
  })
  if (settings.verify) fastify.addHook('onReady', () => sessions.verify())
  if (settings.clearExpired !== undefined) runSchedule(fastify, settings.clearExpired, settings.clock)
}

/** Creates the session of each request at its first use. */
class RequestSessions {
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

/** Refuses `preHandler: loginRequired`, where `preHandler: loginRequired()` is meant. */
function refuseUncalled(route: RouteOptions): void {
  for (const hook of Object.values(route).flat()) (hook as { [kRefuse]?: () => never } | undefined)?.[kRefuse]?.()
}

function refuseAssignment(): never {
  throw new TypeError(
    'request.session cannot be assigned: sign out with await request.session.flush(), store data with request.session.set(name, value)'
  )
}

function runSchedule(fastify: FastifyInstance, schedule: ClearExpiredSchedule, clock: () => Date): void {
  const runs = new Schedule({ schedule, clear: (options) => fastify.sessions.clearExpired(options), log: fastify.log, clock })
  fastify.addHook('onReady', async () => runs.start())
  // Before the application's onClose hooks, which may close the database's connections.
  fastify.addHook('preClose', () => runs.stop())
}

/** Removes Fastify's own options of `register`, which it passes on to the plugin. */
function withoutRegisterOptions(options: SessionOptions): SessionOptions {
  const { prefix, logLevel, logSerializers, ...own } = options as SessionOptions & Record<string, unknown>
  return own as SessionOptions
}

/** Register it once: `await app.register(sessions, { secretKey, knex })`. */
export default fp(plugin, { fastify: '5.x', name: 'fastify-django-sessions' })
