/** The option `clearExpired`: when the plugin removes expired sessions. */
import { Cron } from 'croner'

/** The option `clearExpired`: at intervals or by a cron expression. */
export type ClearExpiredSchedule = {
  /**
   * Seconds: sessions that ended later are left for the next run, so that neither a request
   * under way nor a server whose clock is late loses one that it renews. @default 3600
   */
  grace?: number
} & (
  | {
      /** The time from the end of one run to the next, 10 % more or less: seconds, or a string such as '90s', '30m', '1h' or '1d'. */
      every: number | string
      cron?: never
    }
  | {
      /** A cron expression with five fields, or six with seconds, in the time zone of the process: '17 3 * * *'. */
      cron: string
      every?: never
    }
)

const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400 }

/** Seconds of '90s', '30m', '1h' or '1d'; numbers are seconds. NaN for anything else. */
export function parseDuration(value: unknown): number {
  if (typeof value === 'number') return value
  const [, count, unit] = /^(\d{1,9}) ?([smhd])$/.exec(String(value)) ?? []
  return Number(count) * SECONDS[unit as keyof typeof SECONDS]
}

/** Whether there is a moment that the expression matches. */
export function isCron(expression: string): boolean {
  try {
    const cron = new Cron(expression, { mode: '5-or-6-parts' })
    // A date has no pattern.
    return cron.getPattern() !== undefined && cron.nextRun() !== null
  } catch {
    return false
  }
}
