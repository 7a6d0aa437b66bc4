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
  readonly settled: Promise<void>
  readonly name: string
}

interface Failure {
  readonly promise: Observed<unknown>
  readonly error: unknown
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

  /** Starts `work` when the operations before it have settled. The caller waits for it, or observes it. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const working = this.#queued++ === 0 ? started(work) : this.#last.then(work)
    const end = () => void this.#queued--
    this.#last = working.then(end, end)
    return working
  }

  /**
   * Follows work that is under way beside the operations, as a login is, which consists of some: `settled()` waits for it too.
   *
   * @param name that of the function, for an error
   */
  follow<T>(work: Promise<T>, name: string): Promise<T> {
    const end = () => {
      this.#beside = this.#beside.filter((other) => other !== entry)
    }
    const entry: Work = { settled: work.then(end, end), name }
    this.#beside.push(entry)
    return this.observe(work)
  }

  /** The result for a handler, which may forget to await it: then `settled()` throws its error. */
  observe<T>(working: Promise<T>): Promise<T> {
    const promise = new Observed<T>((resolve, reject) => {
      working.then(resolve, (error) => {
        promise.ignore()
        this.#keep({ promise, error })
        reject(error)
      })
    })
    return promise
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
