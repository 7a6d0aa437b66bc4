/**
 * Every error that the package throws, with its code and HTTP status. Match on
 * the class or on `code`, never on the text: no message holds a session key, a
 * secret, session data or SQL.
 */
import { createError } from '@fastify/error'

/** A read before `await session.load()`. */
export const SessionNotLoaded = createError<[string]>(
  'FST_SESSION_NOT_LOADED',
  "Cannot call session.%s before the session is loaded: 'await request.session.load()' first, or load it for every request with the option load: 'eager', or for one route with config: { session: 'eager' }; an onRequest hook that reads it must then be registered after fastify-django-sessions",
  500
)

/** `request.session` on a route with `config: { session: false }`. */
export const SessionDisabled = createError<[string]>(
  'FST_SESSION_DISABLED',
  'The route %s has config: { session: false }, so its requests have no session',
  500
)

/** `getSession(request)` on a route outside the scope in which the plugin was registered. */
export const NotRegistered = createError<[string]>(
  'FST_SESSION_NOT_REGISTERED',
  'The route %s is outside the scope in which fastify-django-sessions was registered: register it in a scope around the route',
  500
)

/** Another request deleted the session, or logged it in or out, while the request ran (Django's `SessionInterrupted`). */
export const SessionInterrupted = createError<[string]>('FST_SESSION_INTERRUPTED', 'The session %s while the request was processed', 400)

/** The reason of a failure of the store and its remedy, for the log. `cause` is the error of the driver or the system. */
class StoreFailure extends Error {
  override name = 'StoreFailure'
  /** The code of the driver or the system. */
  readonly code: string | undefined

  constructor(reason: string, options?: ErrorOptions) {
    super(reason, options)
    this.code = (options?.cause as { code?: string } | undefined)?.code
    // Without frames, because the outer error has the same.
    this.stack = `${this.name}: ${reason}`
  }
}

/**
 * The store failed, is busy, or did not answer in time. Another try may succeed. The message is for
 * visitors and therefore generic. `cause` has the reason and the remedy.
 */
export class StoreUnavailable extends createError<[ErrorOptions]>(
  'FST_SESSION_STORE_UNAVAILABLE',
  'The session store is unavailable',
  503
) {
  /**
   * @param reason the message of `cause`, for the log
   * @param options `cause`: the error of the driver, without keys and data; its `code` becomes that of `cause`
   */
  constructor(reason: string, options?: ErrorOptions) {
    super({ cause: new StoreFailure(reason, options) })
  }
}

/**
 * The store refused an operation, and would refuse it again: a value too long for its column, a
 * missing table, a constraint. Message and `cause` are as in `StoreUnavailable`.
 */
export class StoreRefused extends createError<[ErrorOptions]>('FST_SESSION_STORE_REFUSED', 'The session store refused an operation', 500) {
  /** The parameters are those of `StoreUnavailable`. */
  constructor(reason: string, options?: ErrorOptions) {
    super({ cause: new StoreFailure(reason, options) })
  }
}

/** A session, stored or about to be stored, is larger than the option `maxSize` allows, in bytes of JSON. */
export const SessionTooLarge = createError<[number]>(
  'FST_SESSION_TOO_LARGE',
  'The session is larger than %d bytes of JSON: store less in it, or raise the option maxSize (at most 65536 with the engine signed_cookies)',
  500
)

/** With the engine `signed_cookies`, the session is larger than browsers allow a cookie to be. No cookie was sent. */
export const CookieTooLarge = createError<[number, number]>(
  'FST_SESSION_COOKIE_TOO_LARGE',
  'The session makes a cookie of %d bytes, and browsers drop cookies of more than %d: store less in it, or use another engine',
  500
)

/** The options of `register` are invalid. The message has a line for each problem. */
export const InvalidOptions = createError<[string]>('FST_SESSION_INVALID_OPTIONS', 'fastify-django-sessions: invalid options\n%s', 500)

