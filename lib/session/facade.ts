/** Implements the interface `Session`: checks arguments, and delegates to the working copy (data) and the lifecycle (store). */
import { type InspectOptions, inspect } from 'node:util'
import type { SessionLog } from '../contract.js'
import { EXPIRY_NAME, expiryAge, toStoredExpiry } from '../django/expiry.js'
import { kindOf } from '../kind-of.js'
import { checkData, checkedName } from './arguments.js'
import { refuseAssignments } from './assignments.js'
import { ALL_NAMES, answer, keptData } from './compat.js'
import { SessionLifecycle } from './lifecycle.js'
import { expireDateOf, type SessionContext, type SessionSettings } from './saving.js'
import type { Fallback, Name, Session, SessionCallback, SessionEnd, Update, Value, WithFallback } from './session.js'
import { METHODS_NAME } from './timeouts.js'
import type { WorkingCopy } from './working-copy.js'

const TEST_COOKIE_NAME = 'testcookie'
const TEST_COOKIE_VALUE = 'worked'

class SessionFacade implements Session {
  readonly [ALL_NAMES] = true
  readonly #settings: SessionSettings
  readonly #lifecycle: SessionLifecycle
  readonly #data: WorkingCopy

  constructor(context: SessionContext, sessionKey: string | null, log: SessionLog, request: object | null) {
    this.#settings = context.settings
    this.#lifecycle = new SessionLifecycle(context, sessionKey, log, request)
    this.#data = this.#lifecycle.data
  }

  static readonly lifecycleOf = (session: Session): SessionLifecycle => (session as SessionFacade).#lifecycle

  static readonly isSession = (value: unknown): value is Session => typeof value === 'object' && value !== null && #lifecycle in value

  // --- state: never loads ------------------------------------------------------

  get sessionKey(): string | null {
    return this.#lifecycle.key
  }

  get accessed(): boolean {
    return this.#data.accessed
  }

  set accessed(accessed: boolean) {
    this.#data.accessed = accessed
  }

  get modified(): boolean {
    return this.#data.modified
  }

  set modified(modified: boolean) {
    this.#data.modified = modified
  }

  get isLoaded(): boolean {
    return this.#data.members !== null
  }

  get isEmpty(): boolean {
    return this.#lifecycle.isEmpty
  }

  /** For `console.log`: the state and the names of the data, but neither the session key nor values. */
  [inspect.custom](_depth: number, options: InspectOptions): string {
    const { isLoaded, isEmpty, accessed, modified } = this
    const { members } = this.#data
    const state = { hasKey: this.sessionKey !== null, isLoaded, isEmpty, accessed, modified }
    return `Session ${inspect({ ...state, ...(members && { names: [...members.keys()] }) }, options)}`
  }

  // --- reads: synchronous, after load() -----------------------------------------

  get<N extends Name>(name: N): Value<N> | undefined
  get<N extends Name, D extends Fallback<N>>(name: N, fallback: D): WithFallback<N, D>
  get(name: string, fallback?: unknown): unknown {
    const member = this.#data.read('get').get(checkedName('get', name))
    return member === undefined ? fallback : this.#data.handOut(name, member)
  }

  has(name: Name): boolean {
    return this.#data.read('has').has(checkedName('has', name))
  }

  get size(): number {
    return this.#data.read('size').size
  }

