/** The part of a reply in the session's life: one commit before its headers leave, and a warning for changes that come too late. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { ChangedAfterReply, SessionInterrupted } from '../errors.js'
import { lifecycleOf } from '../session/facade.js'
import { Observed } from '../session/observed.js'
import type { Session } from '../session/session.js'
import type { Settings } from '../settings/settings.js'
import { setImmediate } from '../timers.js'
import { alreadyStored, type CookieAction, commit, isDue, unsaved } from './commit.js'
import { discard, type Head, SentHead } from './head.js'
import { varyOnCookie } from './headers.js'
import { cachingWarning, headerOf, keepPrivate, type SetSessionCookie } from './set-cookie.js'

/**
 * The session of a request, from its first use. A class, since V8 soon makes the object of a literal in its old
 * generation. There it would keep alive what a request has, until the whole heap is collected: read requests
 * cost 245 000 instructions so, and 176 000 with a class.
 */
export class RequestState {
  readonly session: Session
  /** Whether the request came with the session cookie, whatever was in it. */
  readonly cookieSent: boolean
  /** Whether the request renews the session. */
  readonly renews: boolean
  /** One commit per reply, though `onSend` may run twice: for an error thrown in it, or a second `send()`. */
  commit: Promise<void> | null = null
  committed = false
  /** A `saveSession()` that failed. */
  failure: { error: Error; saving: Observed<void> } | null = null
  /** A reply waits for the commit. */
  sending = false
  /** The session was changed after its commit. */
  changedLate = false
  /** The commit's change to the cookie. */
  cookieAction: CookieAction = 'none'

  constructor(session: Session, cookieSent: boolean, renews: boolean) {
    this.session = session
    this.cookieSent = cookieSent
    this.renews = renews
  }
}

type SendDone = (error: Error | null, payload?: unknown) => void

export class Committer {
  readonly #settings: Settings
  readonly #setCookie: SetSessionCookie
  readonly #warnOfDiscarded: (request: FastifyRequest, session: Session) => void
  readonly #warnOfCaching = cachingWarning()

  constructor(settings: Settings, setCookie: SetSessionCookie) {
    this.#settings = settings
    this.#setCookie = setCookie
    const isSilent = process.env.NODE_ENV === 'production' || settings.saveNestedChanges
    this.#warnOfDiscarded = isSilent ? () => {} : discardedChangesLog()
  }

  /**
   * The hook `onSend`: calls `done` with the payload, or with the error of the commit. It does so at once when
   * there is nothing to wait for, as for most requests, which only read.
   *
   * @throws FST_ERR_REP_RESPONSE_BODY_CONSUMED
   */
  send(reply: FastifyReply, state: RequestState, payload: unknown, done: SendDone): void {
    if (state.sending && !state.committed) {
      // The first send() is being saved for: two replies would end the process.
      discard(payload)
      warnOfSecondSend(reply)
      return
    }
    const head = new SentHead(reply, payload)
    const pass = () => done(null, head.payload)
    const fail = (error: Error) => {
      // The failure of an un-awaited saveSession() is reported here.
      state.failure = null
      head.discard()
      done(error)
    }
    const forgotten = forgottenFailure(state)
    if (forgotten !== null) {
      fail(forgotten)
    } else if (state.committed) {
      this.#join(reply, state, head)
      pass()
    } else {
      state.sending = true
      const commit = this.#commit(reply, state, head)
      if (commit === null) pass()
      // Sending may throw, as for a header with a character that is not allowed. After a wait Fastify does not catch it.
      else commit.then(pass, fail).catch(done).catch(reportUnsendable(reply))
    }
  }

  /**
   * `reply.saveSession()`
   *
   * @throws SessionInterrupted, StoreUnavailable, SessionTooLarge
   */
  save(reply: FastifyReply, state: RequestState): Promise<void> {
    // The handler goes on with this head.
    const head = { statusCode: reply.statusCode, hold() {}, apply() {} }
    const commit = this.#commit(reply, state, head) ?? Promise.resolve()
    const saving = new Observed<void>((resolve, reject) => commit.then(resolve, reject))
    saving.ignore()
    commit.catch((error) => {
      state.failure = { error, saving }
    })
    return saving
  }

  /** Saves the session, and puts its cookie and Vary into the headers, once per reply. Returns null when there is nothing to wait for. */
  #commit(reply: FastifyReply, state: RequestState, head: Head): Promise<void> | null {
    // Begun by a saveSession() that was not awaited, and not for this head.
    if (state.commit !== null) return state.commit.then(() => this.#join(reply, state, head))
    if (state.committed) return null
    const committed = () => {
      state.committed = true
    }
    state.commit = this.#start(reply, state, head)
    if (state.commit === null) committed()
    else state.commit.then(committed, committed)
    return state.commit
  }

