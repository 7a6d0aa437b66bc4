/**
 * Runs the asynchronous operations of one session one after another. Keeps the errors of
 * operations that are never awaited, which are to fail the reply instead of the process.
 * Outside requests there is no reply, and they are reported.
 */
import { type Deadline, withDeadline } from '../deadline.js'
import { StoreUnavailable } from '../errors.js'
import { setImmediate } from '../timers.js'
import { Observed } from './observed.js'
import { started } from './started.js'

/** Work that is under way beside the operations. */
interface Work {
  settled: Promise<void>
  name: string
}

interface Failure {
  promise: Observed<unknown>
  error: unknown
}

const isForgotten = ({ promise }: Failure) => !promise.observed

export class SerialQueue {
  readonly #report: ((error: unknown) => void) | null
  #queued = 0
  #last: Promise<unknown> = Promise.resolve()
  #beside: Work[] = []
  #forgotten: Failure[] = []

  /** @param report gets the errors of operations that are never awaited. Null where `settled()` throws them */
  constructor(report: ((error: unknown) => void) | null = null) {
    this.#report = report
  }

  /** Whether `settled()` has nothing to wait for and nothing to report. */
  get isSettled(): boolean {
    return this.#queued === 0 && this.#beside.length === 0 && this.#forgotten.length === 0
  }

  run(work: () => Promise<void>): Promise<void>
  run<T>(work: () => Promise<void>, result: T): Promise<T>
  /** Starts `work` when the operations before it have settled. @param result the value to resolve with */
  run(work: () => Promise<void>, result?: unknown): Promise<unknown> {
    return this.#observe(this.#queued++ === 0 ? started(work) : this.#last.then(work), null, result)
  }

  /**
   * Follows work that is under way beside the operations, as a login is, which consists of some.
   *
   * @param name that of the function, for an error
   */
  follow<T>(work: Promise<T>, name: string): Promise<T> {
    return this.#observe(work, name)
  }

  /**
   * Waits for all that was started. The deadline is for the work beside the operations, which have their own.
   *
   * @throws the error of what was never awaited; StoreUnavailable
   */
  async settled(deadline: Deadline): Promise<void> {
    while (this.#queued > 0 || this.#beside.length > 0) {
      await this.#last
      await withDeadline(Promise.all(this.#beside.map(({ settled }) => settled)), deadline, () => this.#overdue())
    }
    const forgotten = this.#forgotten.find(isForgotten)
    this.#forgotten = []
    if (forgotten !== undefined) throw forgotten.error
  }

  /** @param name that of work beside the operations; null for an operation */
  #observe<T>(working: Promise<T>, name: string | null, result?: T): Promise<T> {
    const promise = new Observed<T>((resolve, reject) => {
      const settled: Promise<void> = working.then(
        (value) => {
          this.#end(name, settled)
          resolve(name === null ? (result as T) : value)
        },
        (error) => {
          this.#end(name, settled)
          promise.ignore()
          this.#keep({ promise, error })
          reject(error)
        }
      )
      if (name === null) this.#last = settled
      else this.#beside.push({ settled, name })
    })
    return promise
  }

  #end(name: string | null, ended: Promise<void>): void {
    if (name === null) this.#queued--
    else this.#beside = this.#beside.filter(({ settled }) => settled !== ended)
  }

  #keep(failure: Failure): void {
    const report = this.#report
    // Those that are awaited by now are not kept: the session of a websocket may live for days after its `settled()`.
    if (report === null) this.#forgotten = [...this.#forgotten.filter(isForgotten), failure]
    // A caller who comes to its await in this turn handles it.
    else setImmediate(() => isForgotten(failure) && report(failure.error))
  }

  #overdue(): StoreUnavailable {
    const names = this.#beside.map(({ name }) => `${name}()`).join(' and ')
    return new StoreUnavailable(
      `the reply has waited until storeTimeout for ${names} of createAuth: is an await missing, or does a hook wait for the reply?`
    )
  }
}
