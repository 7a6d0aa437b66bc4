/**
 * Runs the asynchronous operations of one session one after another. Keeps the errors of
 * operations that are never awaited, which are to fail the reply instead of the process.
 */
import { Observed } from './observed.js'

export class SerialQueue {
  #last: Promise<void> = Promise.resolve()
  #underWay = 0
  #forgotten: { promise: Observed<unknown>; error: unknown }[] = []

  /** Whether `settled()` has nothing to wait for and nothing to report. */
  get isSettled(): boolean {
    return this.#underWay === 0 && this.#forgotten.length === 0
  }

  /** Starts `work` when the operations before it have settled. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#underWay++ === 0 ? work() : this.#last.then(work)
    const promise = new Observed<T>((resolve, reject) => {
      this.#last = result.then(
        (value) => {
          this.#underWay--
          resolve(value)
        },
        (error) => {
          this.#underWay--
          this.#forgotten.push({ promise, error })
          promise.ignore()
          reject(error)
        }
      )
    })
    return promise
  }

  /** Waits for all operations that were started. @throws the error of one that was never awaited */
  async settled(): Promise<void> {
    while (this.#underWay > 0) await this.#last
    const forgotten = this.#forgotten.find(({ promise }) => !promise.observed)
    this.#forgotten = []
    if (forgotten !== undefined) throw forgotten.error
  }
}
