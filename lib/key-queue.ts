import { within } from './within.js'

const nothing = () => {}

/** Lets the saves of one session in this process queue up, so that they do not miss each other's snapshot. */
export class KeyQueue {
  readonly #last = new Map<string, Promise<unknown>>()
  readonly #timeout: number

  /** @param timeout seconds to wait for those before */
  constructor(timeout: number) {
    this.#timeout = timeout
  }

  /** @throws StoreUnavailable when its turn does not come in time */
  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(key)
    const mine =
      before === undefined ? work() : within(before.then(nothing, nothing), this.#timeout, 'no turn to save the session').then(work)
    this.#last.set(key, mine)
    try {
      return await mine
    } finally {
      if (this.#last.get(key) === mine) this.#last.delete(key)
    }
  }
}
