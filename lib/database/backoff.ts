/** Paces attempts to connect while they fail: one at a time, with pauses that grow. */
import { monotonicNow } from '../timers.js'

/** Milliseconds between two attempts, at first and at most. */
const FIRST_PAUSE = 50
const LONGEST_PAUSE = 500

export class Backoff {
  /** The last failure, until an attempt succeeds. */
  failure: Error | null = null
  #pause = FIRST_PAUSE
  #next = 0
  readonly #now: () => number

  /** @param now a monotonic clock, in milliseconds */
  constructor(now: () => number = monotonicNow) {
    this.#now = now
  }

  /** Called for each attempt that failed, and for each call that was refused one. The pause grows with the attempts that were granted, not with these calls. */
  failed(failure: Error): void {
    this.failure = failure
  }

  /** The pause goes on: a server that accepts connections and refuses every write is not flooded with connections either. */
  succeeded(): void {
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
