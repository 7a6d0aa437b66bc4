import type { Deadline } from '../contract.js'
import { monotonicNow } from '../timers.js'

/** The part of an operation's time that goes to a cache, so that the database can still answer when the cache hangs. */
const PART = 1 / 5

/** The time of all cache steps of one operation together: a cache that hangs is waited for once. */
export class CacheTime {
  readonly #deadline: Deadline
  #left: number

  /**
   * @param storeTimeout seconds, the option of that name
   * @param deadline that of the operation
   */
  constructor(storeTimeout: number, deadline: Deadline) {
    this.#deadline = deadline
    this.#left = storeTimeout * 1000 * PART
  }

  /** Takes steps that end by the deadline that they are given. */
  async spend<T>(steps: (deadline: Deadline) => Promise<T>): Promise<T> {
    const start = monotonicNow()
    try {
      return await steps(Math.min(this.#deadline, start + this.#left))
    } finally {
      this.#left -= monotonicNow() - start
    }
  }
}
