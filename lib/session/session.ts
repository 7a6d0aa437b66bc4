/**
 * The session as handlers see it. The interface has the documented members only, so that an editor
 * suggests nothing else. It stays in one file, however long, because it is the reference of the object.
 * The semantics are those of django/contrib/sessions/backends/base.py (Django 5.x).
 */

/**
 * The keys of your sessions and the types of their values, by declaration merging:
 * `declare module 'fastify-django-sessions' { interface SessionData { num_visits: number } }`
 */
export interface SessionData {
  /** Django's id of the user who is logged in, as a string. */
  _auth_user_id?: string
  /** Django's path of the authentication backend. */
  _auth_user_backend?: string
  /** Django's hash of the user's password field. */
  _auth_user_hash?: string
  /** The value that `setExpiry` stored. */
  _session_expiry?: number | string
  /** The time of the first save, in seconds since 1970. The option `timeouts.absolute` counts from it if no login is recorded. */
  _session_began?: number
  /** django-allauth's record of how and when (`at`, seconds since 1970) the user has authenticated. The last entry counts. */
  account_authentication_methods?: { method: string; at: number; reauthenticated?: boolean }[]
}

/** When a session ends. */
export interface SessionEnd {
  /** The end if the session is not used before, nor changed by `setExpiry`. Never later than `absolute`. */
  readonly idle: Date
  /** The end however much the session is used (`timeouts.absolute`). Null without that option, and for a session of unknown age. */
  readonly absolute: Date | null
}

type Name = keyof SessionData | (string & {})
type Value<N> = N extends keyof SessionData ? Exclude<SessionData[N], undefined> : unknown
/** null and undefined are fallbacks beside the declared type. */
type Fallback<N> = Value<N> | null | undefined
type WithFallback<N, D> = N extends keyof SessionData ? Value<N> | Extract<D, null | undefined> : Widened<D>
type Update<N> = N extends keyof SessionData ? (current?: Value<N>) => Value<N> | undefined : never
/** `get('visits', 0)` of an undeclared key is a number, not the literal 0. */
type Widened<D> = D extends string ? string : D extends number ? number : D extends boolean ? boolean : D extends bigint ? bigint : D

/** A callback in the style of Node.js: its argument is the error, or null. */
export type SessionCallback = (error: Error | null) => void

/** A visitor's session: `request.session`. Reads need `load()`, writes do not. */
export interface Session {
  // --- state: never loads ------------------------------------------------------

  /** The key, or null as long as there is none. Before `load()` it is the key that the browser sent, which may be unknown. */
  readonly sessionKey: string | null

  /** Whether the session was read or changed. Then the reply depends on the cookie, and has `Vary: Cookie`. Setting it to false undoes that. */
  accessed: boolean

  /**
   * Whether the reply saves the session. Setting it to true also saves changes inside values, such as
   * the items of an array. Setting it to false leaves the session unsaved.
   */
  modified: boolean

  /** Whether the session is loaded, so that it can be read. */
  readonly isLoaded: boolean

  /** Whether there is neither a key nor data (Django's `is_empty`). */
  readonly isEmpty: boolean

  // --- reads: synchronous, after load() -----------------------------------------

  /**
   * The value of a key. A change inside the value is saved only with `modified = true` or the option `saveNestedChanges`.
   *
   * @throws SessionNotLoaded
   */
  get<N extends Name>(name: N): Value<N> | undefined
  /**
   * The value of a key, or `fallback` if there is none.
   *
   * @throws SessionNotLoaded
   */
  get<N extends Name, D extends Fallback<N>>(name: N, fallback: D): WithFallback<N, D>

  /**
   * Whether the session has a key.
   *
   * @throws SessionNotLoaded
   */
  has(name: Name): boolean

  /**
   * The number of keys.
   *
   * @throws SessionNotLoaded
   */
  readonly size: number

  /**
   * The keys, in their order.
   *
   * @throws SessionNotLoaded
   */
  keys(): string[]

  /**
   * The values, in the order of the keys.
   *
   * @throws SessionNotLoaded
   */
  values(): unknown[]

  /**
   * The keys with their values.
   *
   * @throws SessionNotLoaded
   */
  entries(): [string, unknown][]

  /**
   * Iterates over `entries()`.
   *
   * @throws SessionNotLoaded
   */
  [Symbol.iterator](): Iterator<[string, unknown]>

  /**
   * A deep copy of the data.
   *
   * @throws SessionNotLoaded
   */
  toObject(): Record<string, unknown>

  /** The data for `JSON.stringify` and replies, without keys of logins and those that start with `_`, such as CSRF secrets. `{}` before `load()`. */
  toJSON(): Record<string, unknown>

  /**
   * Whether the browser sent back the cookie of `setTestCookie()`.
   *
   * @throws SessionNotLoaded
   */
  testCookieWorked(): boolean

  /**
   * Seconds from now until the session ends, if it is saved now.
   *
   * @throws SessionNotLoaded
   */
  getExpiryAge(): number

  /**
   * The moment at which the session ends, if it is saved now.
   *
   * @throws SessionNotLoaded
   */
  getExpiryDate(): Date

  /**
   * When the stored session ends, for example for a countdown. Null if none is stored. Reading it does not renew the session.
   *
   * @throws SessionNotLoaded
   */
  readonly endsAt: SessionEnd | null

  /**
   * Whether the cookie ends when the browser closes: by `setExpiry(0)`, or by the option `expireAtBrowserClose`.
   *
   * @throws SessionNotLoaded
   */
  getExpireAtBrowserClose(): boolean

