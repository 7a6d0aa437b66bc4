/**
 * Runs the asynchronous operations of one session one after another. Keeps the errors of
 * operations that are never awaited, which are to fail the reply instead of the process.
 */
import { started } from './engine-call.js'
import { Observed } from './observed.js'

interface Failure {
  promise: Observed<unknown>
  error: unknown
}

const isForgotten = ({ promise }: Failure) => !promise.observed

export class SerialQueue {
  #queued = 0
  #last: Promise<unknown> = Promise.resolve()
  #beside = 0
  #allBeside: Promise<unknown> | null = null
  #forgotten: Failure[] = []

  /** Whether `settled()` has nothing to wait for and nothing to report. */
  get isSettled(): boolean {
    return this.#queued === 0 && this.#beside === 0 && this.#forgotten.length === 0
  }

  run(work: () => Promise<void>): Promise<void>
  run<T>(work: () => Promise<void>, result: T): Promise<T>
  /** Starts `work` when the operations before it have settled. @param result the value to resolve with */
  run(work: () => Promise<void>, result?: unknown): Promise<unknown> {
    return this.#observe(this.#queued++ === 0 ? started(work) : this.#last.then(work), true, result)
  }

  /** Follows work that is under way beside the operations, as a login is, which consists of some. */
  follow<T>(work: Promise<T>): Promise<T> {
    this.#beside++
    return this.#observe(work, false)
  }

  /** Waits for all that was started. @throws the error of what was never awaited */
  async settled(): Promise<void> {
    while (this.#queued > 0 || this.#beside > 0) {
      await this.#last
      await this.#allBeside
    }
    const forgotten = this.#forgotten.find(isForgotten)
    this.#forgotten = []
    if (forgotten !== undefined) throw forgotten.error
  }

  #observe<T>(working: Promise<T>, isQueued: boolean, result?: T): Promise<T> {
    const before = this.#allBeside
    const promise = new Observed<T>((resolve, reject) => {
      const settled = working.then(
        (value) => {
          this.#end(isQueued)
          resolve(isQueued ? (result as T) : value)
        },
        (error) => {
          this.#end(isQueued)
          promise.ignore()
          // Those that are awaited by now are not kept: outside requests a session may live for days, and nothing calls `settled()`.
          this.#forgotten = [...this.#forgotten.filter(isForgotten), { promise, error }]
          reject(error)
        }
      )
      if (isQueued) this.#last = settled
      else this.#allBeside = settled.then(() => before)
    })
    return promise
  }

  #end(isQueued: boolean): void {
    if (isQueued) this.#queued--
    else this.#beside--
  }
}
