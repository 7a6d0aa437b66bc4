/** Compares the clocks of this machine and of the database. */
import { duration } from '../text.js'
import { type Finding, finding } from './finding.js'

/** Differences in seconds. Small ones are harmless. Five minutes are the limit in Kerberos (RFC 4120). */
const WARN_FROM = 5
const FAIL_FROM = 300

const PROBES = 5

export interface Probe {
  /** The duration of the query in milliseconds. */
  roundTrip: number
  /** The clock of the database minus the clock of this machine halfway through the query, in milliseconds. */
  ahead: number
}

/** Reads the clock of the database a few times and returns the quickest probe, which is the most exact one. Null for a database without a clock. */
export async function probeClock(readClock: () => Promise<Date | null>, clock: () => Date): Promise<Probe | null> {
  const probes: Probe[] = []
  while (probes.length < PROBES) {
    const before = clock().getTime()
    const there = await readClock()
    if (there === null) return null
    const roundTrip = clock().getTime() - before
    probes.push({ roundTrip, ahead: there.getTime() - before - roundTrip / 2 })
  }
  return probes.sort((left, right) => left.roundTrip - right.roundTrip)[0] as Probe
}

export function checkClock(probe: Probe | null): Finding {
  if (probe === null) return finding('ok', 'clock', 'the database runs in this process')
  const seconds = Math.abs(probe.ahead) / 1000
  const side = probe.ahead > 0 ? 'behind' : 'ahead of'
  if (seconds < WARN_FROM) {
    const tolerance = Math.max(1, Math.ceil(probe.roundTrip / 2))
    return finding(
      'ok',
      'clock',
      `${seconds.toFixed(1)} s ${side} the database, give or take ${tolerance} ms; up to ${WARN_FROM} s is harmless`
    )
  }
  return finding(
    seconds < FAIL_FROM ? 'warn' : 'fail',
    'clock',
    `this machine is ${duration(seconds)} ${side} the database: sessions end early or late. Set the clocks by NTP`
  )
}
