/**
 * A session: a snapshot that is loaded once, and a list of changes that reaches the
 * store once. It knows no cookies, no HTTP and no SQL. The semantics are those of
 * django/contrib/sessions/backends/base.py (Django 5.x).
 */

import { type InspectOptions, inspect } from 'node:util'
import type { SessionLog, StoredSession } from '../contract.js'
import { type Deadline, deadlineIn } from '../deadline.js'
import { EXPIRY_NAME, expiryAge, expiryDate, fixedDate, toStoredExpiry } from '../django/expiry.js'
import { isPlainObject } from '../django/json-writer.js'
import { isSessionKey } from '../django/keys.js'
import { type Member, type Members, toObject } from '../django/serializer.js'
import { SessionInterrupted, SessionNotLoaded, SuspiciousSession, UnknownKey } from '../errors.js'
import { applyStep, Changes, remove, type Step } from './changes.js'
import { bounded } from './keyed-mutex.js'
import { Operations } from './operations.js'
import { decode, expireDateOf, recordOf, replace, type SessionContext, type Snapshot } from './saving.js'

/**
 * The keys of your sessions and the types of their values, by declaration merging:
 * `declare module 'fastify-django-sessions' { interface SessionData { num_visits: number } }`
 */
export interface SessionData {
  /** Django's id of the user who is signed in, as text. */
  _auth_user_id?: string
  /** Django's path of the authentication backend. */
  _auth_user_backend?: string
  /** Django's hash of the user's password field. */
  _auth_user_hash?: string
  /** The value that `setExpiry` stored. */
  _session_expiry?: number | string
}

type Name = keyof SessionData | (string & {})
type Value<N> = N extends keyof SessionData ? Exclude<SessionData[N], undefined> : unknown
type Update<N> = N extends keyof SessionData ? (current?: Value<N>) => Value<N> | undefined : never
/** `get('visits', 0)` of an undeclared key is a number, not the literal 0. */
type Widened<D> = D extends string ? string : D extends number ? number : D extends boolean ? boolean : D extends bigint ? bigint : D

const TEST_COOKIE_NAME = 'testcookie'
const TEST_COOKIE_VALUE = 'worked'

/** A visitor's session: `request.session`. Reads need `load()`, writes do not. */
export class Session {
  /** Called at each change. */
  #onChange: (() => void) | null = null
  #accessed = false
  readonly #context: SessionContext
  readonly #log: SessionLog
  readonly #operations = new Operations()
  #key: string | null
  #snapshot: Snapshot | null = null
  /** The data as this request sees it: null until it is loaded. */
  #members: Members | null = null
  /** `#members` is also a snapshot's or a running save's: a change needs a copy. */
  #isShared = false
  #changes = new Changes()
  /** A save failed, and may have been carried out. */
  #isUnsettled = false
  #modified = false
  /** `modified = true` was said: what was changed inside values counts. */
  #nested = false
  #handedOut = new Map<string, Member>()
  #cookieIsDue = false

  /** @param sessionKey what a cookie says; text that cannot be a key is none */
  constructor(context: SessionContext, sessionKey: string | null, log = context.log) {
    this.#context = context
    this.#log = log
    const canBeKey = sessionKey !== null && isSessionKey(sessionKey, context.engine.keyIsData)
    this.#key = canBeKey ? sessionKey : null
    if (sessionKey && !canBeKey) this.#logRefused('warn', new UnknownKey('its value cannot be a key'))
  }

  // --- state: never loads ------------------------------------------------------

  /** The key, null until there is one. Before `load()` it is what the browser sent. */
  get sessionKey(): string | null {
    return this.#key
  }

  /** Whether the session was read or changed, so that the reply depends on the cookie. Never loads. */
  get accessed(): boolean {
    return this.#accessed
  }

  /** False makes the reply independent of the cookie again. */
  set accessed(accessed: boolean) {
    this.#accessed = accessed
  }

  /** Whether reads are possible. */
  get isLoaded(): boolean {
    return this.#members !== null
  }

