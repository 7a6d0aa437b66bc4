/**
 * Sends together what is asked for in one turn of the event loop, or while as many
 * batches as allowed are under way. There is no timer: a lone call leaves at the end
 * of its turn. It knows nothing of what is sent.
 */
import { monotonicNow, setImmediate } from '../timers.js'

/** The answer of `together` for an item that it left out, since it would have to wait for a lock, say: it is carried out alone. */
export const leftOut = Symbol('left out')

type Outcome<Result> = Result | typeof leftOut

export interface BatcherOptions<Item, Result> {
  /** Carries out one item. `since` is when it came, in milliseconds of `performance.now()`. */
  alone: (item: Item, since: number) => Promise<Result>
  /**
   * Carries out several, or one while another goes alone: a result for each, in their order, or `leftOut`,
   * or a promise of it, for which neither the others wait nor the next batch. `since` is when the first one came.
   */
  together: (items: readonly Item[], since: number) => Promise<readonly (Outcome<Result> | Promise<Outcome<Result>>)[]>
  /** Whether an error of `together` says that nothing was done: then each item is tried alone, once. Any other fails all of them. */
  isRefused: (error: unknown) => boolean
  /**
   * Whether who came then must not be waited for any longer: it is carried out alone, to fail for itself.
   *
   * @default never
   */
  isOverdue?: (since: number) => boolean
  /** Items with the same key are never in one batch: the later one waits for the next. */
  keyOf?: (item: Item) => string
  /** Items in a batch. */
  maxSize: number
  /** Batches under way, a lone call included. */
  maxUnderWay: number
  /**
   * Whether a lone call may be carried out alone, which may wait for a lock.
   *
   * @default always
   */
  mayWait?: () => boolean
  /**
   * Results handed out in one turn of the event loop. Who has one may ask again before the others have theirs:
   * otherwise all would come back at once, into one batch, and nothing be done here while it is under way.
   *
   * @default all of a batch
   */
  resultsPerTurn?: number
}

interface Call<Item, Result> {
  item: Item
  since: number
  resolve: (result: Result) => void
  reject: (error: unknown) => void
}

export class Batcher<Item, Result> {
  readonly #options: BatcherOptions<Item, Result>
  #waiting: Call<Item, Result>[] = []
  #underWay = 0
  #scheduled = false
  #alone = 0

  constructor(options: BatcherOptions<Item, Result>) {
    this.#options = options
  }

  add(item: Item): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, since: monotonicNow(), resolve, reject })
      this.#schedule()
    })
  }

  #schedule(): void {
    if (this.#scheduled || this.#waiting.length === 0 || this.#underWay >= this.#options.maxUnderWay) return
    this.#scheduled = true
    // After the I/O of this turn, which may bring more.
    setImmediate(() => {
      this.#scheduled = false
      this.#passOverdue()
      if (this.#waiting.length > 0) this.#send(this.#take())
      this.#schedule()
    })
  }

  /** A batch has the time that its first call has. */
  #passOverdue(): void {
    const { isOverdue = () => false } = this.#options
    while (this.#waiting[0] !== undefined && isOverdue(this.#waiting[0].since)) {
      this.#carryOutAlone(this.#waiting.shift() as Call<Item, Result>)
    }
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

  #send(calls: readonly Call<Item, Result>[]): void {
    this.#underWay++
    const [first] = calls as [Call<Item, Result>]
    // An item alone may wait for a lock. If more than one did in the place of a batch, nothing else might be left to go on.
    const goesAlone = calls.length === 1 && this.#alone === 0 && this.#options.mayWait?.() !== false
    const ended = goesAlone ? this.#carryOutAlone(first) : this.#together(calls, first.since)
    ended.then(() => {
      this.#underWay--
      this.#schedule()
    })
  }

  async #together(calls: readonly Call<Item, Result>[], since: number): Promise<void> {
    const { together, isRefused } = this.#options
    let results: readonly (Outcome<Result> | Promise<Outcome<Result>>)[]
    try {
      results = await together(
        calls.map(({ item }) => item),
        since
      )
    } catch (error) {
      for (const call of calls) {
        if (isRefused(error)) this.#carryOutAlone(call)
        else call.reject(error)
      }
      return
    }
    const outcomes: [Call<Item, Result>, Outcome<Result>][] = []
    calls.forEach((call, index) => {
      const result = results[index] as Outcome<Result> | Promise<Outcome<Result>>
      if (result instanceof Promise) result.then((outcome) => this.#end(call, outcome), call.reject)
      else outcomes.push([call, result])
    })
    this.#handOut(outcomes)
  }

  #handOut(outcomes: readonly [Call<Item, Result>, Outcome<Result>][]): void {
    const { resultsPerTurn = outcomes.length } = this.#options
    for (const [call, outcome] of outcomes.slice(0, resultsPerTurn)) this.#end(call, outcome)
    if (outcomes.length > resultsPerTurn) setImmediate(() => this.#handOut(outcomes.slice(resultsPerTurn)))
  }

  #end(call: Call<Item, Result>, outcome: Outcome<Result>): void {
    if (outcome === leftOut) this.#carryOutAlone(call)
    else call.resolve(outcome)
  }

  async #carryOutAlone({ item, since, resolve, reject }: Call<Item, Result>): Promise<void> {
    this.#alone++
    try {
      resolve(await this.#options.alone(item, since))
    } catch (error) {
      reject(error)
    }
    this.#alone--
  }
}
