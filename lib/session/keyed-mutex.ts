import { type Deadline, withDeadline } from '../deadline.js'
import { StoreUnavailable } from '../errors.js'

/**
 * Milliseconds after its deadline in which an operation may still end by itself, with the reason that only
 * it knows. Then it is abandoned.
 */
const GRACE = 100

/** Waits for an operation until a moment after its deadline. @throws StoreUnavailable when it has not ended by then */
export function bounded<T>(operation: Promise<T>, deadline: Deadline): Promise<T> {
  return withDeadline(operation, deadline + GRACE, () => new StoreUnavailable('the store gave no answer in time'))
}

/**
 * A mutex for each key. Writes of one session in this process take turns, so that they do not
 * miss each other's snapshot, and only one of them at a time meets a locked row.
 */
export class KeyedMutex {
  /** The waiters for each key that is locked, in their order. */
  readonly #waiters = new Map<string, (() => void)[]>()

  /**
   * Runs `work` while no other work runs under the key. The mutex opens when the work settles, even
   * if the wait for it has ended before.
   *
   * @throws StoreUnavailable when the turn or the end of the work does not come in time, or the error of the work
   */
  async run<T>(key: string, deadline: Deadline, work: () => Promise<T>): Promise<T> {
    const waiters = this.#waiters.get(key)
    if (waiters === undefined) this.#waiters.set(key, [])
    else await this.#turn(waiters, deadline)
    // An engine may throw instead of rejecting.
    const working = (async () => work())()
    const open = () => this.#open(key)
    working.then(open, open)
    return bounded(working, deadline)
  }

  /** Resolves when all waiters before have had their turn. */
  #turn(waiters: (() => void)[], deadline: Deadline): Promise<void> {
    let pass = () => {}
    const turn = new Promise<void>((resolve) => {
      pass = resolve
      waiters.push(pass)
    })
    return withDeadline(turn, deadline, () => {
      // A timed-out waiter must not open the mutex: it leaves the queue.
      waiters.splice(waiters.indexOf(pass), 1)
      return new StoreUnavailable('the writes of the same session before this one did not end in time')
    })
  }

  #open(key: string): void {
    const next = this.#waiters.get(key)?.shift()
    if (next === undefined) this.#waiters.delete(key)
    else next()
  }
}
