/** The Fastify plugin: hooks, the cookie in and out, and nothing else. The only module, with `auth`, that knows Fastify. */
import fastifyCookie from '@fastify/cookie'
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import { alreadyStored, type CookieAction, commit, isDue, unsaved } from './commit.js'
import { isCookieValue, readCookie, varyOnCookie } from './cookies.js'
import { AlreadyRegistered, ChangedAfterReply, SessionDisabled, SessionInterrupted } from './errors.js'
import { type ClearExpiredSchedule, Schedule } from './schedule.js'
import type { Session } from './session.js'
import { Sessions } from './sessions.js'
import { resolveSettings, type SessionOptions, type Settings } from './settings.js'
import { setImmediate } from './timers.js'

declare module 'fastify' {
  interface FastifyInstance {
    /** Sessions outside requests, and the table. */
    sessions: Sessions
  }
  interface FastifyReply {
    /**
     * Saves the session now and puts its cookie and `Vary` into the reply's headers: for
     * replies that Fastify does not send itself, before `reply.hijack()` or `reply.raw`.
     */
    saveSession(): Promise<void>
  }
  interface FastifyContextConfig {
    /** false: no session on this route. 'lazy' or 'eager': instead of the option `load`. */
    session?: false | 'lazy' | 'eager'
  }
}

/** What a request holds on to, from the first use of its session. */
interface RequestState {
  readonly session: Session
  readonly cookieSent: boolean
  /** One commit per reply, though `onSend` may run twice: for an error thrown in it, or a second `send()`. */
  commit: Promise<void> | null
  committed: boolean
  /** A reply waits for the commit. */
  sending: boolean
}

const kState = Symbol('fastify-django-sessions.state')
type Stateful<T> = T & { [kState]: RequestState | null }

/** The session of a request, for applications in which another plugin types `request.session`. */
export function getSession(request: FastifyRequest): Session {
  return (request as FastifyRequest & { session: Session }).session
}

async function plugin(fastify: FastifyInstance, options: SessionOptions): Promise<void> {
  const settings = resolveSettings(withoutRegisterOptions(options))
  if (fastify.hasRequestDecorator('session')) throw new AlreadyRegistered()
  // Its writer only: the cookies of requests that use no session are not parsed.
  if (!fastify.hasReplyDecorator('setCookie')) await fastify.register(fastifyCookie, { hook: false })
  const sessions = await Sessions.create(settings, fastify.log)
  const commitSession = committer(settings)

  fastify.decorate('sessions', sessions)
  fastify.decorateRequest(kState, null)
  fastify.decorateRequest('session', {
    getter(this: FastifyRequest) {
      return stateOf(this).session
    }
  })
  fastify.decorateReply('saveSession', function (this: FastifyReply) {
    const state = (this.request as Stateful<FastifyRequest>)[kState]
    return (state && commitOnce(this, state)) ?? Promise.resolve()
  })

  if (settings.load === 'eager') {
    fastify.addHook('onRequest', async (request) => {
      const mode = request.routeOptions.config?.session
      if (mode === undefined || mode === 'eager') await stateOf(request).session.preload()
    })
  } else {
    fastify.addHook('onRoute', loadEagerly)
  }
  fastify.addHook('onSend', (request, reply, payload, done) => {
    const state = (request as Stateful<FastifyRequest>)[kState] ?? (isDueUntouched(request) ? stateOf(request) : null)
    if (state === null || state.committed) return done(null, payload)
    if (state.sending) {
      destroyStream(payload)
      // A second send() while the first one is being saved for: two replies would end the process.
      return request.log.warn(
        { route: request.routeOptions.url },
        'reply.send() was called twice: is a return or an await missing? The first reply is sent'
      )
    }
    state.sending = true
    const committing = commitOnce(reply, state)
    if (committing === null) return done(null, payload)
    const restore = keepReply(reply)
    committing.then(
      () => {
        restore()
        done(null, payload)
      },
      (error) => {
        destroyStream(payload)
        done(error)
      }
    )
  })
  if (settings.clearExpired !== undefined) runSchedule(fastify, settings.clearExpired, settings.clock)
  fastify.addHook('onClose', () => sessions.close())

  function stateOf(request: FastifyRequest): RequestState {
    const stateful = request as Stateful<FastifyRequest>
    stateful[kState] ??= open(request)
    return stateful[kState]
  }

  function open(request: FastifyRequest): RequestState {
    const { config, url } = request.routeOptions
    if (config?.session === false) throw new SessionDisabled(String(url))
    const sent = readCookie(request.headers.cookie, settings.cookie.name)
    return { session: sessions.open(sent, request.log), cookieSent: sent !== null, commit: null, committed: false, sending: false }
  }

  /** Two things are done for a session that nobody asked for: renewing it by option, and deleting a cookie that can be none. */
  function isDueUntouched(request: FastifyRequest): boolean {
    const sent = readCookie(request.headers.cookie, settings.cookie.name)
    if (sent === null || (sessions.couldBeKey(sent) && !settings.saveEveryRequest)) return false
    return request.routeOptions.config?.session !== false
  }

  /** Null when there was nothing to wait for. */
  function commitOnce(reply: FastifyReply, state: RequestState): Promise<void> | null {
    if (state.commit === null && !state.committed) {
      const committed = () => {
        state.committed = true
      }
      state.commit = commitSession(reply, state)
      if (state.commit === null) committed()
      // Where nobody awaits saveSession(), the reply that follows fails instead.
      else state.commit.then(committed, committed)
    }
    return state.commit
  }
}

