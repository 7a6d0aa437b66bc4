/**
 * The watched sessions of what outlives its request, such as a websocket. Each has a signal that is aborted when the
 * session ends: at once if this process ends it, otherwise at the next check of all watched sessions in the store.
 */
import type { SessionLog, StoredSession } from '../contract.js'
import { type Deadline, deadlineIn } from '../deadline.js'
import type { Member, Members } from '../django/serializer.js'
import { SessionEnded } from '../errors.js'
import { pauseUnreferenced } from '../timers.js'
import { LOGIN_NAMES, type SessionContext } from './saving.js'
import { absoluteEnd } from './timeouts.js'

export interface WatchesOptions {
  context: Pick<SessionContext, 'codec' | 'settings' | 'log'>
  /** Finds the live sessions among some keys. */
  find(sessionKeys: readonly string[], deadline: Deadline): Promise<ReadonlyMap<string, StoredSession>>
  /** @default a timer that keeps no process alive */
  sleep?: (milliseconds: number, signal: AbortSignal) => Promise<unknown>
}

interface Watch {
  readonly sessionKey: string
  /** The user who is logged in, and the backend. */
  readonly login: readonly (Member | undefined)[]
  /** The interval between two checks, in milliseconds. */
  readonly every: number
  readonly controller: AbortController
  /** The text at the last check, and the absolute end that follows from it. */
  text: string | null
  end: Date | null
}

/** The largest number of keys for one `find`. */
const MAX_KEYS = 256

/** The reason of all signals when the application closes. */
const closing = () => new DOMException('The application is closing', 'AbortError')

/** The reason of the signal of a session that does not exist any more. */
export const ended = () => new SessionEnded('has ended, or has another key')

const otherUser = () => new SessionEnded('has another user')

export class Watches {
  readonly #options: WatchesOptions
  readonly #log: SessionLog
  readonly #watches = new Map<string, Set<Watch>>()
  #wake = new AbortController()
  #loop: Promise<void> | null = null
  /** The length of the sleep that is under way, in milliseconds. */
  #asleepFor = 0
  #isClosed = false
  /** Whether the last check failed, which was logged then. */
  #hasFailed = false

  constructor(options: WatchesOptions) {
    this.#options = options
    this.#log = options.context.log
  }

  /**
   * Watches a session. The signal is aborted when it ends, gets another key, or gets another user.
   *
   * @param every the interval between two checks, in seconds
   * @param until a signal that ends the watch
   */
  add(sessionKey: string, members: Members, every: number, until?: AbortSignal): AbortSignal {
    const controller = new AbortController()
    if (this.#isClosed) return AbortSignal.abort(closing())
    if (until?.aborted) return controller.signal
    const watch: Watch = { sessionKey, login: loginOf(members), every: every * 1000, controller, text: null, end: null }
    this.#watches.set(sessionKey, (this.#watches.get(sessionKey) ?? new Set()).add(watch))
    until?.addEventListener('abort', () => this.#remove(watch), { once: true, signal: controller.signal })
    if (watch.every < this.#asleepFor) this.#wake.abort()
    this.#loop ??= this.#run()
    return controller.signal
  }

  /** Called when there is no longer a session under the key. */
  ended(sessionKey: string): void {
    for (const watch of this.#watches.get(sessionKey) ?? []) this.#fire(watch, ended())
  }

  /** Called when a session was saved, with its new members. */
  changed(sessionKey: string, members: Members): void {
    for (const watch of this.#watches.get(sessionKey) ?? []) if (!this.#isSame(watch, members)) this.#fire(watch, otherUser())
  }

  /** Ends all watches, with an AbortError as the reason. Resolves when no check is under way any more. */
  async close(): Promise<void> {
    this.#isClosed = true
    for (const watches of this.#watches.values()) for (const watch of watches) this.#fire(watch, closing())
    this.#wake.abort()
    await this.#loop
  }

  // --- the loop --------------------------------------------------------------------

  async #run(): Promise<void> {
    while (this.#watches.size > 0) {
      this.#wake = new AbortController()
      const { sleep = pauseUnreferenced } = this.#options
      this.#asleepFor = this.#shortest()
      const isDue = await sleep(this.#asleepFor, this.#wake.signal).then(
        () => true,
        () => false
      )
      if (isDue) await this.#look()
    }
    this.#loop = null
  }

  #shortest(): number {
    let shortest = Number.POSITIVE_INFINITY
    for (const watches of this.#watches.values()) for (const { every } of watches) shortest = Math.min(shortest, every)
    return shortest
  }

  async #look(): Promise<void> {
    try {
      const keys = [...this.#watches.keys()]
      for (let from = 0; from < keys.length; from += MAX_KEYS) await this.#lookAt(keys.slice(from, from + MAX_KEYS))
      this.#hasFailed = false
    } catch (error) {
      if (!this.#hasFailed) this.#log.warn({ err: error }, 'The watched sessions could not be checked: trying again')
      this.#hasFailed = true
    }
  }

  async #lookAt(sessionKeys: readonly string[]): Promise<void> {
    const found = await this.#options.find(sessionKeys, deadlineIn(this.#options.context.settings.storeTimeout))
    for (const sessionKey of sessionKeys) {
      const stored = found.get(sessionKey)
      if (stored === undefined) this.ended(sessionKey)
      else for (const watch of this.#watches.get(sessionKey) ?? []) this.#compare(watch, stored)
    }
  }

  /** Compares a session with its watch. Decodes the text only if it has changed. */
  #compare(watch: Watch, { sessionData }: StoredSession): void {
    const { absolute } = this.#options.context.settings.timeouts
    const now = this.#options.context.settings.clock()
    if (watch.text !== sessionData) {
      // An unreadable text has no data, and so no user.
      const members = this.#options.context.codec.tryDecode(sessionData) ?? new Map()
      if (!this.#isSame(watch, members)) this.#fire(watch, otherUser())
      watch.text = sessionData
      watch.end = absolute === undefined ? null : absoluteEnd(members, absolute, now)
    }
    if (watch.end !== null && watch.end <= now) this.#fire(watch, ended())
  }

  // --- single watches --------------------------------------------------------------

  #isSame({ login }: Watch, members: Members): boolean {
    const { serializer } = this.#options.context.codec
    return loginOf(members).every((member, index) => serializer.same(member, login[index]))
  }

  #fire(watch: Watch, reason: Error): void {
    this.#remove(watch)
    watch.controller.abort(reason)
  }

  #remove(watch: Watch): void {
    const watches = this.#watches.get(watch.sessionKey)
    watches?.delete(watch)
    if (watches?.size === 0) this.#watches.delete(watch.sessionKey)
    if (this.#watches.size === 0) this.#wake.abort()
  }
}

const loginOf = (members: Members) => LOGIN_NAMES.map((name) => members.get(name))
