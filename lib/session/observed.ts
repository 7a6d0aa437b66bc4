/** A promise that knows whether anything waits for it. */
export class Observed<T> extends Promise<T> {
  observed = false

  /** `then` derives an ordinary promise. */
  static override get [Symbol.species]() {
    return Promise
  }

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
