/**
 * Sessions in a cache: the format of an entry, its time to live, and commands with a deadline.
 *
 * Clients repeat a command after their connection was cut, and so does this class. Each write therefore has a nonce: if
 * it finds its own nonce in the cache, it has been carried out already.
 */
import { randomBytes } from 'node:crypto'
import { cacheFailure, isCutOff, isPassing } from '../caches/failure.js'
import type { Cache } from '../caches/memory.js'
import type { Deadline, StoredSession } from '../contract.js'
import { hasPassed, withDeadline } from '../deadline.js'
import { StoreUnavailable } from '../errors.js'
import { kindOf } from '../kind-of.js'
import { pause } from '../timers.js'

/**
 * Version of the format, end, time of writing (both in milliseconds since 1970), nonces, key that the session moves
 * from, text. Entries of other versions are not sessions.
 */
const ENTRY = /^fds1 (\d+) (\d+) (\S+) (\S+) (.*)$/s

/** In place of the key that a session moves from. */
const NO_KEY = '-'

/** Stands in for a session that has moved. The key that it has moved to follows. */
const TOMBSTONE = 'fds-moved '

/** Stands in for a session that a reader or a writer is working on. A nonce follows. */
const MARK = 'fds-mark '

/** How many nonces an entry keeps: a write recognises itself until so many later writes have followed. */
const NONCES = 4

/**
 * The number of compare-and-swap attempts on one entry. Each miss means that another writer
 * succeeded, and a process has one write of a session at a time: only a cache that never
 * replaces anything misses a hundred times in a row.
 */
const MAX_ATTEMPTS = 100

/** Milliseconds between two attempts on a cache that cannot be used for now, at most. */
const LONGEST_PAUSE = 100

/**
 * Repeats `attempt` while it returns false.
 *
 * @throws StoreUnavailable after 100 attempts
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
  /** The prefix of each session key. */
  prefix: string
  clock: () => Date
  /** Seconds after which an entry is no longer used. @default no limit but the end of the session */
  maxAge?: number
}

/** The text of an entry, which `replace` compares. */
export interface Written {
  readonly raw: string
}

export interface Entry extends Written {
  /** Null for a mark, a tombstone, an expired session, an entry that is too old, and an entry of another program. */
  readonly stored: StoredSession | null
  /** The key that the session moves here from. Its tombstone decides under which of the two keys the session is. */
  readonly movesFrom: string | null
  /** For a tombstone, the key that the session has moved to. */
  readonly movedTo: string | null
  /** Whether another program wrote the entry. */
  readonly isForeign: boolean
}

export class SessionCache {
  /** The option `maxAge`, in seconds. */
  readonly maxAge: number
  readonly #cache: Cache
  readonly #prefix: string
  readonly #clock: () => Date

  constructor({ cache, prefix, clock, maxAge = Number.POSITIVE_INFINITY }: SessionCacheOptions) {
    this.#cache = cache
    this.#prefix = prefix
    this.#clock = clock
    this.maxAge = maxAge
  }

  /** Returns null if there is nothing under the key. */
  async get(sessionKey: string, deadline: Deadline): Promise<Entry | null> {
    const raw = await this.#ask(deadline, () => this.#cache.get(this.#prefix + sessionKey))
    // A cache on a Map returns undefined for an unknown key.
    if (raw === null || raw === undefined) return null
    if (typeof raw !== 'string') throw unexpected('get', 'a string or null', raw)
    return this.#parse(raw)
  }

  /** Adds an entry. Returns false if there is something under the key. */
  add(sessionKey: string, stored: StoredSession, deadline: Deadline, movesFrom: string | null = null): Promise<Written | false> {
    return this.#write(sessionKey, null, this.#format(stored, [], movesFrom), this.ttl(stored), deadline)
  }

  /** Replaces an entry. Returns false if it has changed since it was read. */
  replace(sessionKey: string, entry: Written, stored: StoredSession, deadline: Deadline): Promise<Written | false> {
    return this.#write(sessionKey, entry, this.#format(stored, noncesOf(entry.raw), null), this.ttl(stored), deadline)
  }

  /** Replaces an entry by a mark, or adds one. Returns false if the entry has changed since it was read. @param ttl seconds */
  mark(sessionKey: string, entry: Written | null, ttl: number, deadline: Deadline): Promise<Written | false> {
    return this.#write(sessionKey, entry, MARK + newNonce(), ttl, deadline)
  }

