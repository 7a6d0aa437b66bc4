import { type Deadline, withDeadline } from '../deadline.js'
import { StoreUnavailable } from '../errors.js'
import { started } from './started.js'

/**
 * A mutex for each key. Writes of one session in this process take turns, so that each works on the
 * result of the previous one, and only one at a time tries a locked row.
 */
export class KeyedMutex {
  /** The waiters for each locked key, in order. */
  readonly #waiters = new Map<string, (() => void)[]>()

  /**
   * Runs `work` while no other work runs for the key. The mutex opens when the work settles, even if
   * the caller has stopped waiting by then.
   *
   * @throws StoreUnavailable if the work does not begin in time; or the error of the work
   */
  run<T>(key: string, deadline: Deadline, work: () => Promise<T>): Promise<T> {
    const waiters = this.#waiters.get(key)
    if (waiters !== undefined) return this.#turn(waiters, deadline).then(() => this.#begin(key, work))
    this.#waiters.set(key, [])
    return this.#begin(key, work)
  }

  #begin<T>(key: string, work: () => Promise<T>): Promise<T> {
    const working = started(work)
    const open = () => this.#open(key)
    working.then(open, open)
    return working
  }

  /** Resolves when all earlier waiters have had their turn. */
  #turn(waiters: (() => void)[], deadline: Deadline): Promise<void> {
    let pass = () => {}
    const turn = new Promise<void>((resolve) => {
      pass = resolve
      waiters.push(pass)
    })
    return withDeadline(turn, deadline, () => {
      // A waiter that times out leaves the queue, or it would get a turn that nobody ends.
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
