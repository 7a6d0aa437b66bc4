/**
 * When a session ends: the arithmetic over the member `_session_expiry`, as in
 * `get_expiry_age`, `get_expiry_date` and `set_expiry` of
 * django/contrib/sessions/backends/base.py. Ages are seconds.
 */
export const EXPIRY_NAME = '_session_expiry'

/** Seconds of inactivity; 0 = until the browser closes; ISO 8601 text = a fixed moment; anything else = the setting `cookieAge`. */
export type StoredExpiry = unknown

/** Python's least and greatest datetime: another date in the table would break Django. */
const MIN_TIME = Date.parse('0001-01-01T00:00:00Z')
const MAX_TIME = Date.UTC(9999, 11, 31, 23, 59, 59)

/** What Python's `isoformat()` writes and its `fromisoformat()` reads in every version; without an offset it is UTC. */
const ISO = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d(?:\.\d{1,6})?)(Z|[+-]\d\d:\d\d)?$/

/** Whole seconds until the session ends, negative when it has ended. */
export function expiryAge(expiry: StoredExpiry, cookieAge: number, now: Date): number {
  const fixed = fixedDate(expiry)
  if (fixed !== null) return Math.floor((fixed.getTime() - now.getTime()) / 1000)
  return isAge(expiry) ? expiry : cookieAge
}

export function expiryDate(expiry: StoredExpiry, cookieAge: number, now: Date): Date {
  const fixed = fixedDate(expiry)
  if (fixed !== null) return fixed
  return new Date(Math.max(MIN_TIME, Math.min(now.getTime() + (isAge(expiry) ? expiry : cookieAge) * 1000, MAX_TIME)))
}

/** The moment of a session that ends at one, whatever is done with it; null for all others. */
export function fixedDate(expiry: StoredExpiry): Date | null {
  if (typeof expiry !== 'string') return null
  const found = ISO.exec(expiry)
  if (found === null) return null
  const time = Date.parse(`${found[1]}T${found[2]}${found[3] ?? 'Z'}`)
  return Number.isNaN(time) ? null : new Date(time)
}

/**
 * What is stored for `setExpiry(value)`: undefined for null.
 *
 * @throws TypeError when the value is none of number, Date and null, or outside the years 1 to 9999
 */
export function toStoredExpiry(value: number | Date | null, now: Date): number | string | undefined {
  if (value === null) return undefined
  if (typeof value === 'number' && isTime(now.getTime() + value * 1000)) return value
  // Python's fromisoformat() before 3.11 reads no Z, and a fraction of 3 or 6 digits.
  if (value instanceof Date && isTime(value.getTime())) return value.toISOString().replace('Z', '+00:00')
  throw new TypeError(`Expected setExpiry(value) to get a number of seconds, a Date in the years 1 to 9999, or null, got ${String(value)}`)
}

/** NaN is none. */
function isTime(time: number): boolean {
  return time >= MIN_TIME && time <= MAX_TIME
}

/** 0 is not an age here: it changes the cookie, not how long the row is kept. */
function isAge(expiry: StoredExpiry): expiry is number {
  return typeof expiry === 'number' && Number.isFinite(expiry) && expiry !== 0
}
