/**
 * Sessions outside requests, as with Django's `SessionStore(session_key=…)` and `Session.objects`.
 * The plugin also creates the session of each request with it.
 */
import { assemble, type Parts } from './assembly.js'
import type { ClearExpiredOptions, ClearExpiredReport, SessionLog } from './contract.js'
import type { SessionModel } from './database/session-model.js'
import { verifyTable, verifyUserSessionsTable } from './database/verification.js'
import { deadlineIn } from './deadline.js'
import { readCookie } from './django/cookie-header.js'
import { saltedHmac } from './django/crypto.js'
import { isSessionKey } from './django/keys.js'
import { InvalidOptions, StoreRefused, StoreUnavailable } from './errors.js'
import { engineName, events } from './events.js'
import { kindOf } from './kind-of.js'
import { lifecycleOf, lifecycleOfArgument, openSession } from './session/facade.js'
import type { SessionContext } from './session/saving.js'
import type { Session } from './session/session.js'
import { ended } from './session/watches.js'
import { checkClearExpired } from './settings/schedule.js'
import type { Settings } from './settings/settings.js'
import { isInTable } from './settings/storage.js'
import { checkWatch, type WatchOptions } from './settings/watch.js'
import { SessionsOfUser } from './user-sessions/sessions-of-user.js'
import type { UserSessions } from './user-sessions/user-sessions.js'

/** How long `verify()` may delay the start of an application, in seconds. */
const VERIFY_TIMEOUT = 1

/** The `Sessions` by the context that their sessions share. */
const owners = new WeakMap<SessionContext, Sessions>()

/** Sessions outside requests: `fastify.sessions`. */
export class Sessions {
  readonly #parts: Parts

  private constructor(parts: Parts) {
    this.#parts = parts
    owners.set(parts.context, this)
  }

  /** @throws InvalidOptions */
  static async create(settings: Settings, log: SessionLog): Promise<Sessions> {
    return new Sessions(await assemble(settings, log))
  }

  /** The `app.sessions` that a session comes from. */
  static of(session: Session): Sessions {
    return owners.get(lifecycleOf(session).context) as Sessions
  }

  /**
   * Checks with one query that the engine's table and its columns exist. Only logs a warning if the
   * database does not answer within a second, because an application may start before its database.
   * Does nothing for engines without a table.
   *
   * @throws TableMismatch
   */
  async verify(): Promise<void> {
    const { settings, context, connections, userSessions } = this.#parts
    if (connections === null || !isInTable(settings.engine)) return
    try {
      const deadline = deadlineIn(VERIFY_TIMEOUT)
      await Promise.all([
        verifyTable(connections, settings.tableName, deadline),
        userSessions === null ? null : verifyUserSessionsTable(connections, deadline)
      ])
    } catch (error) {
      if (!(error instanceof StoreUnavailable || error instanceof StoreRefused)) throw error
      context.log.warn({ err: error }, 'The table of sessions was not verified: the application starts without its database')
    }
  }

  /**
   * Reads the table `django_session`: `find(key)`, and `query()` for a Knex query builder.
   *
   * @throws InvalidOptions without a database
   */
  get model(): SessionModel {
    const { model } = this.#parts
    if (model === null) throw new InvalidOptions('- knex: expected for sessions.model, got nothing')
    return model
  }

  /** @internal For the plugin and `createAuth`. Null without the option `userSessions`. */
  get userSessions(): UserSessions | null {
    return this.#parts.userSessions
  }

  /** The option `cookie.name`. */
  get cookieName(): string {
    return this.#parts.settings.cookie.name
  }

  /** The age of a session without an expiry of its own, in seconds of inactivity: `timeouts.idle`, or the option `cookieAge`. */
  get cookieAge(): number {
    return this.#parts.settings.cookieAge
  }

  /** The current time by the option `clock`. */
  now(): Date {
    return this.#parts.settings.clock()
  }

