import { deadlineIn, withDeadline } from '../deadline.js'
import { StoreUnavailable } from '../errors.js'

const nothing = () => {}

/**
 * A place in the queue. It lets go of its promise when that has ended: tables that a Map has
 * outgrown still hold its entries, and with them all that the promise holds, until the next
 * great collection, which cost a saving server a third of its requests.
 */
interface Turn {
  ended: Promise<unknown> | null
}

/**
 * Lets the saves of one session in this process queue up, so that they do not miss each other's
 * snapshot, and no more than one of its requests waits for a lock on its row.
 */
export class KeyQueue {
  readonly #last = new Map<string, Turn>()
  readonly #timeout: number

  /** @param timeout seconds to wait for those before */
  constructor(timeout: number) {
    this.#timeout = timeout
  }

  /** @throws StoreUnavailable when its turn does not come in time */
  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(key)?.ended
    const mine = before ? this.#after(before).then(work) : work()
    // A caller that gives up waiting does not end what it waited for.
    const turn: Turn = { ended: before ? Promise.allSettled([before, mine]) : mine }
    this.#last.set(key, turn)
    const leave = () => {
      turn.ended = null
      if (this.#last.get(key) === turn) this.#last.delete(key)
    }
    turn.ended?.then(leave, leave)
    return mine
  }

  #after(promise: Promise<unknown>): Promise<void> {
    const overdue = () => new StoreUnavailable(`no turn to write the session within ${this.#timeout} seconds`)
    return withDeadline(promise.then(nothing, nothing), deadlineIn(this.#timeout), overdue)
  }
}
