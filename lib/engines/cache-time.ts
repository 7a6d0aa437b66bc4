import type { Deadline } from '../contract.js'
import { monotonicNow } from '../timers.js'

/** The part of `storeTimeout` that an operation spends on a cache at most, so that the database can still answer if the cache hangs. */
const PART = 1 / 5

/** The time left for all cache steps of one operation, so that it waits for a hanging cache only once. */
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

  /** Runs `steps`, which must end by the deadline that they are given. */
  async spend<T>(steps: (deadline: Deadline) => Promise<T>): Promise<T> {
    const start = monotonicNow()
    try {
      return await steps(Math.min(this.#deadline, start + this.#left))
    } finally {
      this.#left -= monotonicNow() - start
    }
  }
}
