/** Sessions in a cache: the text of an entry, its time to live, and the bound on how long an answer may take. */
import { type Cache, describe } from '../caches/memory.js'
import type { StoredSession } from '../contract.js'
import { deadlineIn, withDeadline } from '../deadline.js'
import { StoreUnavailable } from '../errors.js'

/** Form, end in milliseconds, text. The form's number goes up when it changes: entries of other forms are no sessions. */
const ENTRY = /^fds1 (\d+) (.*)$/s

/** Something in the place of a session, until it is replaced or its time is over. */
const MARK = 'fds-mark:'

/** A mark that nobody replaces: nothing may be stored under the key in its time. */
const BARRIER = 'fds-barrier:'

/**
 * Compare-and-swap attempts on one entry. Each miss is the success of another writer, and
 * a process writes a session once at a time: only a cache that never replaces anything
 * misses a hundred times in a row.
 */
const MAX_ATTEMPTS = 100

/**
 * Repeats `attempt` while it returns false.
 *
 * @throws StoreUnavailable after a hundred attempts
 */
export async function attempts<T>(attempt: () => Promise<T | false>): Promise<T> {
  for (let count = 1; count <= MAX_ATTEMPTS; count++) {
    const result = await attempt()
    if (result !== false) return result
  }
  throw new StoreUnavailable(
    `the cache changed an entry in none of ${MAX_ATTEMPTS} attempts. Does its replace() compare with exactly what get() returned?`
  )
}

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
    const raw = await this.#bounded(() => this.#cache.get(this.#prefix + sessionKey))
    // A cache on a Map has undefined for what is not there.
    if (raw === null || raw === undefined) return null
    if (typeof raw !== 'string') throw unexpected('get', 'a string or null', raw)
    const isBarrier = raw.startsWith(BARRIER)
    const isForeign = !isBarrier && !raw.startsWith(MARK) && !ENTRY.test(raw)
    return { raw, stored: this.#parse(raw), isBarrier, isForeign }
  }

  /** False when there is something under the key. */
  add(sessionKey: string, stored: StoredSession): Promise<boolean> {
    return this.#add(sessionKey, format(stored), this.#ttl(stored))
  }

  /** False when the entry is another one by now. */
  replace(sessionKey: string, entry: Pick<Entry, 'raw'>, stored: StoredSession): Promise<boolean> {
    return this.#replace(sessionKey, entry, format(stored), this.#ttl(stored))
  }

  async delete(sessionKey: string): Promise<void> {
    await this.#bounded(() => this.#cache.delete(this.#prefix + sessionKey))
  }

  /** Puts a mark where there is nothing: who does so may fill the place. Null when there is something. */
  async lease(sessionKey: string, ttl: number): Promise<Pick<Entry, 'raw'> | null> {
    const raw = MARK + crypto.randomUUID()
    return (await this.#add(sessionKey, raw, ttl)) ? { raw } : null
  }

  /** Puts a mark in the place of the entry. False when it is another one by now. */
  mark(sessionKey: string, entry: Entry, ttl: number): Promise<boolean> {
    return this.#replace(sessionKey, entry, MARK + crypto.randomUUID(), ttl)
  }

  /** Keeps the place of a session empty, whatever was in it. */
  async bar(sessionKey: string, ttl: number): Promise<void> {
    const barrier = BARRIER + crypto.randomUUID()
    await attempts(async () => {
      const entry = await this.get(sessionKey)
      return entry === null ? this.#add(sessionKey, barrier, ttl) : this.#replace(sessionKey, entry, barrier, ttl)
    })
  }

  async #add(sessionKey: string, value: string, ttl: number): Promise<boolean> {
    const added = await this.#bounded(() => this.#cache.add(this.#prefix + sessionKey, value, ttl))
    if (typeof added !== 'boolean') throw unexpected('add', 'true or false', added)
    return added
  }

  async #replace(sessionKey: string, { raw }: Pick<Entry, 'raw'>, value: string, ttl: number): Promise<boolean> {
    const replaced = await this.#bounded(() => this.#cache.replace(this.#prefix + sessionKey, raw, value, ttl))
    if (typeof replaced !== 'boolean') throw unexpected('replace', 'true or false', replaced)
    return replaced
  }

  #parse(raw: string): StoredSession | null {
    const [, time, sessionData] = ENTRY.exec(raw) ?? []
    const expireDate = new Date(Number(time))
    return sessionData !== undefined && expireDate > this.#clock() ? { sessionData, expireDate } : null
  }

  #ttl({ expireDate }: StoredSession): number {
    return Math.max(1, Math.ceil((expireDate.getTime() - this.#clock().getTime()) / 1000))
  }

  /** Also what the cache throws instead of rejecting with it, or returns without a promise. */
  async #bounded<T>(ask: () => Promise<T>): Promise<T> {
    try {
      const overdue = () => new StoreUnavailable(`no answer of the cache within ${this.#timeout} seconds`)
      return await withDeadline(Promise.resolve(ask()), deadlineIn(this.#timeout), overdue)
    } catch (error) {
      if (error instanceof StoreUnavailable) throw error
      // Clients put commands with keys and values into their messages and properties.
      throw new StoreUnavailable(`the cache failed (${(error as NodeJS.ErrnoException).code ?? (error as Error).name})`)
    }
  }
}

function unexpected(method: string, expected: string, answer: unknown): Error {
  return new StoreUnavailable(
    `the option cache does not do what it should: expected ${expected} from its ${method}(), got ${describe(answer)}`
  )
}

function format({ sessionData, expireDate }: StoredSession): string {
  return `fds1 ${expireDate.getTime()} ${sessionData}`
}