  /** Replaces an entry by a tombstone. Returns false if it has changed since it was read. @param ttl seconds */
  bury(sessionKey: string, entry: Written, movedTo: string, ttl: number, deadline: Deadline): Promise<Written | false> {
    return this.#write(sessionKey, entry, TOMBSTONE + movedTo, ttl, deadline)
  }

  async delete(sessionKey: string, deadline: Deadline): Promise<void> {
    await this.#ask(deadline, () => this.#cache.delete(this.#prefix + sessionKey))
  }

  /** The time to live of a session's entry, in whole seconds. */
  ttl({ expireDate }: StoredSession): number {
    return Math.max(1, Math.ceil(Math.min(this.maxAge, (expireDate.getTime() - this.#clock().getTime()) / 1000)))
  }

  async #write(sessionKey: string, expected: Written | null, raw: string, ttl: number, deadline: Deadline): Promise<Written | false> {
    const key = this.#prefix + sessionKey
    const isWritten = await this.#ask(deadline, () =>
      expected === null ? this.#cache.add(key, raw, ttl) : this.#cache.replace(key, expected.raw, raw, ttl)
    )
    if (typeof isWritten !== 'boolean') throw unexpected(expected === null ? 'add' : 'replace', 'true or false', isWritten)
    return isWritten || (await this.#wasWritten(sessionKey, raw, deadline)) ? { raw } : false
  }

  /** Whether the cache has the entry, or a later one that was made from it. */
  async #wasWritten(sessionKey: string, raw: string, deadline: Deadline): Promise<boolean> {
    const entry = await this.get(sessionKey, deadline)
    const [nonce] = noncesOf(raw)
    return entry?.raw === raw || (entry !== null && nonce !== undefined && noncesOf(entry.raw).includes(nonce))
  }

  #format({ sessionData, expireDate }: StoredSession, before: readonly string[], movesFrom: string | null): string {
    const nonces = [newNonce(), ...before].slice(0, NONCES).join('.')
    return `fds1 ${expireDate.getTime()} ${this.#clock().getTime()} ${nonces} ${movesFrom ?? NO_KEY} ${sessionData}`
  }

  #parse(raw: string): Entry {
    const movedTo = raw.startsWith(TOMBSTONE) ? raw.slice(TOMBSTONE.length) : null
    const match = ENTRY.exec(raw)
    if (match === null) return { raw, stored: null, movesFrom: null, movedTo, isForeign: movedTo === null && !raw.startsWith(MARK) }
    const [, end, written, , movesFrom, sessionData] = match as unknown as [string, string, string, string, string, string]
    const expireDate = new Date(Number(end))
    const now = this.#clock().getTime()
    const isLive = expireDate.getTime() > now && now - Number(written) < this.maxAge * 1000
    return {
      raw,
      stored: isLive ? { sessionData, expireDate } : null,
      movesFrom: movesFrom === NO_KEY ? null : movesFrom,
      movedTo,
      isForeign: false
    }
  }

  /**
   * Sends a command, and repeats it once if it fails: all commands are idempotent, and by then the client has often
   * reconnected. Errors that pass do not count: they are waited for until the deadline.
   */
  async #ask<T>(deadline: Deadline, send: () => Promise<T>): Promise<T> {
    let failure: Error | null = null
    let failures = 0
    const timedOut = () => failure ?? new StoreUnavailable('the cache did not answer in time')
    for (let attempt = 1; ; attempt++) {
      if (hasPassed(deadline)) throw timedOut()
      try {
        // The cache may throw instead of rejecting, and answer without a promise.
        return await withDeadline(Promise.resolve(send()), deadline, timedOut)
      } catch (error) {
        if (error instanceof StoreUnavailable) throw error
        failure = cacheFailure('the cache', error)
        const passes = isPassing(error)
        if (!passes && ++failures > 1) throw failure
        if (passes || isCutOff(error)) await pause(Math.random() * Math.min(2 ** attempt, LONGEST_PAUSE))
      }
    }
  }
}

const newNonce = () => randomBytes(6).toString('base64url')

/** The nonce of an entry, and the nonces of the entries that it was made from. */
function noncesOf(raw: string): string[] {
  return ENTRY.exec(raw)?.[3]?.split('.') ?? []
}

function unexpected(method: string, expected: string, answer: unknown): Error {
  return new StoreUnavailable(
    `the option cache does not do what it should: expected ${expected} from its ${method}(), got ${kindOf(answer)}`
  )
}
