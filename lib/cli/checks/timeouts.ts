/** Compares the newest rows with the timeouts of the application: a Django beside it has an age of its own. */
import { absoluteEnd } from '../../session/timeouts.js'
import type { Timeouts } from '../../settings/timeouts.js'
import type { Reading } from '../store.js'
import { duration } from '../text.js'
import { type Finding, finding } from './finding.js'

/** Seconds by which clocks may differ without harm. */
const TOLERANCE = 5

export function checkTimeouts(readings: readonly Reading[], timeouts: Timeouts, now: Date): Finding[] {
  if (readings.length === 0) return []
  return [...checkIdle(readings, timeouts, now), ...checkAbsolute(readings, timeouts, now)]
}

function checkIdle(readings: readonly Reading[], { idle }: Timeouts, now: Date): Finding[] {
  if (idle === undefined) return []
  const latest = new Date(now.getTime() + (idle + TOLERANCE) * 1000)
  const longer = readings.filter(({ row }) => row.expireDate > latest).length
  if (longer === 0)
    return [finding('ok', 'idle timeout', `none of the newest ${readings.length} sessions ends later than in ${duration(idle)}`)]
  const remedy = `if Django writes them, set SESSION_COOKIE_AGE = ${idle} and SESSION_SAVE_EVERY_REQUEST = True`
  return [
    finding('warn', 'idle timeout', `${longer} of the newest ${readings.length} sessions end later than in ${duration(idle)}: ${remedy}`)
  ]
}

function checkAbsolute(readings: readonly Reading[], { absolute }: Timeouts, now: Date): Finding[] {
  if (absolute === undefined) return []
  const ends = readings.map(({ members, row }) => ({ row, end: members && absoluteEnd(members, absolute, now) }))
  const longer = ends.filter(({ row, end }) => end !== null && row.expireDate.getTime() > end.getTime() + TOLERANCE * 1000).length
  const unknown = ends.filter(({ end }) => end === null).length
  const rest = unknown === 0 ? '' : `; the age of ${unknown} is unknown until they are saved here`
  if (longer === 0) return [finding('ok', 'absolute timeout', `none of the newest ${readings.length} sessions outlasts it${rest}`)]
  const consequence = 'they end here in time, but on the pages of a Django that shares the table they go on'
  return [
    finding(
      'warn',
      'absolute timeout',
      `${longer} of the newest ${readings.length} sessions have rows that outlast it: ${consequence}${rest}`
    )
  ]
}