  keys(): string[] {
    return [...this.#data.read('keys').keys()]
  }

  values(): unknown[] {
    return Array.from(this.#data.read('values'), ([name, member]) => this.#data.handOut(name, member))
  }

  entries(): [string, unknown][] {
    return Array.from(this.#data.read('entries'), ([name, member]) => [name, this.#data.handOut(name, member)])
  }

  [Symbol.iterator](): Iterator<[string, unknown]> {
    return this.entries().values()
  }

  toObject(): Record<string, unknown> {
    return this.#data.toObject()
  }

  toJSON(): Record<string, unknown> {
    if (!this.isLoaded) return {}
    return Object.fromEntries(this.entries().filter(([name]) => !name.startsWith('_') && name !== METHODS_NAME))
  }

  testCookieWorked(): boolean {
    return this.#data.read('testCookieWorked').get(TEST_COOKIE_NAME)?.value === TEST_COOKIE_VALUE
  }

  getExpiryAge(): number {
    const { cookieAge, timeouts, clock } = this.#settings
    const now = clock()
    const age = expiryAge(this.#expiry('getExpiryAge'), cookieAge, now)
    if (timeouts.idle === undefined && timeouts.absolute === undefined) return age
    const end = expireDateOf(this.#settings, this.#data.read('getExpiryAge'), now)
    return Math.min(age, Math.floor((end.getTime() - now.getTime()) / 1000))
  }

  getExpiryDate(): Date {
    return expireDateOf(this.#settings, this.#data.read('getExpiryDate'))
  }

  get endsAt(): SessionEnd | null {
    this.#data.read('endsAt')
    return this.#lifecycle.endsAt
  }

  getExpireAtBrowserClose(): boolean {
    const expiry = this.#expiry('getExpireAtBrowserClose')
    return expiry === undefined || expiry === null ? this.#settings.expireAtBrowserClose : expiry === 0
  }

  #expiry(method: string): unknown {
    return this.#data.read(method).get(EXPIRY_NAME)?.value
  }

  // --- writes: synchronous, need no load() ---------------------------------------

  set<N extends Name>(name: N, value: Value<N> | Update<N> | undefined): this {
    this.#data.set(checkedName('set', name), value)
    return this
  }

  delete(name: Name): this {
    this.#data.delete(checkedName('delete', name))
    return this
  }

  update(data: Record<string, unknown>): this {
    checkData(data)
    this.#data.update(data)
    return this
  }

  clear(): this {
    this.#data.clear()
    return this
  }

  setExpiry(value: number | Date | null): this {
    return this.set(EXPIRY_NAME, toStoredExpiry(value, this.#settings.clock()))
  }

  setTestCookie(): this {
    return this.set(TEST_COOKIE_NAME, TEST_COOKIE_VALUE)
  }

  deleteTestCookie(): this {
    return this.delete(TEST_COOKIE_NAME)
  }

  // --- reads that write: synchronous, after load() --------------------------------

  pop<N extends Name>(name: N): Value<N> | undefined
  pop<N extends Name, D extends Fallback<N>>(name: N, fallback: D): WithFallback<N, D>
  pop(name: string, fallback?: unknown): unknown {
    const member = this.#data.read('pop').get(checkedName('pop', name))
    if (member === undefined) return fallback
    this.#data.delete(name)
    return member.value
  }

  setDefault<N extends Name, D extends Value<N>>(name: N, value: D): WithFallback<N, D>
  setDefault(name: string, value: unknown): unknown {
    if (!this.#data.read('setDefault').has(checkedName('setDefault', name))) this.#data.set(name, value)
    // `undefined` stores nothing, as in `set`.
    const member = this.#data.read('setDefault').get(name)
    return member && this.#data.handOut(name, member)
  }

  // --- the store: asynchronous, one after another ----------------------------------

  load(): Promise<this> {
    this.#data.accessed = true
    return this.#lifecycle.queue.observe(this.#lifecycle.load(this))
  }

  save(): Promise<void>
  save(callback: SessionCallback): void
  save(callback?: SessionCallback): Promise<void> | void {
    this.#willStore()
    return answer(() => this.#lifecycle.queue.observe(this.#lifecycle.save()), 'save', callback)
  }

  flush(): Promise<void> {
    this.#data.clear()
    return this.#lifecycle.queue.observe(this.#lifecycle.flush())
  }

  cycleKey(): Promise<void> {
    this.#willStore()
    return this.#lifecycle.queue.observe(this.#lifecycle.cycleKey())
  }

  #willStore(): void {
    this.#data.accessed = true
    this.#data.observer?.changed()
  }

  // --- methods of other plugins ------------------------------------------------------

  regenerate(keep?: readonly string[]): Promise<void>
  regenerate(callback: SessionCallback): void
  regenerate(keep: readonly string[], callback: SessionCallback): void
  regenerate(keep: readonly string[] | SessionCallback = [], callback?: SessionCallback): Promise<void> | void {
    if (typeof keep === 'function') return this.regenerate([], keep)
    const kept = keptData(this, keep)
    const regenerate = () => {
      const flushed = this.flush()
      this.#data.update(kept)
      return flushed
    }
    return answer(regenerate, 'regenerate', callback)
  }

  destroy(): Promise<void>
  destroy(callback: SessionCallback): void
  destroy(callback?: SessionCallback): Promise<void> | void {
    return answer(() => this.flush(), 'destroy', callback)
  }

  data(): Record<string, unknown> {
    return this.toObject()
  }

  options({ maxAge }: { maxAge?: number }): void {
    if (maxAge !== undefined) this.setExpiry(maxAge)
  }
}

refuseAssignments(SessionFacade)

/**
 * @param sessionKey the value of a cookie; text that cannot be a key is none
 * @param request for events
 */
export function openSession(
  context: SessionContext,
  sessionKey: string | null,
  log: SessionLog = context.log,
  request: object | null = null
): Session {
  return new SessionFacade(context, sessionKey, log, request)
}

/** The lifecycle of a session, which the plugin needs and handlers do not see. */
export const { lifecycleOf } = SessionFacade

/**
 * The lifecycle of a session that an application passes.
 *
 * @param name the called function, for the error
 * @throws TypeError for anything else
 */
export function lifecycleOfArgument(name: string, session: unknown): SessionLifecycle {
  if (!SessionFacade.isSession(session)) throw new TypeError(`${name}: expected a session, such as request.session, got ${kindOf(session)}`)
  return lifecycleOf(session)
}