  /** Puts a head into the reply whose session was committed before. */
  #join(reply: FastifyReply, state: RequestState, head: Head): void {
    head.apply()
    this.#protect(reply, state)
  }

  #start(reply: FastifyReply, state: RequestState, head: Head): Promise<void> | null {
    const { session, cookieSent, renews } = state
    const response = { statusCode: head.statusCode, cookieSent, renews }
    const isSynchronous = lifecycleOf(session).isSettled && !this.#settings.saveNestedChanges && !isDue(session, response)
    if (!isSynchronous) return this.#save(reply, state, head)
    try {
      this.#warnOfDiscarded(reply.request, session)
      head.apply()
      this.#finish(reply, state, unsaved(session, response))
      return null
    } catch (error) {
      return Promise.reject(error)
    }
  }

  async #save(reply: FastifyReply, state: RequestState, head: Head): Promise<void> {
    const { session, cookieSent, renews } = state
    const lifecycle = lifecycleOf(session)
    let action: CookieAction = 'none'
    head.hold()
    try {
      await lifecycle.settled()
      this.#warnOfDiscarded(reply.request, session)
      if (this.#settings.saveNestedChanges && head.statusCode < 500) lifecycle.data.recordNestedChanges()
      action = await commit(session, { statusCode: head.statusCode, cookieSent, renews })
      // A change that was made during the last save is left over.
      state.changedLate = action === 'set' && session.modified
      head.apply()
    } catch (error) {
      // The browser may hold the successor of an interrupted session already.
      if (!(error instanceof SessionInterrupted)) action = alreadyStored(session)
      throw error
    } finally {
      this.#finish(reply, state, action)
    }
  }

  #finish(reply: FastifyReply, state: RequestState, action: CookieAction): void {
    if (reply.raw.headersSent) {
      if (action !== 'none') {
        reply.log.warn(
          { route: reply.request.routeOptions.url },
          'The session cookie could not be sent, because the headers had left: await reply.saveSession() before reply.raw.writeHead()'
        )
      }
      return
    }
    state.cookieAction = action
    if (action !== 'none') this.#setCookie(reply, state.session, action)
    this.#protect(reply, state)
  }

  /**
   * Headers that keep the reply from other visitors. After `saveSession()` they may have been replaced:
   * @fastify/http-proxy sets those of the other server.
   */
  #protect(reply: FastifyReply, { session, cookieAction }: RequestState): void {
    if (session.accessed || cookieAction !== 'none') reply.header('vary', varyOnCookie(headerOf(reply, 'vary')))
    if (cookieAction !== 'none' && keepPrivate(reply)) this.#warnOfCaching(reply.request)
  }
}

function warnOfSecondSend({ log, request }: FastifyReply): void {
  log.warn({ route: request.routeOptions.url }, 'reply.send() was called twice: is a return or an await missing? The first reply is sent')
}

function reportUnsendable({ log, raw }: FastifyReply) {
  return (error: Error): void => {
    log.error({ err: error }, 'The reply could not be sent')
    raw.destroy()
  }
}

/** The error of a `saveSession()` that failed before anything waited for it: the reply fails, instead of the process. */
function forgottenFailure({ failure }: RequestState): Error | null {
  return failure === null || failure.saving.observed ? null : failure.error
}

/** In development: a change inside a value that is not saved, once for each route and key. */
function discardedChangesLog() {
  const seen = new Set<string>()
  return (request: FastifyRequest, session: Session): void => {
    for (const name of lifecycleOf(session).data.discardedChanges) {
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

/**
 * Warns of changes that no commit saves, when the response has ended: until then `session.save()` may.
 * Returns the function to call at each change.
 */
export function lateChangeWarning(reply: FastifyReply, state: RequestState): () => void {
  let isWatched = false
  const warn = () => {
    // A client that goes away closes the response while the handler runs, whose reply is committed later.
    const isLost = state.committed ? state.changedLate || forgottenFailure(state) !== null : reply.sent
    if (!isLost || !state.session.modified) return
    const error = new ChangedAfterReply()
    lifecycleOf(state.session).reportTooLate()
    reply.log.warn({ code: error.code, route: reply.request.routeOptions.url }, error.message)
  }
  return () => {
    if (state.committed) state.changedLate = true
    if (isWatched) return
    isWatched = true
    if (reply.raw.writableFinished || reply.raw.closed) setImmediate(warn)
    else reply.raw.once('close', warn)
  }
}
