/**
 * Runs the asynchronous operations of one session one after another, and keeps the
 * errors of those that nobody awaits: they must fail the reply, not the process.
 */

/** A promise that knows whether anybody waits for it. */
class Observed<T> extends Promise<T> {
  observed = false

  /** What `then` derives is an ordinary promise. */
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
}

export class Operations {
  #last: Promise<unknown> = Promise.resolve()
  #forgotten: { promise: Observed<unknown>; error: unknown }[] = []

  /** Starts `work` when the operations before it have ended, well or badly. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work)
    const promise = new Observed<T>((resolve, reject) => result.then(resolve, reject))
    this.#last = result.catch((error) => {
      this.#forgotten.push({ promise, error })
    })
    // Without `then` of its own, which would count as somebody waiting.
    Promise.prototype.then.call(promise, undefined, () => {})
    return promise
  }

  /** Waits for all that was begun. @throws the error of an operation that nobody waited for */
  async settled(): Promise<void> {
    let last: Promise<unknown>
    do {
      last = this.#last
      await last
    } while (last !== this.#last)
    const forgotten = this.#forgotten.find(({ promise }) => !promise.observed)
    this.#forgotten = []
    if (forgotten !== undefined) throw forgotten.error
  }
}
