/** Checks of the newest rows. They show whether the secret key is right, and settings of a Django that writes to the table. */
import { EXPIRY_NAME, expiryAge, fixedDate } from '../../django/expiry.js'
import { DEFAULT_COOKIE_AGE } from '../../settings/timeouts.js'
import type { Reading } from '../store.js'
import { duration } from '../text.js'
import { type Finding, finding } from './finding.js'

/** Offsets of time zones, in seconds, are multiples of a quarter of an hour, and at most 14 hours. */
const QUARTER = 900
const MAX_OFFSET = 14 * 3600

export function checkRows(readings: readonly Reading[], hasTimeZones: boolean): Finding[] {
  if (readings.length === 0) return [finding('ok', 'signatures', 'there are no sessions yet to check the secret key with')]
  return [checkSignatures(readings), ...checkData(readings), ...checkFixedDates(readings), checkTimeZone(readings, hasTimeZones)]
}

function checkSignatures(readings: readonly Reading[]): Finding {
  const signed = readings.filter(({ signedAt }) => signedAt !== null)
  const fallbacks = signed.filter(({ byFallback }) => byFallback).length
  const counts = `${signed.length} of the newest ${readings.length} sessions ${signed.length === 1 ? 'is' : 'are'} signed with this secret key`
  if (signed.length === 0) return finding('fail', 'signatures', `${counts}: set SECRET_KEY to the key of the site`)
  if (signed.length < readings.length) {
    return finding('warn', 'signatures', `${counts}: the others were signed with a former key, or by a SessionStore of another name`)
  }
  return finding('ok', 'signatures', fallbacks === 0 ? counts : `${counts}, or with its fallbacks (${fallbacks})`)
}

function checkData(readings: readonly Reading[]): Finding[] {
  const unreadable = readings.filter(({ signedAt, members }) => signedAt !== null && members === null).length
  if (unreadable === 0) return []
  return [
    finding(
      'fail',
      'data',
      `${unreadable} of the newest ${readings.length} do not contain JSON: set Django's SESSION_SERIALIZER to its JSONSerializer`
    )
  ]
}

function checkFixedDates(readings: readonly Reading[]): Finding[] {
  const fixed = readings.filter((reading) => fixedDate(expiryOf(reading)) !== null).length
  if (fixed === 0) return []
  return [
    finding(
      'warn',
      'fixed dates',
      `${fixed} of the newest ${readings.length} end at a fixed date, which Django can read from version 4.1 on: older versions fail`
    )
  ]
}

/**
 * Detects a Django with USE_TZ = False, which writes local time to a column without time
 * zone. The expire_date of such a row differs from its signature plus its age by the offset.
 */
function checkTimeZone(readings: readonly Reading[], hasTimeZones: boolean): Finding {
  if (hasTimeZones) return finding('ok', 'time zone', 'dates are kept with their time zone')
  const [offset, count] = commonOffset(readings.map(offsetOf))
  // A single row may be a coincidence: a session that was renewed just so much later.
  if (count < 2) return finding('ok', 'time zone', 'dates look like UTC. A Django that shares the table needs USE_TZ = True')
  const direction = offset > 0 ? 'later' : 'earlier'
  return finding(
    'warn',
    'time zone',
    `${count} of the newest ${readings.length} end ${duration(offset)} ${direction} than their age says: if Django writes them, set USE_TZ = True`
  )
}

/** The difference between a row's date and its age in seconds, if it looks like a time zone, or else 0. */
function offsetOf(reading: Reading): number {
  const { signedAt, row } = reading
  const expiry = expiryOf(reading)
  if (signedAt === null || fixedDate(expiry) !== null) return 0
  const seconds = (row.expireDate.getTime() - signedAt.getTime()) / 1000 - expiryAge(expiry, DEFAULT_COOKIE_AGE, signedAt)
  const offset = Math.round(seconds / QUARTER) * QUARTER
  // Two seconds of tolerance: the signature has whole seconds, and is made shortly before or after the date.
  return Math.abs(seconds - offset) <= 2 && Math.abs(offset) <= MAX_OFFSET ? offset : 0
}

/** The most frequent offset other than 0, and its number of rows. */
function commonOffset(offsets: readonly number[]): [offset: number, count: number] {
  const counts = new Map<number, number>()
  for (const offset of offsets) if (offset !== 0) counts.set(offset, (counts.get(offset) ?? 0) + 1)
  return Array.from(counts).sort((left, right) => right[1] - left[1])[0] ?? [0, 0]
}

function expiryOf({ members }: Reading): unknown {
  return members?.get(EXPIRY_NAME)?.value
}
