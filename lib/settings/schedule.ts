/** The option `clearExpired`: its type and its checks. */
import { Cron } from 'croner'
import type { ClearExpiredOptions } from '../contract.js'
import { ABORT_SIGNAL, type Check, checkAll, FUNCTION, isNumberFrom, isObject, refuse } from './check.js'
import { isDurationFrom } from './duration.js'

/** The option `clearExpired`: at intervals or by a cron expression. */
export type ClearExpiredSchedule = {
  /**
   * How long an expired session is kept, in seconds. It protects a session that a running
   * request or a server with a slow clock is renewing. @default 3600
   */
  grace?: number
} & (
  | {
      /** The time from the end of a run to the next, ±10 %: seconds, or a string such as '90s', '30m', '1h' or '1d'. */
      every: number | string
      cron?: never
    }
  | {
      /** A cron expression with five fields, or six with seconds, in the time zone of the process: '17 3 * * *'. */
      cron: string
      every?: never
    }
)

/** Whether a text is a cron expression that matches some time in the future. */
export function isCron(expression: string): boolean {
  try {
    const cron = new Cron(expression, { mode: '5-or-6-parts' })
    // Cron accepts a date as well, which has no pattern.
    return cron.getPattern() !== undefined && cron.nextRun() !== null
  } catch {
    return false
  }
}

const GRACE: Check = ['seconds from 0', isNumberFrom(0)]

const SCHEDULE_CHECKS: Record<keyof ClearExpiredSchedule, Check> = {
  every: ['seconds from 1, or a string such as "90s", "30m", "1h" or "1d"', isDurationFrom(1)],
  cron: [
    'a cron expression of five fields, or six with seconds, that matches at some time',
    (value) => typeof value === 'string' && isCron(value)
  ],
  grace: GRACE
}

/** Describes everything that is wrong with the option `clearExpired`. */
export function scheduleProblems(schedule: unknown): string[] {
  if (!isObject(schedule)) return []
  const problems = checkAll(schedule, SCHEDULE_CHECKS, 'clearExpired.')
  const given = ['every', 'cron'].filter((name) => schedule[name] !== undefined)
  if (given.length === 1) return problems
  return [...problems, `clearExpired: expected either every or cron, got ${given.length === 0 ? 'neither' : 'both'}`]
}

const CLEAR_EXPIRED_CHECKS: Record<keyof ClearExpiredOptions, Check> = {
  grace: GRACE,
  batchSize: ['a whole number from 1', (value) => Number.isInteger(value) && isNumberFrom(1)(value)],
  signal: ABORT_SIGNAL,
  onProgress: FUNCTION
}

/**
 * Checks the options of `app.sessions.clearExpired()`.
 *
 * @throws InvalidOptions with all problems
 */
export function checkClearExpired(options: ClearExpiredOptions): void {
  refuse(checkAll(options, CLEAR_EXPIRED_CHECKS))
}
