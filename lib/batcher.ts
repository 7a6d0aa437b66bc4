/**
 * Sends together what is asked for in one turn of the event loop, or while as many
 * batches as allowed are under way. There is no timer: a lone call leaves at the end
 * of its turn. It knows nothing of what is sent.
 */

export interface BatcherOptions<Item, Result> {
  /**
   * Carries out a batch: one result for each item, in their order, or a promise of it. An error
   * fails all of them. `since` is when the first one came, in milliseconds of `performance.now()`.
   */
  run: (items: readonly Item[], since: number) => Promise<readonly (Result | Promise<Result>)[]>
  /** Items with the same key are never in one batch: the later one waits for the next. */
  keyOf?: (item: Item) => string
  /** Items in a batch. */
  maxSize: number
  /** Batches under way: more than one, so that one which waits for a lock holds up no other. */
  maxUnderWay: number
}

interface Call<Item, Result> {
  item: Item
  since: number
  resolve: (result: Result | Promise<Result>) => void
  reject: (error: unknown) => void
}

export class Batcher<Item, Result> {
  readonly #options: BatcherOptions<Item, Result>
  #waiting: Call<Item, Result>[] = []
  #underWay = 0
  #scheduled = false

  constructor(options: BatcherOptions<Item, Result>) {
    this.#options = options
  }

  add(item: Item): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, since: performance.now(), resolve, reject })
      this.#schedule()
    })
  }

  #schedule(): void {
    if (this.#scheduled || this.#waiting.length === 0 || this.#underWay >= this.#options.maxUnderWay) return
    this.#scheduled = true
    // After the I/O of this turn, which may bring more.
    setImmediate(() => {
      this.#scheduled = false
      this.#send(this.#take())
      this.#schedule()
    })
  }

  /** The calls of the next batch, in the order in which they came. */
  #take(): Call<Item, Result>[] {
    const { maxSize, keyOf } = this.#options
    if (keyOf === undefined) return this.#waiting.splice(0, maxSize)
    const keys = new Set<string>()
    const taken: Call<Item, Result>[] = []
    this.#waiting = this.#waiting.filter((call) => {
      const key = keyOf(call.item)
      if (taken.length === maxSize || keys.has(key)) return true
      keys.add(key)
      taken.push(call)
      return false
    })
    return taken
  }

  async #send(calls: Call<Item, Result>[]): Promise<void> {
    this.#underWay++
    try {
      const results = await this.#options.run(
        calls.map(({ item }) => item),
        calls[0]?.since as number
      )
      calls.forEach(({ resolve }, index) => {
        resolve(results[index] as Result)
      })
    } catch (error) {
      for (const { reject } of calls) reject(error)
    } finally {
      this.#underWay--
      this.#schedule()
    }
  }
}
