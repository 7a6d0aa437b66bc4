/**
 * Runs the asynchronous operations of one session one after another, and keeps the
 * errors of those that nobody awaits: they must fail the reply, not the process.
 */

/** A promise that knows whether anything waits for it. */
export class Observed<T> extends Promise<T> {
  observed = false

  /** `then` derives an ordinary promise. */
  static override get [Symbol.species]() {
    return Promise
  }

  // biome-ignore lint/suspicious/noThenProperty: this is a promise
  override then<A = T, B = never>(
    onFulfilled?: ((value: T) => A | PromiseLike<A>) | null,
    onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null
  ): Promise<A | B> {
    this.observed = true
    return super.then(onFulfilled, onRejected)
  }

  /** Marks a rejection as handled, without counting as something that waits. */
  ignore(): void {
    super.then(undefined, () => {})
  }
}

export class Operations {
  #last: Promise<void> = Promise.resolve()
  #underWay = 0
  #forgotten: { promise: Observed<unknown>; error: unknown }[] = []

  /** Whether `settled()` has nothing to wait for and nothing to report. */
  get areSettled(): boolean {
    return this.#underWay === 0 && this.#forgotten.length === 0
  }

  /** Starts `work` when the operations before it have ended, well or badly. */
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

  /** Waits for all that was begun. @throws the error of an operation that nobody waited for */
  async settled(): Promise<void> {
    while (this.#underWay > 0) await this.#last
    const forgotten = this.#forgotten.find(({ promise }) => !promise.observed)
    this.#forgotten = []
    if (forgotten !== undefined) throw forgotten.error
  }
}