/** A route's `config.session` is none of false, 'lazy', 'eager' and an object with `load` and `renew`. */
export const InvalidRouteConfig = createError<[string, string]>(
  'FST_SESSION_INVALID_ROUTE_CONFIG',
  "The route %s: expected config.session to be false, 'lazy', 'eager' or an object such as { load: 'eager', renew: false }, got %s",
  500
)

/** The plugin was registered twice in a scope or in one around it, or another plugin has `request.session`. */
export const AlreadyRegistered = createError<[]>(
  'FST_SESSION_ALREADY_REGISTERED',
  'request.session exists in this scope or in one inside it: register fastify-django-sessions once, and no other session plugin before it',
  500
)

/** Logged, not thrown: the session was changed too late to reach the store. */
export const ChangedAfterReply = createError<[string]>(
  'FST_SESSION_CHANGED_AFTER_REPLY',
  'The session was changed after the reply, or for a reply that Fastify does not send: the change is lost. Change it earlier, or await reply.saveSession() before reply.hijack() or reply.raw%s',
  500
)

/** Logged, not thrown: the session was stored under a new key too late to send its cookie. */
export const CookieNotSent = createError<[]>(
  'FST_SESSION_COOKIE_NOT_SENT',
  'The session cookie could not be sent: the session was stored under a new key after the headers, or for a reply that Fastify does not send. The next request of this browser will not have the session. Store it or sign in earlier, or await reply.saveSession() before reply.hijack() or reply.raw',
  500
)

/** Thrown at the start of an application (option `verify`): the table or one of its columns is missing. */
export const TableMismatch = createError<[string]>('FST_SESSION_TABLE_MISMATCH', 'Sessions cannot be stored: %s', 500)

/** A signed text was forged, cut, or signed with another key or salt (Django's `signing.BadSignature`). */
export const BadSignature = createError<[string]>('FST_SESSION_BAD_SIGNATURE', 'Bad signature: %s', 400)

/** A signed text is older than `maxAge` (Django's `signing.SignatureExpired`). */
export const SignatureExpired = createError<[number, number]>(
  'FST_SESSION_SIGNATURE_EXPIRED',
  'The signature is %d seconds old, more than the %d allowed',
  400
)

/** Logged, not thrown: no live session has the key in a request's cookie. If the session was loaded, the reply deletes the cookie. */
export const UnknownKey = createError<[string]>('FST_SESSION_UNKNOWN_KEY', 'The session of a cookie is unknown: %s', 400)

/** A stored session is corrupt or forged (Django's `SuspiciousSession`). This is logged, and the session is empty. */
export const SuspiciousSession = createError<[string]>('FST_SESSION_SUSPICIOUS', 'Session data corrupted: %s', 400)

/** A request without a logged-in user on a route that needs one, if a redirect to the login page makes no sense. */
export const LoginRequired = createError<[]>('FST_SESSION_LOGIN_REQUIRED', 'Authentication is required', 401)

/** The `reason` of a signal of `app.sessions.watch()`. */
export const SessionEnded = createError<[string]>('FST_SESSION_ENDED', 'The session %s', 401)

/** A request on a route that needs a recent authentication (`freshLoginRequired`). */
export const ReauthenticationRequired = createError<[]>(
  'FST_SESSION_REAUTHENTICATION_REQUIRED',
  'Authentication is required again, since the last one is too long ago',
  401
)

/** A login of a user who has as many sessions as `maxSessions` of `createAuth` allows, with `then: 'refuse'`. */
export const TooManySessions = createError<[number]>(
  'FST_SESSION_TOO_MANY_SESSIONS',
  'The user is signed in %d times already: end one of these sessions first',
  403
)

/** A password field that `checkPassword` cannot check: another format, a missing package, or costs out of bounds. */
export const UnsupportedPassword = createError<[string]>('FST_SESSION_UNSUPPORTED_PASSWORD', 'A password field cannot be checked: %s', 500)