function runSchedule(fastify: FastifyInstance, schedule: ClearExpiredSchedule, clock: () => Date): void {
  const runs = new Schedule({ schedule, clear: (options) => fastify.sessions.clearExpired(options), log: fastify.log, clock })
  fastify.addHook('onReady', async () => runs.start())
  // Before anybody's onClose, which may end the database's connections.
  fastify.addHook('preClose', () => runs.stop())
}

/** Saves a session for a reply and puts its cookie and Vary into the headers. */
function committer(settings: Settings) {
  const setCookie = cookieSetter(settings)
  const warnOfDiscarded = process.env.NODE_ENV === 'production' || settings.saveNestedChanges ? () => {} : discardedChangesLog()

  /** Most requests only read: they are done at once, and null is returned. */
  return (reply: FastifyReply, state: RequestState): Promise<void> | null => {
    const { session } = state
    const response = toResponse(reply, state)
    if (!session.isSettled || settings.saveNestedChanges || isDue(session, response, settings)) return save(reply, state)
    try {
      warnOfDiscarded(reply.request, session)
      finish(reply, session, unsaved(session, response), false)
      return null
    } catch (error) {
      return Promise.reject(error)
    }
  }

  async function save(reply: FastifyReply, state: RequestState): Promise<void> {
    const { session } = state
    const response = toResponse(reply, state)
    let action: CookieAction = 'none'
    let wasSaved = false
    try {
      if (!session.isSettled) await session.settled()
      warnOfDiscarded(reply.request, session)
      if (settings.saveNestedChanges && response.statusCode < 500) session.recordNestedChanges()
      action = await commit(session, response, settings)
      wasSaved = action === 'set'
    } catch (error) {
      // The browser may hold the successor of an interrupted session already.
      if (!(error instanceof SessionInterrupted)) action = alreadyStored(session)
      throw error
    } finally {
      finish(reply, session, action, wasSaved)
    }
  }

  function finish(reply: FastifyReply, session: Session, action: CookieAction, wasSaved: boolean): void {
    if (action !== 'none') setCookie(reply, session, action)
    if (session.accessed || action !== 'none') reply.header('vary', varyOnCookie(vary(reply)))
    session.seal(lateChangeLog(reply, session), wasSaved)
  }
}

const toResponse = ({ statusCode }: FastifyReply, { cookieSent }: RequestState) => ({ statusCode, cookieSent })

