/** Commits the session of a reply, once, before its headers are sent. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { SessionInterrupted } from '../errors.js'
import { lifecycleOf } from '../session/facade.js'
import { Observed } from '../session/observed.js'
import type { Session } from '../session/session.js'
import type { Settings } from '../settings/settings.js'
import { alreadyStored, type CookieAction, commit, isDue, unsaved } from './commit.js'
import { discard, type Head, SentHead } from './head.js'
import { varyOnCookie } from './headers.js'
import { cachingWarning, headerOf, keepPrivate, type SetSessionCookie, withdrawCookie } from './set-cookie.js'

/**
 * The session of a request, and the progress of its commit. It is a class because V8 soon allocates an object
 * literal in the old generation, where it keeps the objects of its request alive until the next full garbage
 * collection. A read request costs 245 000 instructions with a literal, and 176 000 with a class.
 */
export class RequestState {
  readonly session: Session
  /** Whether the request came with the session cookie, whatever was in it. */
  readonly cookieSent: boolean
  /** Whether the request renews the session. */
  readonly renews: boolean
  /** The commit, once it was started. There is one per reply, though `onSend` runs again for an error thrown in it or a second `send()`. */
  commit: Promise<void> | null = null
  committed = false
  /** A `saveSession()` that failed. */
  failure: { error: Error; saving: Observed<void> } | null = null
  /** Whether a reply waits for the commit. */
  sending = false
  /** Whether the session was changed, or an operation of the store was called, after the commit. */
  changedLate = false
  /** The reply says already that the session was interrupted, as a save that the handler awaited has found out. */
  interruptionIsReported = false
  /** The session key in the browser's cookie, as far as the reply says. */
  cookieKey: string | null
  /** The line Set-Cookie of the session in the reply. */
  cookieLine: string | null = null

  constructor(session: Session, cookieSent: boolean, renews: boolean) {
    this.session = session
    this.cookieSent = cookieSent
    this.renews = renews
    this.cookieKey = session.sessionKey
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
   * The hook `onSend`: calls `done` with the payload, or with the error of the commit. Most requests only read,
   * so that there is nothing to wait for: then it calls `done` synchronously.
   *
   * @throws FST_ERR_REP_RESPONSE_BODY_CONSUMED
   */
  send(reply: FastifyReply, state: RequestState, payload: unknown, done: SendDone): void {
    if (state.sending && !state.committed) {
      // The first reply still waits for its commit. A second one would crash the process.
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
      // `done` sends, and throws if a header has an invalid character. Fastify does not catch that after an asynchronous hook.
      else commit.then(pass, fail).catch((error) => failSend(reply, done, error))
    }
  }

  /**
   * `reply.saveSession()`
   *
   * @throws SessionInterrupted, StoreUnavailable, SessionTooLarge
   */
  save(reply: FastifyReply, state: RequestState): Promise<void> {
    // The handler continues with the reply's present head.
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
    // A saveSession() that was not awaited has started the commit, without this head.
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

  /** Applies a head to a reply whose session is already committed. */
  #join(reply: FastifyReply, state: RequestState, head: Head): void {
    head.apply()
    this.protect(reply, state)
  }

  #start(reply: FastifyReply, state: RequestState, head: Head): Promise<void> | null {
    const { session, cookieSent, renews } = state
    const response = { statusCode: head.statusCode, cookieSent, renews }
    const isSynchronous = lifecycleOf(session).queue.isSettled && !this.#settings.saveNestedChanges && !isDue(session, response)
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
      if (!lifecycle.queue.isSettled) await lifecycle.settled()
      this.#warnOfDiscarded(reply.request, session)
      if (this.#settings.saveNestedChanges && head.statusCode < 500) lifecycle.data.recordNestedChanges()
      action = await commit(session, { statusCode: head.statusCode, cookieSent, renews })
      // A change during the last save was not saved.
      state.changedLate = action === 'set' && session.modified
      head.apply()
    } catch (error) {
      // After an interruption the browser may already have the cookie of a newer session.
      if (!(error instanceof SessionInterrupted)) action = alreadyStored(session)
      else {
        state.cookieKey = session.sessionKey
        if (state.interruptionIsReported) return head.apply()
      }
      throw error
    } finally {
      this.#finish(reply, state, action)
    }
  }

  #finish(reply: FastifyReply, state: RequestState, action: CookieAction): void {
    if (reply.raw.headersSent) return
    if (action !== 'none') this.#writeCookie(reply, state, action)
    this.protect(reply, state)
  }

  #writeCookie(reply: FastifyReply, state: RequestState, action: Exclude<CookieAction, 'none'>): void {
    state.cookieLine = this.#setCookie(reply, state.session, action)
    state.cookieKey = action === 'set' ? state.session.sessionKey : null
  }

  /** Replaces the cookie if the session has got another key, or has ended, since the commit. */
  #updateCookie(reply: FastifyReply, state: RequestState): void {
    const { sessionKey } = state.session
    if (sessionKey === state.cookieKey || reply.raw.headersSent) return
    if (state.cookieLine !== null) withdrawCookie(reply, state.cookieLine)
    this.#writeCookie(reply, state, sessionKey === null ? 'delete' : 'set')
  }

  /**
   * Sets the headers that keep caches from giving the reply to other visitors. Called again in `onSend`, because
   * they may be replaced after `saveSession()`: @fastify/http-proxy sets those of the other server. And once more after
   * the `onSend` hooks of plugins that were registered later. These may also save the session or give it a new key.
   */
  protect(reply: FastifyReply, state: RequestState): void {
    if (state.changedLate) this.#updateCookie(reply, state)
    const { session, cookieLine } = state
    const vary = headerOf(reply, 'vary')
    if (vary !== 'Cookie' && (session.accessed || cookieLine !== null)) reply.header('vary', varyOnCookie(vary))
    if (cookieLine !== null && keepPrivate(reply)) this.#warnOfCaching(reply.request)
  }
}

function warnOfSecondSend({ log, request }: FastifyReply): void {
  log.warn({ route: request.routeOptions.url }, 'reply.send() was called twice: is a return or an await missing? The first reply is sent')
}

/** Sends the error of a reply that could not be sent. Ends the connection if that fails too. */
function failSend({ log, raw }: FastifyReply, done: SendDone, error: Error): void {
  try {
    done(error)
  } catch (unsendable) {
    log.error({ err: unsendable }, 'The reply could not be sent')
    raw.destroy()
  }
}

/** The error of a `saveSession()` that failed and was not awaited. It fails the reply instead of crashing the process. */
export function forgottenFailure({ failure }: RequestState): Error | null {
  return failure === null || failure.saving.observed ? null : failure.error
}

/** In development, warns of changes inside values that are not saved, once for each route and key. */
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