  /**
   * Opens the session of a key, or a new session without one. Call `load()` to read it, and
   * `save()` to save it.
   *
   * @param request is in the events about the session
   */
  open(sessionKey: string | null = null, log?: SessionLog, request?: object): Session {
    return openSession(this.#parts.context, sessionKey, log, request)
  }

  /** Whether the value of a cookie can be a session key. */
  couldBeKey(text: string): boolean {
    return isSessionKey(text, this.#parts.context.engine.keyIsData)
  }

  /**
   * Opens the session of a browser by its header `Cookie`, for websockets and other uses outside Fastify requests.
   *
   * @throws TypeError when the header is neither a string nor undefined
   */
  forCookie(header: string | undefined): Session {
    if (header !== undefined && typeof header !== 'string') {
      throw new TypeError(`forCookie: expected the header Cookie as a string, or undefined, got ${kindOf(header)}`)
    }
    return this.open(readCookie(header, this.cookieName))
  }

  /**
   * The sessions of a user: for administrators, and where an account is closed. With the option `userSessions`.
   *
   * @param userId the primary key
   * @throws InvalidOptions without the option
   * @throws TypeError when the id is not one of a user
   */
  ofUser(userId: string | number | bigint): SessionsOfUser {
    if (this.userSessions === null) throw new InvalidOptions('- userSessions: expected true or an object, for sessions.ofUser, got nothing')
    return new SessionsOfUser(this.userSessions, userId)
  }

  /**
   * The HMAC-SHA256 of a text with the secret key, then with each fallback
   * (django.utils.crypto.salted_hmac). For callers that must not have the key itself.
   *
   * @param keySalt the namespace of the signature
   */
  saltedHmacs(keySalt: string, text: string): [Buffer, ...Buffer[]] {
    const { secretKey, secretKeyFallbacks } = this.#parts.settings
    const hmac = (secret: string) => saltedHmac(keySalt, text, secret)
    return [hmac(secretKey), ...secretKeyFallbacks.map(hmac)]
  }

  /**
   * Removes expired sessions from the store in small batches (`manage.py clearsessions`).
   *
   * @throws InvalidOptions, StoreUnavailable
   */
  async clearExpired(options: ClearExpiredOptions = {}): Promise<ClearExpiredReport> {
    checkClearExpired(options)
    const report = await this.#parts.context.engine.clearExpired(options)
    if (events.cleaned.hasSubscribers) events.cleaned.publish({ engine: engineName(this.#parts.settings.engine), ...report })
    return report
  }

  /**
   * Returns a signal that is aborted when a session ends, gets another key or another user: at once if this process does
   * so, otherwise within `every` seconds. For what outlives its request, such as a websocket. All watched sessions are
   * checked together, without renewing them. If the store fails, the check is repeated later, and nothing is aborted.
   * When the application closes it is aborted too, with an AbortError as the `reason`.
   *
   * @param session a loaded session, with a login that is stored
   * @throws TypeError before `load()`
   * @throws InvalidOptions, also with the engine `signed_cookies`, where nothing can end a session
   */
  watch(session: Session, options: WatchOptions = {}): AbortSignal {
    checkWatch(options)
    const { engine, watches } = this.#parts.context
    const { key, data } = lifecycleOfArgument('watch', session)
    if (engine.keyIsData) throw new InvalidOptions('- engine: expected one that stores sessions for watch(), got signed_cookies')
    if (data.members === null) throw new TypeError('watch(session): expected a session that is loaded: await session.load() first')
    if (key === null) return AbortSignal.abort(ended())
    return watches.add(key, data.members, options.every ?? 30, options.signal)
  }

  /** @internal Aborts the signals of `watch()`, so that what waits for them lets the application close. */
  async closeWatches(): Promise<void> {
    await this.#parts.context.watches.close()
  }

  /** Ends the database connections that are ours, after what is still to be written. */
  async close(): Promise<void> {
    await this.closeWatches()
    await this.userSessions?.close()
    await this.#parts.close()
  }
}
