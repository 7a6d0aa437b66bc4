/** The Fastify plugin: its hooks and decorators. */
import type { FastifyInstance, FastifyReply, FastifyRequest, onSendHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import { lifecycleOf } from '../session/facade.js'
import { Sessions } from '../sessions.js'
import type { SessionOptions } from '../settings/options.js'
import type { ClearExpiredSchedule } from '../settings/schedule.js'
import { warnOfWeakKeys } from '../settings/secret-key.js'
import { resolveSettings } from '../settings/settings.js'
import type { UserSessions } from '../user-sessions/user-sessions.js'
import { Schedule } from './cleanup-schedule.js'
import { kReply } from './late.js'
import { Committer } from './reply.js'
import { kState, RequestSessions, type Stateful } from './request-sessions.js'
import { checkRouteConfig, type RouteSession, refuseUncalled } from './route-config.js'
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
  decorateRequests(fastify, requests, committer)
  addRequestHooks(fastify, requests, committer)
  if (sessions.userSessions !== null) addUserSessionsHook(fastify, requests, sessions.userSessions)
  if (settings.verify) fastify.addHook('onReady', () => sessions.verify())
  if (settings.clearExpired !== undefined) runSchedule(fastify, settings.clearExpired, settings.clock)
}

function decorateRequests(fastify: FastifyInstance, requests: RequestSessions, committer: Committer): void {
  fastify.decorateRequest(kState, null)
  fastify.decorateRequest(kReply, null)
  fastify.decorateRequest('session', {
    getter(this: FastifyRequest) {
      return requests.stateOf(this).session
    },
    setter(this: Stateful, value: unknown) {
      // Another plugin may decorate `session` in its own scope. Fastify then assigns the initial value to each request.
      if (value !== null || this[kReply]) refuseAssignment()
      Object.defineProperty(this, 'session', { value, writable: true, enumerable: true, configurable: true })
    }
  })
  fastify.decorateReply('saveSession', function (this: FastifyReply) {
    const state = requests.dueStateOf(this.request)
    return state === null ? Promise.resolve() : committer.save(this, state)
  })
}

function addRequestHooks(fastify: FastifyInstance, requests: RequestSessions, committer: Committer): void {
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
  fastify.addHook('onError', (request, _reply, error, done) => {
    requests.noteError(request, error)
    done()
  })
}

function addUserSessionsHook(fastify: FastifyInstance, requests: RequestSessions, userSessions: UserSessions): void {
  fastify.addHook('onResponse', (request, _reply, done) => {
    const state = requests.usedStateOf(request)
    if (state !== null) userSessions.replied(state.session)
    done()
  })
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
