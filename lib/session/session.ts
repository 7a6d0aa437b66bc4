/**
 * The session as handlers use it: documented members only, so that an editor completes nothing else.
 * One file, however long: it is the reference of the object, and its types are of no use elsewhere.
 * The semantics are those of django/contrib/sessions/backends/base.py (Django 5.x).
 */

/**
 * The keys of your sessions and the types of their values, by declaration merging:
 * `declare module 'fastify-django-sessions' { interface SessionData { num_visits: number } }`
 */
export interface SessionData {
  /** Django's id of the user who is signed in, as a string. */
  _auth_user_id?: string
  /** Django's path of the authentication backend. */
  _auth_user_backend?: string
  /** Django's hash of the user's password field. */
  _auth_user_hash?: string
  /** The value that `setExpiry` stored. */
  _session_expiry?: number | string
  /** Seconds since 1970: the first save, from which the option `timeouts.absolute` counts where no login is recorded. */
  _session_began?: number
  /** django-allauth's record of how and when (`at`, seconds since 1970) the user has authenticated. The last entry counts. */
  account_authentication_methods?: { method: string; at: number }[]
}

/** When a session ends. */
export interface SessionEnd {
  /** Unless it is used before, or changed by `setExpiry`. Never later than `absolute`. */
  readonly idle: Date
  /** However much it is used (`timeouts.absolute`). Null without that option, and for a session of unknown age. */
  readonly absolute: Date | null
}

type Name = keyof SessionData | (string & {})
type Value<N> = N extends keyof SessionData ? Exclude<SessionData[N], undefined> : unknown
type Update<N> = N extends keyof SessionData ? (current?: Value<N>) => Value<N> | undefined : never
/** `get('visits', 0)` of an undeclared key is a number, not the literal 0. */
type Widened<D> = D extends string ? string : D extends number ? number : D extends boolean ? boolean : D extends bigint ? bigint : D

/** A callback in the style of Node.js: its argument is the error, or null. */
export type SessionCallback = (error: Error | null) => void

/** A visitor's session: `request.session`. Reads need `load()`, writes do not. */
export interface Session {
  // --- state: never loads ------------------------------------------------------

  /** The key, null until there is one. Before `load()` it is the one that the browser sent. */
  readonly sessionKey: string | null

  /** Whether the session was read or changed, so that the reply depends on the cookie. False makes the reply independent of it again. */
  accessed: boolean

  /**
   * Whether the session is to be saved. Setting it to true also saves changes inside values, such as
   * an array's items; setting it to false leaves the session unsaved.
   */
  modified: boolean

  /** Whether reads are possible. */
  readonly isLoaded: boolean

  /** No key and no data (Django's `is_empty`): nothing to keep. */
  readonly isEmpty: boolean

  // --- reads: synchronous, after load() -----------------------------------------

  /**
   * The value of a key. A change inside it is saved with `modified = true` only.
   *
   * @throws SessionNotLoaded
   */
  get<N extends Name>(name: N): Value<N> | undefined
  /**
   * The value of a key, or `fallback` where there is none.
   *
   * @throws SessionNotLoaded
   */
  get<N extends Name, D extends Value<N>>(name: N, fallback: D): N extends keyof SessionData ? Value<N> : Widened<D>

  /**
   * Whether there is such a key.
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
   * A copy of the data, to change as you like.
   *
   * @throws SessionNotLoaded
   */
  toObject(): Record<string, unknown>

  /** The data for `JSON.stringify` and replies, without the names that start with `_`: those of logins and CSRF secrets. `{}` before `load()`. */
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
   * When the session ends as it is stored, for a countdown. Null where none is stored. Asking renews nothing.
   *
   * @throws SessionNotLoaded
   */
  readonly endsAt: SessionEnd | null

  /**
   * Whether the cookie ends with the browser: `setExpiry(0)`, or the option.
   *
   * @throws SessionNotLoaded
   */
  getExpireAtBrowserClose(): boolean

  // --- writes: synchronous, need no load() ---------------------------------------

