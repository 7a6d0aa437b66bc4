/**
 * Combines calls into batches: those of one turn of the event loop, and those that arrive
 * while as many batches as allowed are under way. No call waits for others to come: a lone call is sent
 * at the end of its turn.
 */
import { AsyncResource } from 'node:async_hooks'
import { type Deadline, hasPassed } from '../deadline.js'
import { batches, served, type TracedOperation } from '../events.js'
import { monotonicNow, setImmediate, setTimeout } from '../timers.js'

export interface BatcherOptions<Item, Result> {
  /** Carries out one item. */
  alone: (item: Item, deadline: Deadline) => Promise<Result>
  /** Carries out several items, and returns their results in the same order. The deadline is the latest of their deadlines. */
  together: (items: readonly Item[], deadline: Deadline) => Promise<readonly Result[]>
  /** Whether an error of `together` means that nothing was done. Then each item is tried alone, once. Any other error fails all of them. */
  isRefused: (error: unknown) => boolean
  /** The error of an item whose deadline has passed. @param wasSent whether it may have been carried out */
  timedOut: (wasSent: boolean) => Error
  /** Items with the same key are never in one batch: the later one waits for the next. */
  keyOf?: (item: Item) => string
  /** The largest number of items in a batch. */
  maxSize: number
  /** The largest number of batches under way, including lone calls. */
  maxUnderWay: number
  /**
   * The number of results that are handed out in one turn of the event loop. It spreads the callers' next calls over
   * several batches. Otherwise all would be in one batch, and the process idle while that is under way.
   *
   * @default all results of a batch
   */
  resultsPerTurn?: number
}

/** How often overdue calls are looked for, in milliseconds. It spares each call a timer. */
const LOOK_EVERY = 50

/** Milliseconds in which a call that was sent may still end by itself. Its own error says more. */
const GRACE = 50

/** A waiting call. A class, since V8 allocates long-lived object literals in the old generation, where they keep alive what they refer to. */
class Call<Item, Result> {
  readonly item: Item
  readonly deadline: Deadline
  readonly resolve: (result: Result) => void
  readonly reject: (error: unknown) => void
  /** Whether it was rejected, as its deadline has passed. */
  isOverdue = false
  /** The traced operations that made the call, if there are any. */
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
  /** Bound, because a batch belongs to no request: it must not run in the async context of its first caller. */
  readonly #sendNext = AsyncResource.bind(() => this.#send(this.#take()))
  #waiting: Call<Item, Result>[] = []
  readonly #underWay = new Set<readonly Call<Item, Result>[]>()
  #isScheduled = false
  #isWatched = false

  constructor(options: BatcherOptions<Item, Result>) {
    this.#options = options
  }

  add(item: Item, deadline: Deadline): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#waiting.push(new Call(item, deadline, resolve, reject))
      this.#schedule()
      if (!this.#isWatched) this.#watch()
    })
  }

  #schedule(): void {
    if (this.#isScheduled || this.#waiting.length === 0 || this.#underWay.size >= this.#options.maxUnderWay) return
    this.#isScheduled = true
    // Runs after the I/O of this turn, which may bring more calls.
    setImmediate(() => {
      this.#isScheduled = false
      this.#waiting = this.#rejectOverdue(this.#waiting, false)
      if (this.#waiting.length > 0) this.#sendNext()
      this.#schedule()
    })
  }

  /** Rejects calls whose deadline passes long before that of their batch, or while they wait for earlier batches. Bound, as `#sendNext` is. */
  readonly #watch = AsyncResource.bind(() => {
    this.#isWatched = true
    // After the I/O of this turn, which may bring the answer.
    const look = () => setImmediate(this.#rejectAllOverdue)
    setTimeout(look, LOOK_EVERY).unref()
  })

  readonly #rejectAllOverdue = () => {
    this.#isWatched = false
    this.#waiting = this.#rejectOverdue(this.#waiting, false)
    for (const calls of this.#underWay) this.#rejectOverdue(calls, true)
    if (this.#waiting.length > 0 || this.#underWay.size > 0) this.#watch()
  }

  /** Rejects overdue calls, and returns the others. */
  #rejectOverdue(calls: readonly Call<Item, Result>[], wereSent: boolean): Call<Item, Result>[] {
    const now = monotonicNow() - (wereSent ? GRACE : 0)
    return calls.filter((call) => {
      if (call.isOverdue) return false
      call.isOverdue = hasPassed(call.deadline, now)
      if (call.isOverdue) call.reject(this.#options.timedOut(wereSent))
      return !call.isOverdue
    })
  }

  /** Takes the calls of the next batch, in order of arrival. */
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
    this.#underWay.add(calls)
    this.#carryOut(calls).then(() => {
      this.#underWay.delete(calls)
      this.#schedule()
    })
  }

  #carryOut(calls: readonly Call<Item, Result>[]): Promise<void> {
    if (calls.length === 1) return this.#sendAlone(calls[0] as Call<Item, Result>)
    return calls.some(({ operations }) => operations !== undefined) ? this.#trace(calls) : this.#sendTogether(calls)
  }

  #trace(calls: readonly Call<Item, Result>[]): Promise<void> {
    const operations = calls.flatMap(({ operations }) => operations ?? [])
    for (const operation of operations) operation.batchSize = calls.length
    return batches.tracePromise(() => served.run(operations, () => this.#sendTogether(calls)), { operations })
  }

  #traceAlone(operations: readonly TracedOperation[], send: () => Promise<Result>): Promise<Result> {
    // A refused batch has set another size before.
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