  // --- writes: synchronous, need no load() ---------------------------------------

  /**
   * Stores a value, or the result of a function of the current value. If another request saved
   * in the meantime, the function is called again on its value, so that counters stay exact.
   * `undefined` deletes the key.
   *
   * The next request reads the value as JSON has it: a Date or a URL becomes a string, an object
   * with toJSON() its result, an instance of a class a plain object without its undefined
   * properties, and a bigint within ±(2^53−1) a number. This request reads the value itself, but
   * a function gets its JSON form.
   *
   * @throws TypeError that names the key when JSON cannot carry the value, at any depth: Map, Set,
   * RegExp, Error, binary data, FormData and the like, invalid dates, functions, symbols, promises,
   * undefined in an array, cycles, more than 500 levels of nesting. If the cause is a function that is
   * called again, or a change inside a value, `save()` throws the TypeError, or the reply fails with it.
   */
  set<N extends Name>(name: N, value: Value<N> | Update<N> | undefined): this

  /**
   * Deletes a key. Does nothing if there is no such key.
   *
   * @throws TypeError without a name (`flush()` ends the session)
   */
  delete(name: Name): this

  /**
   * Stores each value of a plain object.
   *
   * @throws TypeError if `data` is not a plain object, or a value cannot be stored
   */
  update(data: { [N in keyof SessionData]?: SessionData[N] } & Record<string, unknown>): this

  /** Deletes all data and keeps the key. */
  clear(): this

  /**
   * Sets the end of the session (`set_expiry` of django/contrib/sessions/backends/base.py).
   *
   * @param value seconds of inactivity from 1 to 34560000 (400 days), counted from the last save;
   * 0 to end when the browser closes; a Date at most 400 days from now (one in the past ends the
   * session with this reply); null to return to the option `cookieAge`
   * @throws TypeError for anything else
   */
  setExpiry(value: number | Date | null): this

  /** Sets a key for `testCookieWorked()` in the next request, which tells whether the browser keeps cookies. */
  setTestCookie(): this

  /** Deletes the key of `setTestCookie()`. */
  deleteTestCookie(): this

  // --- reads that write: synchronous, after load() --------------------------------

  /**
   * Deletes a key and returns its value.
   *
   * @throws SessionNotLoaded
   */
  pop<N extends Name>(name: N): Value<N> | undefined
  /**
   * Deletes a key and returns its value, or `fallback` if there is none.
   *
   * @throws SessionNotLoaded
   */
  pop<N extends Name, D extends Fallback<N>>(name: N, fallback: D): WithFallback<N, D>

  /**
   * Returns the value of a key. If there is none, stores and returns `value`.
   *
   * @throws SessionNotLoaded
   * @throws TypeError if the value cannot be stored
   */
  setDefault<N extends Name, D extends Value<N>>(name: N, value: D): WithFallback<N, D>

  // --- the store: asynchronous, one after another ----------------------------------

  /**
   * Loads the session, once. Without a key it does not query the store. Afterwards reads
   * are synchronous.
   *
   * @throws StoreUnavailable
   * @throws SessionTooLarge
   */
  load(): Promise<this>

  /**
   * Saves the session now instead of with the reply, whether or not it was changed. The reply sets the cookie: one
   * that bypasses Fastify needs `reply.saveSession()`.
   *
   * @throws SessionInterrupted if it was deleted in the meantime
   * @throws StoreUnavailable, StoreRefused, SessionTooLarge
   */
  save(): Promise<void>
  /**
   * The same with a callback, as in @fastify/session.
   *
   * @param callback gets the error, or null
   */
  save(callback: SessionCallback): void

  /**
   * Deletes the session and its data from the store. What is set afterwards goes into a
   * new session with a new key. For logging out.
   *
   * @throws StoreUnavailable
   */
  flush(): Promise<void>

  /**
   * Moves the session and its data to a new key. The old key is no longer valid. For
   * logging in, against session fixation.
   *
   * @throws SessionInterrupted if it was deleted in the meantime
   * @throws StoreUnavailable
   */
  cycleKey(): Promise<void>

  // --- methods that code for @fastify/session, @fastify/secure-session and @fastify/passport calls ---

  /**
   * `flush()`, but the values of some keys are kept in the new session. What is set next is in the new
   * session, also without an await.
   *
   * @param keep names of the keys to keep, which needs `load()`; `Object.keys(session)` keeps all
   * @throws SessionNotLoaded
   */
  regenerate(keep?: readonly string[]): Promise<void>
  /**
   * The same with a callback. Keeps no keys.
   *
   * @param callback gets the error, or null
   */
  regenerate(callback: SessionCallback): void
  /**
   * The same with a callback.
   *
   * @param keep names of the keys to keep, which needs `load()`
   * @param callback gets the error, or null
   * @throws SessionNotLoaded
   */
  regenerate(keep: readonly string[], callback: SessionCallback): void

  /** `flush()` */
  destroy(): Promise<void>
  /**
   * The same with a callback.
   *
   * @param callback gets the error, or null
   */
  destroy(callback: SessionCallback): void

  /**
   * `toObject()`
   *
   * @throws SessionNotLoaded
   */
  data(): Record<string, unknown>

  /**
   * `setExpiry(maxAge)`. The other attributes of the cookie come from the plugin's options.
   *
   * @param options `maxAge` in seconds
   * @throws TypeError
   */
  options(options: { maxAge?: number }): void
}

/** Types for the class that implements the interface. */
export type { Fallback, Name, Update, Value, WithFallback }
