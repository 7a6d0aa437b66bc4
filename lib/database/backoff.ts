/** Paces attempts to connect while they fail: one at a time, with pauses that grow. Tells which failures are news. */
import { monotonicNow } from '../timers.js'

/** Milliseconds between two attempts, at first and at most. */
const FIRST_PAUSE = 50
const LONGEST_PAUSE = 500

/** Milliseconds between two failures that are news: a server may refuse a connection now and then while others work. */
const NEWS_EVERY = 10_000

export class Backoff {
  /** The last failure, until a new connection works. */
  failure: Error | null = null
  #pause = FIRST_PAUSE
  #next = 0
  /** Whether the failures since the last statement that succeeded are known. */
  #isKnown = false
  #lastNews = Number.NEGATIVE_INFINITY
  readonly #now: () => number

  /** @param now a monotonic clock, in milliseconds */
  constructor(now: () => number = monotonicNow) {
    this.#now = now
  }

  /**
   * Called for each attempt that failed, and for each call that was refused one. The pause grows with the attempts that were
   * granted, not with these calls. Returns whether it is news: the first failure after a success, once in ten seconds at most.
   */
  failed(failure: Error): boolean {
    this.failure = failure
    const now = this.#now()
    if (this.#isKnown || now < this.#lastNews + NEWS_EVERY) return false
    this.#isKnown = true
    this.#lastNews = now
    return true
  }

  /**
   * Called for each statement that succeeded. On a connection that was open before, it does not end the pause between attempts
   * to connect: the server may still refuse new ones.
   */
  succeeded(isNewConnection: boolean): void {
    this.#isKnown = false
    if (!isNewConnection) return
    this.failure = null
    this.#pause = FIRST_PAUSE
  }

  /** Grants the next attempt after a failure, and starts the pause before the one after it. Returns false during the pause. */
  claim(): boolean {
    const now = this.#now()
    if (now < this.#next) return false
    this.#next = now + this.#pause
    this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE)
    return true
  }
}