  /**
   * Stores a value, or the result of a function of the present value. A function is
   * called again on the stored value if another request saved in the meantime, so that
   * counters stay exact. `undefined` deletes.
   *
   * The next request reads what JSON makes of the value: a string for a Date or a URL, the
   * result of toJSON(), a plain object for an instance of a class, without properties that are
   * undefined, a number for a bigint within ±(2^53−1). This request reads the value itself, and a
   * function gets the form of JSON.
   *
   * @throws TypeError that names the key when JSON cannot carry the value, at any depth: Map, Set,
   * RegExp, Error, binary data, FormData and the like, invalid dates, functions, symbols, promises,
   * undefined in an array, cycles, more than 500 levels of nesting. The TypeError of a function
   * form that is called again, or of a change inside a value, comes from `save()` or fails the reply.
   */
  set<N extends Name>(name: N, value: Value<N> | Update<N> | undefined): this

  /**
   * Deletes a key. Nothing happens when there is no such key.
   *
   * @throws TypeError without a name: `flush()` ends the session
   */
  delete(name: Name): this

  /**
   * Stores each value of a plain object.
   *
   * @throws TypeError when it is no plain object, or a value cannot be stored
   */
  update(data: { [N in keyof SessionData]?: SessionData[N] } & Record<string, unknown>): this

  /** Deletes all data and keeps the key. */
  clear(): this

  /**
   * Sets the end of the session (`set_expiry` of django/contrib/sessions/backends/base.py).
   *
   * @param value seconds of inactivity from 1 to 34560000 (400 days), counted from the last
   * save; 0 for until the browser closes; a Date no more than 400 days from now, where one
   * in the past ends the session with the reply; null for the setting `cookieAge` again
   * @throws TypeError for anything else
   */
  setExpiry(value: number | Date | null): this

  /** Sets a key by which the next request finds out, with `testCookieWorked()`, whether the browser keeps cookies. */
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
   * Deletes a key and returns its value, or `fallback` where there is none.
   *
   * @throws SessionNotLoaded
   */
  pop<N extends Name, D extends Value<N>>(name: N, fallback: D): N extends keyof SessionData ? Value<N> : Widened<D>

  /**
   * The value of a key, which is stored first if there is none.
   *
   * @throws SessionNotLoaded
   * @throws TypeError when the value cannot be stored
   */
  setDefault<N extends Name, D extends Value<N>>(name: N, value: D): N extends keyof SessionData ? Value<N> : Widened<D>

  // --- the store: asynchronous, one after another ----------------------------------

  /**
   * Loads the session, once; without a key nothing is asked of the store. Afterwards
   * reads are synchronous.
   *
   * @throws StoreUnavailable
   * @throws SessionTooLarge
   */
  load(): Promise<this>

  /**
   * Stores the session now instead of with the reply, whether or not it changed.
   *
   * @throws SessionInterrupted when it was deleted meanwhile
   * @throws StoreUnavailable, StoreRefused, SessionTooLarge
   */
  save(): Promise<void>
  /**
   * The same for code that has no promises, as in @fastify/session.
   *
   * @param callback gets the error, or null
   */
  save(callback: SessionCallback): void

  /**
   * Deletes the session with its data from the store; what is set from now on is in
   * a new session under a new key. For signing out.
   *
   * @throws StoreUnavailable
   */
  flush(): Promise<void>

  /**
   * Moves the session to a new key, with its data: the old key is worth nothing from
   * now on. For signing in, against session fixation.
   *
   * @throws SessionInterrupted when it was deleted meanwhile
   * @throws StoreUnavailable
   */
  cycleKey(): Promise<void>

  // --- methods that code for @fastify/session, @fastify/secure-session and @fastify/passport calls ---

  /**
   * `flush()`, with the values of some keys kept in the new session. It needs no await: what is set
   * next is in the new session.
   *
   * @param keep names of keys, which needs `load()`; `Object.keys(session)` keeps all
   * @throws SessionNotLoaded
   */
  regenerate(keep?: readonly string[]): Promise<void>
  /**
   * The same for code that has no promises; no keys are kept.
   *
   * @param callback gets the error, or null
   */
  regenerate(callback: SessionCallback): void
  /**
   * The same for code that has no promises.
   *
   * @param keep names of keys, which needs `load()`
   * @param callback gets the error, or null
   * @throws SessionNotLoaded
   */
  regenerate(keep: readonly string[], callback: SessionCallback): void

  /** `flush()` */
  destroy(): Promise<void>
  /**
   * The same for code that has no promises.
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
   * `setExpiry(maxAge)`. The other attributes of a cookie are those of the plugin's options.
   *
   * @param options `maxAge` in seconds
   * @throws TypeError
   */
  options(options: { maxAge?: number }): void
}

/** The types of members, for the class that implements them. */
export type { Name, Update, Value, Widened }
