/**
 * The end of a session, calculated from its member `_session_expiry`: port of
 * `get_expiry_age`, `get_expiry_date` and `set_expiry` in
 * django/contrib/sessions/backends/base.py. Ages are in seconds.
 */
import { types } from 'node:util'
import { kindOf } from '../kind-of.js'

export const EXPIRY_NAME = '_session_expiry'

/** Seconds of inactivity, 0 (until the browser closes) or an ISO 8601 string (a fixed date). Any other value means the setting `cookieAge`. */
export type StoredExpiry = unknown

/** The longest lifetime in seconds: browsers keep no cookie for longer than 400 days (RFC 6265bis §5.5). */
export const MAX_AGE = 34_560_000

/** The range of MySQL's DATETIME, which lies within that of Python's datetime. Django cannot read other dates. */
const MIN_TIME = Date.UTC(1000, 0, 1)
const MAX_TIME = Date.UTC(9999, 11, 31, 23, 59, 59)

/** About 950 years, which keep the date within that range. Django stores ages beyond MAX_AGE too. */
const MAX_STORED_AGE = 30_000_000_000

/** The format that Python's `isoformat()` writes and every version of `fromisoformat()` reads. A date without offset is in UTC. */
const ISO = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d(?:\.\d{1,6})?)(Z|[+-]\d\d:\d\d)?$/

/** Whole seconds until the session ends. Negative if it has ended. */
export function expiryAge(expiry: StoredExpiry, cookieAge: number, now: Date): number {
  const fixed = fixedDate(expiry)
  if (fixed !== null) return Math.floor((fixed.getTime() - now.getTime()) / 1000)
  return isAge(expiry) ? expiry : cookieAge
}

/**
 * The end of a session that is saved now.
 *
 * @param idle the longest age in seconds, whatever was stored
 */
export function expiryDate(expiry: StoredExpiry, cookieAge: number, now: Date, idle?: number): Date {
  const date = fixedDate(expiry) ?? new Date(now.getTime() + (isAge(expiry) ? expiry : cookieAge) * 1000)
  if (idle === undefined) return date
  const latest = new Date(now.getTime() + idle * 1000)
  return latest < date ? latest : date
}

/** Whether a session that is saved now has ended already. */
export function hasEnded(expiry: StoredExpiry, now: () => Date): boolean {
  const fixed = fixedDate(expiry)
  return fixed === null ? isAge(expiry) && expiry < 0 : fixed.getTime() <= now().getTime()
}

/** The end of a session with a fixed date. Null if the end depends on the time of the last save. */
export function fixedDate(expiry: StoredExpiry): Date | null {
  if (typeof expiry !== 'string') return null
  const found = ISO.exec(expiry)
  if (found === null) return null
  const time = Date.parse(`${found[1]}T${found[2]}${found[3] ?? 'Z'}`)
  return isStorable(time) ? new Date(time) : null
}

/**
 * Converts the argument of `setExpiry` to its stored form. Undefined for null.
 *
 * @throws TypeError unless the value is 0, seconds from 1 to MAX_AGE, a Date at most MAX_AGE after `now`, or null
 */
export function toStoredExpiry(value: number | Date | null, now: Date): number | string | undefined {
  if (value === null) return undefined
  if (typeof value === 'number' && (value === 0 || (value >= 1 && value <= MAX_AGE))) return value
  if (types.isDate(value) && isStorable(value.getTime()) && value.getTime() <= now.getTime() + MAX_AGE * 1000) {
    // Before Python 3.11, fromisoformat() reads neither Z nor fractions other than 3 or 6 digits.
    return value.toISOString().replace('Z', '+00:00')
  }
  throw new TypeError(
    `Expected setExpiry(value) to get seconds from 1 to ${MAX_AGE} (400 days, the most that browsers keep a cookie), 0 (until the browser closes), a Date no more than 400 days from now, or null (the setting cookieAge), got ${received(value)}`
  )
}

/** Describes a wrong argument. Only numbers are shown. */
function received(value: unknown): string {
  if (typeof value === 'number') return value > MAX_AGE && value / 1000 <= MAX_AGE ? `${value}: are these milliseconds?` : String(value)
  if (!types.isDate(value)) return kindOf(value)
  if (Number.isNaN(value.getTime())) return 'an invalid Date'
  return isStorable(value.getTime()) ? 'a Date further away' : 'a Date outside the years 1000 to 9999'
}

/** Whether the database and Django can store a time in milliseconds. False for NaN. */
function isStorable(time: number): boolean {
  return time >= MIN_TIME && time <= MAX_TIME
}

/** Whether a value is a usable number of seconds. 0 is not: it changes only the cookie, and the row is kept for `cookieAge`. */
function isAge(expiry: StoredExpiry): expiry is number {
  return typeof expiry === 'number' && expiry !== 0 && Math.abs(expiry) <= MAX_STORED_AGE
}
