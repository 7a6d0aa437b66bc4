/** Removes expired sessions on a schedule. */
import { Cron } from 'croner'
import type { ClearExpiredOptions, ClearExpiredReport, SessionLog } from '../contract.js'
import { parseDuration } from '../settings/duration.js'
import type { ClearExpiredSchedule } from '../settings/schedule.js'
import { pauseUnreferenced } from '../timers.js'

/** How long a session has been expired for when a scheduled run removes it, in seconds. */
const DEFAULT_GRACE = 3600

/** The longest delay of `setTimeout`, in milliseconds. It treats a longer one as 1. */
const LONGEST_WAIT = 2 ** 31 - 1

/** The longest random delay of a run after the time in its cron expression, in milliseconds. */
const MAX_JITTER = 60_000

/** Returns a function that gives the milliseconds until the next run, with jitter: the processes of an application often start together. */
function delays({ every, cron }: ClearExpiredSchedule, clock: () => Date, random: () => number): () => number {
  if (every !== undefined) {
    const milliseconds = parseDuration(every) * 1000
    let isFirst = true
    return () => {
      // From 0, so that processes that live shorter than the interval also run it now and then.
      const factor = isFirst ? random() : 0.9 + random() * 0.2
      isFirst = false
      return Math.round(milliseconds * factor)
    }
  }
  const pattern = new Cron(cron, { mode: '5-or-6-parts' })
  let last = clock()
  return () => {
    const now = clock()
    // A timer may fire slightly early. Counting from the last planned run keeps that run from being planned twice.
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

/** Cleanup runs, one at a time, from `start()` to `stop()`. */
export class Schedule {
  readonly #options: Required<ScheduleOptions>
  readonly #nextDelay: () => number
  readonly #stop = new AbortController()
  #ended: Promise<void> = Promise.resolve()

  constructor(options: ScheduleOptions) {
    this.#options = { random: Math.random, sleep: pauseUnreferenced, ...options }
    this.#nextDelay = delays(options.schedule, options.clock, this.#options.random)
  }

  start(): void {
    this.#ended = this.#loop()
  }

  /** Ends the wait for the next run at once. A run under way ends after its current batch. */
  async stop(): Promise<void> {
    this.#stop.abort()
    await this.#ended
  }

  async #loop(): Promise<void> {
    while (await this.#sleep(this.#nextDelay())) await this.#run()
  }

  /** Returns false if the schedule was stopped. */
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
      else log.debug(report, report.skipped ? 'Another process is removing expired sessions' : 'There were no expired sessions to remove')
    } catch (error) {
      log.warn({ err: error }, 'Expired sessions could not be removed: the next run will try again')
    }
  }
}