  /** No key and no data (Django's `is_empty`): nothing to keep. */
  get isEmpty(): boolean {
    if (this.#key !== null) return false
    if (this.#members !== null) return this.#members.size === 0
    return ![...this.#changes.steps.values()].some((steps) => steps.at(-1) !== remove)
  }

  /** Whether the end that the session has by `setExpiry`, or by its data, has passed. False before `load()`. */
  get hasEnded(): boolean {
    return this.#members !== null && expireDateOf(this.#context, this.#members) <= this.#context.settings.clock()
  }

  /** Whether the session is to be saved. Setting it to true also saves what was changed inside values, such as an array's items. */
  get modified(): boolean {
    return this.#modified
  }

  /** True saves what was changed inside values too; false leaves the session unsaved. */
  set modified(modified: boolean) {
    if (modified) this.#change()
    this.#modified = modified
    this.#nested = modified
  }

  /** Whether the store has a key or an end of the session that the browser may not know yet. */
  get cookieIsDue(): boolean {
    return this.#cookieIsDue
  }

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
  get(name: string, fallback?: unknown): unknown {
    const member = this.#read('get').get(checkedName('get', name))
    return member === undefined ? fallback : this.#handOut(name, member)
  }

  /**
   * Whether there is such a key.
   *
   * @throws SessionNotLoaded
   */
  has(name: Name): boolean {
    return this.#read('has').has(checkedName('has', name))
  }

  /**
   * How many keys there are.
   *
   * @throws SessionNotLoaded
   */
  get size(): number {
    return this.#read('size').size
  }

  /**
   * The keys, in their order.
   *
   * @throws SessionNotLoaded
   */
  keys(): string[] {
    return [...this.#read('keys').keys()]
  }

  /**
   * The values, in the order of the keys.
   *
   * @throws SessionNotLoaded
   */
  values(): unknown[] {
    return Array.from(this.#read('values'), ([name, member]) => this.#handOut(name, member))
  }

  /**
   * The keys with their values.
   *
   * @throws SessionNotLoaded
   */
  entries(): [string, unknown][] {
    return Array.from(this.#read('entries'), ([name, member]) => [name, this.#handOut(name, member)])
  }

  /** As `entries()`. */
  [Symbol.iterator](): Iterator<[string, unknown]> {
    return this.entries().values()
  }

  /**
   * A copy of the data, to change as you like.
   *
   * @throws SessionNotLoaded
   */
  toObject(): Record<string, unknown> {
    return toObject(this.#read('toObject'), this.#context.codec.serializer.copy)
  }

  /**
   * Whether the browser sent back the cookie of `setTestCookie()`.
   *
   * @throws SessionNotLoaded
   */
  testCookieWorked(): boolean {
    return this.#read('testCookieWorked').get(TEST_COOKIE_NAME)?.value === TEST_COOKIE_VALUE
  }

  /**
   * Seconds from now until the session ends, if it is saved now.
   *
   * @throws SessionNotLoaded
   */
  getExpiryAge(): number {
    return expiryAge(this.#expiry('getExpiryAge'), this.#context.settings.cookieAge, this.#context.settings.clock())
  }

  /**
   * When the session ends, if it is saved now.
   *
   * @throws SessionNotLoaded
   */
  getExpiryDate(): Date {
    return expiryDate(this.#expiry('getExpiryDate'), this.#context.settings.cookieAge, this.#context.settings.clock())
  }

  /**
   * Whether the cookie ends with the browser: `setExpiry(0)`, or the option.
   *
   * @throws SessionNotLoaded
   */
  getExpireAtBrowserClose(): boolean {
    const expiry = this.#expiry('getExpireAtBrowserClose')
    return expiry === undefined || expiry === null ? this.#context.settings.expireAtBrowserClose : expiry === 0
  }

  /** The data for `JSON.stringify` and replies, without the names that start with `_`: those of logins and CSRF secrets. `{}` before `load()`. */
  toJSON(): Record<string, unknown> {
    if (!this.isLoaded) return {}
    return Object.fromEntries(this.entries().filter(([name]) => !name.startsWith('_')))
  }

  /** For `console.log`: the state and the names of the data, neither the key nor the values. */
  [inspect.custom](_depth: number, options: InspectOptions): string {
    const { isLoaded, isEmpty, accessed, modified } = this
    const state = { hasKey: this.#key !== null, isLoaded, isEmpty, accessed, modified }
    return `Session ${inspect({ ...state, ...(this.#members && { names: [...this.#members.keys()] }) }, options)}`
  }

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
  set<N extends Name>(name: N, value: Value<N> | Update<N> | undefined): this {
    checkedName('set', name)
    const given: unknown = value
    if (given === undefined) return this.delete(name)
    if (typeof given === 'function' && this.#savesNestedChanges) this.recordNestedChanges()
    if (typeof given === 'function') return this.#record(name, this.#updateStep(name, given as (current: unknown) => unknown), false)
    const member = this.#context.codec.serializer.member(name, given)
    this.#record(name, () => member)
    this.#handOut(name, member)
    return this
  }

  /**
   * Deletes a key. Nothing happens when there is no such key.
   *
   * @throws TypeError without a name: `flush()` ends the session
   */
  delete(name: Name): this {
    checkedName('delete', name)
    this.#accessed = true
    if (this.#members !== null && !this.#members.has(name)) return this
    return this.#record(name, remove)
  }

  /**
   * Stores each value of a plain object.
   *
   * @throws TypeError when it is no plain object, or a value cannot be stored
   */
  update(data: { [N in keyof SessionData]?: SessionData[N] } & Record<string, unknown>): this {
    if (!isPlainObject(data)) throw new TypeError(`session.update(data): expected a plain object, got ${nameOfType(data)}`)
    this.#change()
    for (const [name, value] of Object.entries(data)) this.#set(name, value)
    return this
  }

  /** Deletes all data and keeps the key. */
  clear(): this {
    this.#change()
    this.#changes = new Changes(true)
    this.#handedOut.clear()
    if (this.#members !== null) this.#share(new Map())
    return this
  }

  /**
   * Sets the end of the session (`set_expiry` of django/contrib/sessions/backends/base.py).
   *
   * @param value seconds of inactivity from 1 to 34560000 (400 days), counted from the last
   * save; 0 for until the browser closes; a Date no more than 400 days from now, where one
   * in the past ends the session with the reply; null for the setting `cookieAge` again
   * @throws TypeError for anything else
   */
  setExpiry(value: number | Date | null): this {
    return this.#set(EXPIRY_NAME, toStoredExpiry(value, this.#context.settings.clock()))
  }

  /** To find out in the next request, by `testCookieWorked()`, whether the browser keeps cookies. */
  setTestCookie(): this {
    return this.#set(TEST_COOKIE_NAME, TEST_COOKIE_VALUE)
  }

  /** Once it is known that the browser keeps cookies. */
  deleteTestCookie(): this {
    return this.delete(TEST_COOKIE_NAME)
  }

  // --- reads that write: synchronous, after load() --------------------------------

  /**
   * Deletes a key and returns its value.
   *
   * @throws SessionNotLoaded
   */
  pop<N extends Name>(name: N): Value<N> | undefined
  pop<N extends Name, D extends Value<N>>(name: N, fallback: D): N extends keyof SessionData ? Value<N> : Widened<D>
  pop(name: string, fallback?: unknown): unknown {
    const member = this.#read('pop').get(checkedName('pop', name))
    if (member === undefined) return fallback
    this.delete(name)
    return member.value
  }

  /**
   * The value of a key, which is stored first if there is none.
   *
   * @throws SessionNotLoaded
   * @throws TypeError when the value cannot be stored
   */
  setDefault<N extends Name, D extends Value<N>>(name: N, value: D): N extends keyof SessionData ? Value<N> : Widened<D>
  setDefault(name: string, value: unknown): unknown {
    if (!this.#read('setDefault').has(checkedName('setDefault', name))) this.#set(name, value)
    return this.#handOut(name, this.#read('setDefault').get(name) as Member)
  }

  // --- the store: asynchronous, one after another ----------------------------------

  /**
   * Loads the session, once; without a key nothing is asked of the store. Afterwards
   * reads are synchronous.
   *
   * @throws StoreUnavailable
   * @throws SessionTooLarge
   */
  load(): Promise<this> {
    this.#accessed = true
    return this.preload()
  }

  /** `load()` that does not count as access, for whoever loads before anybody asked. */
  preload(): Promise<this> {
    const deadline = this.#deadline()
    return this.#operations.run(() => this.#load(deadline))
  }

  /**
   * Stores the session now instead of with the reply, whether or not it changed.
   *
   * @throws SessionInterrupted when it was deleted meanwhile
   * @throws StoreUnavailable
   * @throws SessionTooLarge
   */
  save(): Promise<void> {
    this.#accessed = true
    const deadline = this.#deadline()
    return this.#operations.run(() => this.#save(deadline))
  }

  /**
   * Deletes the session with its data from the store; what is set from now on is in
   * a new session under a new key. For signing out.
   *
   * @throws StoreUnavailable
   */
  flush(): Promise<void> {
    this.clear()
    const deadline = this.#deadline()
    return this.#operations.run(() => this.#flush(deadline))
  }

  /**
   * Moves the session to a new key, with its data: the old key is worth nothing from
   * now on. For signing in, against session fixation.
   *
   * @throws SessionInterrupted when it was deleted meanwhile
   * @throws StoreUnavailable
   */
  cycleKey(): Promise<void> {
    this.#accessed = true
    const deadline = this.#deadline()
    return this.#operations.run(async () => {
      await this.#load(deadline)
      // Without a live session the key is made when it is saved.
      if (this.#key === null || this.#snapshot === null) return
      const snapshot = this.#snapshot
      const expireDate = expireDateOf(this.#context, snapshot.members)
      const { engine, mutex } = this.#context
      const key = this.#key
      const newKey = await mutex.run(key, deadline, () => engine.cycleKey(key, expireDate, snapshot.sessionData, deadline))
      if (newKey === null) throw new SessionInterrupted('was deleted')
      this.#key = newKey
      this.#cookieIsDue = true
      this.#snapshot = { ...snapshot, expireDate }
    })
  }

  /** Moves the end of an unchanged session, unless it was moved less than `touchAfter` seconds ago. */
  touch(): Promise<void> {
    const deadline = this.#deadline()
    return this.#operations.run(() => this.#touch(deadline))
  }

  /** Whether `settled()` has nothing to wait for and nothing to report. */
  get isSettled(): boolean {
    return this.#operations.areSettled
  }

  /** Waits for the operations that were begun. @throws the error of one that nobody awaited */
  settled(): Promise<void> {
    return this.#operations.settled()
  }

  // --- for the plugin -------------------------------------------------------------

  /** Is called at each change. */
  set onChange(onChange: () => void) {
    this.#onChange = onChange
  }
  /** Records what was changed inside values that were handed out. */
  recordNestedChanges(): void {
    for (const [name, member] of this.#nestedChanges()) this.#record(name, () => member)
  }

  /** The keys whose values were changed inside, which will not be saved. */
  get discardedChanges(): string[] {
    return this.#nested || this.#handedOut.size === 0 ? [] : Array.from(this.#nestedChanges(isUnstorable), ([name]) => name)
  }

  // --- changes --------------------------------------------------------------------

  get #savesNestedChanges(): boolean {
    return this.#nested || this.#context.settings.saveNestedChanges
  }

  #read(method: string): Members {
    this.#accessed = true
    if (this.#members === null) throw new SessionNotLoaded(method)
    return this.#members
  }

  #expiry(method: string): unknown {
    return this.#read(method).get(EXPIRY_NAME)?.value
  }

  /** @param ignore whether a value may be anything, because it will not be stored */
  #nestedChanges(ignore: (error: unknown) => boolean = () => false): [string, Member][] {
    const { serializer } = this.#context.codec
    const changes: [string, Member][] = []
    for (const [name, member] of this.#handedOut) {
      if (this.#members?.get(name) !== member) continue
      try {
        const changed = serializer.member(name, member.value)
        // Both written by us: another writer's text of the same value may be another one.
        if (!serializer.same(changed, serializer.member(name, serializer.copy(member)))) changes.push([name, changed])
      } catch (error) {
        if (!ignore(error)) throw error
      }
    }
    return changes
  }

  #handOut(name: string, member: Member): unknown {
    if (typeof member.value === 'object' && member.value !== null) this.#handedOut.set(name, member)
    return member.value
  }

  /** `set` for names that are not known to the type checker. */
  #set(name: string, value: unknown): this {
    return this.set<string>(name, value)
  }

  #change(): void {
    this.#accessed = true
    this.#modified = true
    this.#onChange?.()
  }

  #record(name: string, step: Step, replaces = true): this {
    // First, since the function form of `set` may throw.
    if (this.#members !== null) applyStep(this.#ownMembers(this.#members), name, step)
    this.#change()
    this.#changes.record(name, step, replaces)
    return this
  }

  /** The data to change in place. */
  #ownMembers(members: Members): Members {
    if (!this.#isShared) return members
    this.#isShared = false
    this.#members = new Map(members)
    return this.#members
  }

  /** Takes over what others hold on to. */
  #share(members: Members): void {
    this.#members = members
    this.#isShared = true
  }

  /** The function gets a copy, so that what it changes in place can be computed again on another value. */
  #updateStep(name: string, update: (current: unknown) => unknown): Step {
    const { serializer } = this.#context.codec
    return (current) => {
      const next = update(current === undefined ? undefined : serializer.copy(current))
      return next === undefined ? undefined : serializer.member(name, next)
    }
  }

  // --- loading and saving -----------------------------------------------------------

  /** The deadline of an operation that is called now, whatever it has to wait for. */
  #deadline(): Deadline {
    return deadlineIn(this.#context.settings.storeTimeout)
  }

  async #load(deadline: Deadline): Promise<this> {
    if (this.#members !== null) return this
    const stored = this.#key === null ? null : await this.#find(this.#key, deadline)
    // An unknown key is never adopted: what is saved gets a new one.
    if (stored === null) this.#key = null
    else this.#snapshot = { ...stored, members: decode(this.#context, stored, this.#log) }
    const members = this.#snapshot?.members ?? new Map()
    this.#dropNeedlessRemovals(members)
    this.#share(this.#changes.applyTo(members))
    return this
  }

  /** Visitors who come back late have unknown keys every day; forged and damaged text is worth a warning. */
  async #find(sessionKey: string, deadline: Deadline): Promise<StoredSession | null> {
    try {
      const stored = await bounded(this.#context.engine.load(sessionKey, deadline), deadline)
      if (stored === null) this.#logRefused('debug', new UnknownKey('it has expired, was deleted, or never existed'))
      return stored
    } catch (error) {
      if (!(error instanceof SuspiciousSession)) throw error
      this.#logRefused('warn', error)
      return null
    }
  }

  #logRefused(level: 'debug' | 'warn', { code, message }: Error & { code: string }): void {
    this.#log[level]({ code }, message)
  }

  /** Deleting what is not there is no change, which before loading nobody could know. */
  #dropNeedlessRemovals(members: Members): void {
    const { steps, cleared } = this.#changes
    let dropped = false
    for (const [name, list] of steps) {
      if (list.length === 1 && list[0] === remove && !members.has(name)) dropped = steps.delete(name)
    }
    if (dropped && steps.size === 0 && !cleared && !this.#nested) this.#modified = false
  }

  async #flush(deadline: Deadline): Promise<void> {
    const { engine, mutex } = this.#context
    const key = this.#key
    if (key !== null) await mutex.run(key, deadline, () => engine.delete(key, deadline))
    this.#key = null
    this.#snapshot = null
    this.#isUnsettled = false
    this.#cookieIsDue = false
    this.#changes.cleared = false
    this.#share(this.#changes.applyTo(new Map()))
  }

  async #save(deadline: Deadline): Promise<void> {
    await this.#load(deadline)
    if (this.#savesNestedChanges) this.recordNestedChanges()
    const members = this.#members as Members
    this.#isShared = true
    const changes = this.#changes
    const nested = this.#nested
    this.#changes = new Changes()
    this.#modified = false
    this.#nested = false
    try {
      this.#snapshot = await (this.#snapshot === null
        ? this.#create(members, deadline)
        : this.#replace(this.#snapshot, members, changes, deadline))
    } catch (error) {
      this.#changes = changes.followedBy(this.#changes)
      this.#modified = true
      this.#nested ||= nested
      throw error
    }
    this.#isUnsettled = false
    this.#cookieIsDue = true
    // Changes made while the save was under way are on top of it.
    this.#share(this.#changes.applyTo(this.#snapshot.members))
    this.#keepHandedOut()
  }

  /** Values that are in use go on being watched, under the members that they are now. */
  #keepHandedOut(): void {
    for (const [name, member] of this.#handedOut) {
      const now = this.#members?.get(name)
      if (now !== undefined && now.value === member.value) this.#handedOut.set(name, now)
      else this.#handedOut.delete(name)
    }
  }

  async #create(members: Members, deadline: Deadline): Promise<Snapshot> {
    const record = recordOf(this.#context, members)
    this.#key = await bounded(this.#context.engine.create(record, deadline), deadline)
    return { ...record, members }
  }

  async #replace(snapshot: Snapshot, members: Members, changes: Changes, deadline: Deadline): Promise<Snapshot> {
    const key = this.#key as string
    const record = recordOf(this.#context, members)
    const replacement = { sessionKey: key, snapshot, members, record, changes, isUnsettled: this.#isUnsettled, log: this.#log }
    const saved = await this.#context.mutex.run(key, deadline, () => {
      this.#isUnsettled = true
      return replace(this.#context, replacement, deadline)
    })
    this.#key = saved.sessionKey
    return saved.snapshot
  }

  async #touch(deadline: Deadline): Promise<void> {
    await this.#load(deadline)
    const { engine, mutex, settings } = this.#context
    const key = this.#key
    if (key === null || this.#snapshot === null) return
    const { sessionData } = this.#snapshot
    const expiry = this.#snapshot.members.get(EXPIRY_NAME)?.value
    if (fixedDate(expiry) !== null) return
    const expireDate = expireDateOf(this.#context, this.#snapshot.members)
    if (expireDate.getTime() - this.#snapshot.expireDate.getTime() < settings.touchAfter * 1000) return
    if (engine.keyIsData) return this.#save(deadline)
    if (!(await mutex.run(key, deadline, () => engine.touch(key, expireDate, sessionData, deadline))))
      throw new SessionInterrupted('was deleted')
    this.#snapshot = { ...this.#snapshot, expireDate }
  }
}

/** A function was hung on a value, say, for the page that shows it. */
const isUnstorable = (error: unknown) => error instanceof TypeError

function checkedName(method: string, name: unknown): string {
  if (typeof name === 'string') return name
  const hint =
    method === 'delete' ? ': to end the session, await session.flush()' : method === 'set' ? ': for an object, session.update(object)' : ''
  throw new TypeError(`session.${method}(name): expected the name of a key as a string, got ${nameOfType(name)}${hint}`)
}

function nameOfType(value: unknown): string {
  if (value === undefined || value === null) return String(value)
  if (Array.isArray(value)) return 'an array'
  return typeof value === 'object' ? `an object of the class ${value.constructor?.name}` : `a value of type ${typeof value}`
}

/**
 * Makes assignments fail loudly, in sloppy code too: in other plugins `session.user = …` writes the
 * data. Methods cannot be replaced, and properties that only tell the state have setters that throw.
 */
export function protectProperties(prototype: object): void {
  for (const [name, { get, set, value }] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
    if (typeof value === 'function') Object.defineProperty(prototype, name, { writable: false })
    else if (get !== undefined && set === undefined) Object.defineProperty(prototype, name, { set: () => refuseProperty(name) })
  }
}

protectProperties(Session.prototype)

// A proxy behind the prototype sees only the names that neither a session nor its class has, so it
// costs nothing otherwise.
Object.setPrototypeOf(Session.prototype, new Proxy(Object.prototype, { set: (_target, name) => refuseProperty(String(name)) }))

function refuseProperty(name: string): never {
  // The name that @fastify/csrf-protection assigns in the mode for @fastify/session.
  const hint = name === '_csrf' ? ", or give @fastify/csrf-protection the option sessionPlugin: '@fastify/secure-session'" : ''
  throw new TypeError(`session.${name} cannot be assigned: use session.set(${JSON.stringify(name)}, value)${hint}`)
}
