/** The loop in which the plugin removes expired sessions. */
import { Cron } from 'croner'
import type { ClearExpiredOptions, ClearExpiredReport, SessionLog } from '../contract.js'
import { parseDuration } from '../settings/duration.js'
import type { ClearExpiredSchedule } from '../settings/schedule.js'
import { pause } from '../timers.js'

/** Seconds. */
const DEFAULT_GRACE = 3600

/** Milliseconds: `setTimeout` takes longer ones as 1. */
const LONGEST_WAIT = 2 ** 31 - 1

/** Milliseconds by which a run comes later than its cron expression says, at most. */
const MAX_JITTER = 60_000

/** How many milliseconds to wait for each next run: not the same in all processes of an application, which often start together. */
function delays({ every, cron }: ClearExpiredSchedule, clock: () => Date, random: () => number): () => number {
  if (every !== undefined) {
    const milliseconds = parseDuration(every) * 1000
    let isFirst = true
    return () => {
      // Where processes live for a shorter time than that, one has its turn now and then.
      const factor = isFirst ? random() : 0.9 + random() * 0.2
      isFirst = false
      return Math.round(milliseconds * factor)
    }
  }
  const pattern = new Cron(cron, { mode: '5-or-6-parts' })
  let last = clock()
  return () => {
    const now = clock()
    // A timer may fire a little early, and the moment that it is for is still to come then.
    const [next, afterNext] = pattern.nextRuns(2, last > now ? last : now)
    if (next === undefined) return Number.POSITIVE_INFINITY
    last = next
    const gap = (afterNext?.getTime() ?? Number.POSITIVE_INFINITY) - next.getTime()
    return Math.round(next.getTime() - now.getTime() + random() * Math.min(gap / 10, MAX_JITTER))
  }
}

export interface ScheduleOptions {
  schedule: ClearExpiredSchedule
  clear(options: ClearExpiredOptions): Promise<ClearExpiredReport>
  log: SessionLog & { info(details: object, message: string): void }
  clock: () => Date
  /** @default Math.random */
  random?: () => number
  /** @default a timer that keeps no process alive */
  sleep?: (milliseconds: number, signal: AbortSignal) => Promise<unknown>
}

const sleepUnreferenced = (milliseconds: number, signal: AbortSignal) => pause(milliseconds, undefined, { ref: false, signal })

/** Runs one after another, from `start()` to `stop()`. */
export class Schedule {
  readonly #options: Required<ScheduleOptions>
  readonly #nextDelay: () => number
  readonly #stop = new AbortController()
  #ended: Promise<void> = Promise.resolve()

  constructor(options: ScheduleOptions) {
    this.#options = { random: Math.random, sleep: sleepUnreferenced, ...options }
    this.#nextDelay = delays(options.schedule, options.clock, this.#options.random)
  }

  start(): void {
    this.#ended = this.#loop()
  }

  /** Ends the wait for the next run at once, and a run after its batch. */
  async stop(): Promise<void> {
    this.#stop.abort()
    await this.#ended
  }

  async #loop(): Promise<void> {
    while (await this.#sleep(this.#nextDelay())) await this.#run()
  }

  /** False when it was stopped. */
  async #sleep(milliseconds: number): Promise<boolean> {
    const { signal } = this.#stop
    for (let left = milliseconds; left > 0 && !signal.aborted; left -= LONGEST_WAIT) {
      await this.#options.sleep(Math.min(left, LONGEST_WAIT), signal).catch(() => {})
    }
    return !signal.aborted
  }

  async #run(): Promise<void> {
    const { clear, log, schedule } = this.#options
    try {
      const report = await clear({ grace: schedule.grace ?? DEFAULT_GRACE, signal: this.#stop.signal })
      if (report.deleted > 0) log.info(report, 'Expired sessions were removed')
      else log.debug(report, report.skipped ? 'Another process removes expired sessions' : 'There were no expired sessions to remove')
    } catch (error) {
      log.warn({ err: error }, 'Expired sessions could not be removed: the next run tries again')
    }
  }
}
