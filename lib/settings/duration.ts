/** Durations in options: seconds as a number, or a string such as '90s', '30m', '1h' or '1d'. */
import { isNumberFrom } from './check.js'

const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400 }

/** Parses a duration to seconds. NaN for a value that is not one. */
export function parseDuration(value: unknown): number {
  if (typeof value === 'number') return value
  const [, count, unit] = /^(\d{1,9}) ?([smhd])$/.exec(String(value)) ?? []
  return Number(count) * SECONDS[unit as keyof typeof SECONDS]
}

/** Returns a check that a value is a duration within bounds, in seconds. */
export const isDurationFrom =
  (least: number, most?: number) =>
  (value: unknown): value is number | string =>
    (typeof value === 'number' || typeof value === 'string') && isNumberFrom(least, most)(parseDuration(value))
