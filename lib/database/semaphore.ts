/** Lets so many at a time go on. Who comes later waits for a turn, in order. */
export class Semaphore {
  #free: number
  readonly #waiting: (() => void)[] = []

  /** @param count how many, one at least */
  constructor(count: number) {
    this.#free = count
  }

  /** Whether `acquire()` need not wait. */
  get isFree(): boolean {
    return this.#free > 0
  }

  async acquire(): Promise<void> {
    if (this.#free > 0) this.#free--
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }

  /** Once for each `acquire()` that has ended. */
  release(): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#free++
    else next()
  }
}