/** Writes the header Set-Cookie as Django's `HttpResponse.set_cookie` and `delete_cookie` do. */
function cookieSetter({ cookie: { name, ...cookie } }: Settings) {
  let warned = false
  let made: { secure: boolean; maxAge: number | undefined; second: number | undefined; attributes: string } | undefined

  /** Most cookies differ from the one before in nothing but the key. */
  const attributesOf = ({ server }: FastifyRequest, secure: boolean, { maxAge, expires }: Lifetime): string => {
    const second = expires && Math.trunc(expires.getTime() / 1000)
    if (made?.secure !== secure || made.maxAge !== maxAge || made.second !== second) {
      const text = server.serializeCookie(name, '', { ...cookie, secure, ...(expires && { maxAge, expires }) })
      made = { secure, maxAge, second, attributes: text.slice(`${name}=`.length) }
    }
    return made.attributes
  }

  return (reply: FastifyReply, session: Session, action: CookieAction): void => {
    const { request } = reply
    const isHttps = request.protocol === 'https'
    if (cookie.secure === true && !isHttps && !warned) {
      warned = true
      request.log.warn(
        'The session cookie is secure, but the request came over http, so that browsers drop it. Behind a proxy that ends TLS set the option trustProxy of Fastify'
      )
    }
    const secure = cookie.secure === 'auto' ? isHttps : cookie.secure
    const [value, lifetime] = action === 'delete' || session.hasEnded ? ['', DELETED] : [session.sessionKey as string, lifetimeOf(session)]
    if (!isCookieValue(value)) throw new TypeError('Expected the engine to make a session key that a cookie can carry, got another text')
    reply.header('set-cookie', `${name}=${value}${attributesOf(request, secure, lifetime)}`)
  }
}

interface Lifetime {
  /** Seconds. */
  maxAge?: number
  expires?: Date
}

const DELETED: Lifetime = { maxAge: 0, expires: new Date(0) }

function lifetimeOf(session: Session): Lifetime {
  if (session.getExpireAtBrowserClose()) return {}
  return { maxAge: Math.trunc(session.getExpiryAge()), expires: session.getExpiryDate() }
}

/** In development: a change inside a value that is not saved, once for each route and key. */
function discardedChangesLog() {
  const seen = new Set<string>()
  return (request: FastifyRequest, session: Session): void => {
    for (const name of session.discardedChanges) {
      const place = `${request.routeOptions.url} ${name}`
      if (seen.has(place)) continue
      seen.add(place)
      request.log.warn(
        { route: request.routeOptions.url, name },
        'A change inside a value of the session is not saved: set() the value again, or set session.modified = true, or use the option saveNestedChanges'
      )
    }
  }
}

/** A change after the commit is lost, unless its author saves it: known when the reply has ended. */
function lateChangeLog(reply: FastifyReply, session: Session): () => void {
  let reported = false
  const report = () => {
    if (!session.modified) return
    const error = new ChangedAfterReply()
    reply.log.warn({ code: error.code, route: reply.request.routeOptions.url }, error.message)
  }
  return () => {
    if (reported) return
    reported = true
    if (reply.raw.writableFinished) setImmediate(report)
    else reply.raw.once('close', report)
  }
}

/** What a second send() meanwhile, also that of an error or a timeout, changes of the first one, to be put back. */
function keepReply(reply: FastifyReply): () => void {
  const { statusCode } = reply
  const type = reply.getHeader('content-type')
  const length = reply.getHeader('content-length')
  const restore = (name: string, value: ReturnType<FastifyReply['getHeader']>) =>
    value === undefined ? reply.removeHeader(name) : reply.header(name, value)
  return () => {
    reply.code(statusCode)
    restore('content-type', type)
    restore('content-length', length)
  }
}

/** Nobody else ends a stream that is not sent. */
function destroyStream(payload: unknown): void {
  const { on, destroy } = (payload ?? {}) as { on?: unknown; destroy?: unknown }
  if (typeof on !== 'function' || typeof destroy !== 'function') return
  const stream = payload as NodeJS.ReadableStream & { destroy(): void }
  stream.on('error', () => {})
  stream.destroy()
}

function vary(reply: FastifyReply): string | undefined {
  const header = reply.getHeader('vary')
  return Array.isArray(header) ? header.join(', ') : header?.toString()
}

async function preload(this: FastifyInstance, request: FastifyRequest): Promise<void> {
  await getSession(request).preload()
}

function loadEagerly(route: RouteOptions): void {
  if (route.config?.session === 'eager') route.onRequest = [preload, ...[route.onRequest ?? []].flat()]
}

/** Fastify's own options of `register` come along with the plugin's. */
function withoutRegisterOptions(options: SessionOptions): SessionOptions {
  const { prefix, logLevel, logSerializers, ...own } = options as SessionOptions & Record<string, unknown>
  return own as SessionOptions
}

/** Register it once: `await app.register(sessions, { secretKey, knex })`. */
export default fp(plugin, { fastify: '5.x', name: 'fastify-django-sessions' })
