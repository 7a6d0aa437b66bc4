/**
 * Sends together all that is asked for in one turn of the event loop, or while as many
 * batches as allowed are under way. There is no timer: a lone call leaves at the end
 * of its turn. A batcher knows nothing of the statements that it sends.
 */
import { AsyncResource } from 'node:async_hooks'
import { type Deadline, hasPassed } from '../deadline.js'
import { batches, served, type TracedOperation } from '../events.js'
import { setImmediate } from '../timers.js'

export interface BatcherOptions<Item, Result> {
  /** Carries out one item. */
  alone: (item: Item, deadline: Deadline) => Promise<Result>
  /** Carries out several, and returns a result for each, in their order. The deadline is that of the item with the most time left. */
  together: (items: readonly Item[], deadline: Deadline) => Promise<readonly Result[]>
  /** Whether an error of `together` says that nothing was done: then each item is tried alone, once. Any other error fails all of them. */
  isRefused: (error: unknown) => boolean
  /** The error of an item whose deadline has passed before it was sent. */
  timedOut: () => Error
  /** Items with the same key are never in one batch: the later one waits for the next. */
  keyOf?: (item: Item) => string
  /** Items in a batch. */
  maxSize: number
  /** Batches under way, a lone call included. */
  maxUnderWay: number
  /**
   * Results handed out in one turn of the event loop. Callers that have theirs may ask again before the others do:
   * otherwise all would come back at once, into one batch, and the process would be idle while it is under way.
   *
   * @default all of a batch
   */
  resultsPerTurn?: number
}

/** A class, since V8 makes literals that live for some time in its old generation, where they keep alive what they refer to. */
class Call<Item, Result> {
  readonly item: Item
  readonly deadline: Deadline
  readonly resolve: (result: Result) => void
  readonly reject: (error: unknown) => void
  /** The operations that ask for it, if they are traced. */
  readonly operations: readonly TracedOperation[] | undefined = served.getStore()

  constructor(item: Item, deadline: Deadline, resolve: (result: Result) => void, reject: (error: unknown) => void) {
    this.item = item
    this.deadline = deadline
    this.resolve = resolve
    this.reject = reject
  }
}

export class Batcher<Item, Result> {
  readonly #options: BatcherOptions<Item, Result>
  /** A batch belongs to no request: it must not run in the async context of its first caller. */
  readonly #sendNext = AsyncResource.bind(() => this.#send(this.#take()))
  #waiting: Call<Item, Result>[] = []
  #underWay = 0
  #isScheduled = false

  constructor(options: BatcherOptions<Item, Result>) {
    this.#options = options
  }

  add(item: Item, deadline: Deadline): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#waiting.push(new Call(item, deadline, resolve, reject))
      this.#schedule()
    })
  }

  #schedule(): void {
    if (this.#isScheduled || this.#waiting.length === 0 || this.#underWay >= this.#options.maxUnderWay) return
    this.#isScheduled = true
    // After the I/O of this turn, which may bring more.
    setImmediate(() => {
      this.#isScheduled = false
      this.#rejectTimedOut()
      if (this.#waiting.length > 0) this.#sendNext()
      this.#schedule()
    })
  }

  #rejectTimedOut(): void {
    this.#waiting = this.#waiting.filter(({ deadline, reject }) => {
      const isLate = hasPassed(deadline)
      if (isLate) reject(this.#options.timedOut())
      return !isLate
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

  async #send(calls: readonly Call<Item, Result>[]): Promise<void> {
    this.#underWay++
    if (calls.length === 1) await this.#sendAlone(calls[0] as Call<Item, Result>)
    else if (calls.some(({ operations }) => operations !== undefined)) await this.#trace(calls)
    else await this.#sendTogether(calls)
    this.#underWay--
    this.#schedule()
  }

  #trace(calls: readonly Call<Item, Result>[]): Promise<void> {
    const operations = calls.flatMap(({ operations }) => operations ?? [])
    for (const operation of operations) operation.batchSize = calls.length
    return batches.tracePromise(() => served.run(operations, () => this.#sendTogether(calls)), { operations })
  }

  #traceAlone(operations: readonly TracedOperation[], send: () => Promise<Result>): Promise<Result> {
    // After a refused batch as well.
    for (const operation of operations) operation.batchSize = 1
    return served.run(operations, send)
  }

  async #sendTogether(calls: readonly Call<Item, Result>[]): Promise<void> {
    const { together, isRefused } = this.#options
    try {
      const items = calls.map(({ item }) => item)
      const results = await together(items, Math.max(...calls.map(({ deadline }) => deadline)))
      this.#handOut(calls, results)
    } catch (error) {
      for (const call of calls) {
        if (isRefused(error)) this.#sendAlone(call)
        else call.reject(error)
      }
    }
  }

  #handOut(calls: readonly Call<Item, Result>[], results: readonly Result[]): void {
    const { resultsPerTurn = calls.length } = this.#options
    for (const [index, call] of calls.slice(0, resultsPerTurn).entries()) call.resolve(results[index] as Result)
    if (calls.length > resultsPerTurn) setImmediate(() => this.#handOut(calls.slice(resultsPerTurn), results.slice(resultsPerTurn)))
  }

  async #sendAlone({ item, deadline, resolve, reject, operations }: Call<Item, Result>): Promise<void> {
    const { alone } = this.#options
    try {
      resolve(await (operations === undefined ? alone(item, deadline) : this.#traceAlone(operations, () => alone(item, deadline))))
    } catch (error) {
      reject(error)
    }
  }
}
