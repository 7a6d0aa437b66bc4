/** Sessions in a cache: the text of an entry, its time to live, and the bound on how long an answer may take. */

import type { Cache } from '../cache.js'
import { StoreUnavailable } from '../errors.js'
import { within } from '../within.js'
import type { StoredSession } from './engine.js'

/** Form, end in milliseconds, text. The form's number goes up when it changes: entries of other forms are no sessions. */
const ENTRY = /^fds1 (\d+) (.*)$/s

/** Something in the place of a session, until it is replaced or its time is over. */
const MARK = 'fds-mark:'

/** A mark that nobody replaces: nothing may be stored under the key in its time. */
const BARRIER = 'fds-barrier:'

export interface SessionCacheOptions {
  cache: Cache
  /** Goes before each session key. */
  prefix: string
  clock: () => Date
  /** Seconds until an answer of the cache is overdue. */
  timeout: number
}

/** An entry as it is in the cache, which `replace` compares, and what it says. */
export interface Entry {
  readonly raw: string
  /** null for a mark, for an expired session, and for what another program wrote. */
  readonly stored: StoredSession | null
  readonly isBarrier: boolean
  /** Neither a session nor a mark: another program wrote it. */
  readonly isForeign: boolean
}

export class SessionCache {
  readonly #cache: Cache
  readonly #prefix: string
  readonly #clock: () => Date
  readonly #timeout: number

  constructor({ cache, prefix, clock, timeout }: SessionCacheOptions) {
    this.#cache = cache
    this.#prefix = prefix
    this.#clock = clock
    this.#timeout = timeout
  }

  /** null when there is nothing under the key. */
  async get(sessionKey: string): Promise<Entry | null> {
    const raw = await this.#bounded(this.#cache.get(this.#prefix + sessionKey))
    if (raw === null) return null
    const isBarrier = raw.startsWith(BARRIER)
    const isForeign = !isBarrier && !raw.startsWith(MARK) && !ENTRY.test(raw)
    return { raw, stored: this.#parse(raw), isBarrier, isForeign }
  }

  /** False when there is something under the key. */
  add(sessionKey: string, stored: StoredSession): Promise<boolean> {
    return this.#bounded(this.#cache.add(this.#prefix + sessionKey, format(stored), this.#ttl(stored)))
  }

  /** False when the entry is another one by now. */
  replace(sessionKey: string, entry: Pick<Entry, 'raw'>, stored: StoredSession): Promise<boolean> {
    return this.#bounded(this.#cache.replace(this.#prefix + sessionKey, entry.raw, format(stored), this.#ttl(stored)))
  }

  delete(sessionKey: string): Promise<void> {
    return this.#bounded(this.#cache.delete(this.#prefix + sessionKey))
  }

  /** Puts a mark where there is nothing: who does so may fill the place. Null when there is something. */
  async lease(sessionKey: string, ttl: number): Promise<Pick<Entry, 'raw'> | null> {
    const raw = MARK + crypto.randomUUID()
    return (await this.#bounded(this.#cache.add(this.#prefix + sessionKey, raw, ttl))) ? { raw } : null
  }

  /** Puts a mark in the place of the entry. False when it is another one by now. */
  mark(sessionKey: string, entry: Entry, ttl: number): Promise<boolean> {
    return this.#bounded(this.#cache.replace(this.#prefix + sessionKey, entry.raw, MARK + crypto.randomUUID(), ttl))
  }

  /** Keeps the place of a session empty, whatever was in it. */
  async bar(sessionKey: string, ttl: number): Promise<void> {
    const key = this.#prefix + sessionKey
    const barrier = BARRIER + crypto.randomUUID()
    for (;;) {
      const entry = await this.get(sessionKey)
      const barred = entry === null ? this.#cache.add(key, barrier, ttl) : this.#cache.replace(key, entry.raw, barrier, ttl)
      if (await this.#bounded(barred)) return
    }
  }

  #parse(raw: string): StoredSession | null {
    const [, time, text] = ENTRY.exec(raw) ?? []
    const expireDate = new Date(Number(time))
    return text !== undefined && expireDate > this.#clock() ? { text, expireDate } : null
  }

  #ttl({ expireDate }: StoredSession): number {
    return Math.max(1, Math.ceil((expireDate.getTime() - this.#clock().getTime()) / 1000))
  }

  async #bounded<T>(answer: Promise<T>): Promise<T> {
    try {
      return await within(answer, this.#timeout, () => new StoreUnavailable(`no answer of the cache within ${this.#timeout} seconds`))
    } catch (error) {
      if (error instanceof StoreUnavailable) throw error
      // Clients put commands with keys and values into their messages and properties.
      throw new StoreUnavailable(`the cache failed (${(error as NodeJS.ErrnoException).code ?? (error as Error).name})`)
    }
  }
}

function format({ text, expireDate }: StoredSession): string {
  return `fds1 ${expireDate.getTime()} ${text}`
}
