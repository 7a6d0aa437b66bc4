/** Paces attempts to connect while they fail: one at a time, with pauses that grow. */
import { monotonicNow } from '../timers.js'

/** Milliseconds between two attempts, at first and at most. */
const FIRST_PAUSE = 50
const LONGEST_PAUSE = 500

export class Backoff {
  /** The last failure, until an attempt succeeds. */
  failure: Error | null = null
  #failures = 0
  #next = 0

  failed(failure: Error): void {
    this.failure = failure
    this.#failures++
  }

  /** The pause goes on: a server that accepts connections and refuses every write is not flooded with connections either. */
  succeeded(): void {
    this.failure = null
    this.#failures = 0
  }

  /** Whether an attempt may be made now. If so, no other one may until the next pause is over. */
  claim(): boolean {
    const now = monotonicNow()
    if (this.failure !== null && now < this.#next) return false
    this.#next = now + Math.min(FIRST_PAUSE * 2 ** this.#failures, LONGEST_PAUSE)
    return true
  }
}
