/** The option `timeouts`: its type, its presets and its checks. */
import { MAX_AGE } from '../django/expiry.js'
import { type Check, checkAll, isObject } from './check.js'
import { isDurationFrom, parseDuration } from './duration.js'
import type { SessionOptions } from './options.js'

/** The limits of a session's lifetime. Each is in seconds, or a string such as '90s', '30m', '1h' or '1d'. */
export interface TimeoutOptions {
  /**
   * The time without a request after which a session ends. It replaces `cookieAge`, and turns on
   * `saveEveryRequest` with a `touchAfter` of a twentieth of it. @default no limit but `cookieAge`
   */
  idle?: number | string
  /** The time from the login or the last re-authentication after which a session ends, however much it is used. @default no limit */
  absolute?: number | string
}

/** The timeouts of an assurance level of NIST SP 800-63B-4. A preset sets nothing else of that level. */
export type TimeoutPreset = 'nist-aal1' | 'nist-aal2' | 'nist-aal3'

/** Limits in seconds. */
export interface Timeouts {
  readonly idle?: number
  readonly absolute?: number
}

const HOUR = 3600

/** Two weeks, in seconds. Django's default of SESSION_COOKIE_AGE too. */
export const DEFAULT_COOKIE_AGE = 14 * 24 * HOUR

/** NIST SP 800-63B-4 §2.1.3, §2.2.3 and §2.3.3 (Reauthentication). */
const PRESETS: Record<TimeoutPreset, Timeouts> = {
  'nist-aal1': { absolute: 30 * 24 * HOUR },
  'nist-aal2': { idle: HOUR, absolute: 24 * HOUR },
  'nist-aal3': { idle: HOUR / 4, absolute: 12 * HOUR }
}

const isPreset = (value: unknown): value is TimeoutPreset => typeof value === 'string' && Object.hasOwn(PRESETS, value)

const LIMIT: Check = [`seconds from 1 to ${MAX_AGE} (400 days), or a string such as "90s", "30m", "1h" or "1d"`, isDurationFrom(1, MAX_AGE)]
const CHECKS: Record<keyof TimeoutOptions, Check> = { idle: LIMIT, absolute: LIMIT }

export const TIMEOUTS_CHECK: Check = [
  `an object with idle or absolute or both, or one of ${Object.keys(PRESETS).join(', ')}`,
  (value) => isPreset(value) || (isObject(value) && Object.values(value).some((limit) => limit !== undefined))
]

/** The limits in seconds, from an option that was checked. */
export function resolveTimeouts(option: SessionOptions['timeouts'] = {}): Timeouts {
  if (isPreset(option)) return PRESETS[option]
  const { idle, absolute } = option
  return Object.freeze({
    ...(idle !== undefined && { idle: parseDuration(idle) }),
    ...(absolute !== undefined && { absolute: parseDuration(absolute) })
  })
}

/** The defaults of other options with an idle timeout. */
export function timeoutDefaults({ idle }: Timeouts): Pick<SessionOptions, 'cookieAge' | 'saveEveryRequest' | 'touchAfter'> {
  return idle === undefined ? {} : { cookieAge: idle, saveEveryRequest: true, touchAfter: idle / 20 }
}

/** Describes everything that is wrong with the option, alone and in combination with others. */
export function timeoutProblems(options: SessionOptions): string[] {
  const { timeouts, cookieAge, saveEveryRequest, touchAfter } = options
  if (timeouts === undefined) return touchAfterProblems(options)
  if (!isPreset(timeouts) && !isObject(timeouts)) return []
  const problems = isPreset(timeouts) ? [] : checkAll(timeouts, CHECKS, 'timeouts.')
  if (problems.length > 0) return problems
  const { idle, absolute = MAX_AGE } = resolveTimeouts(timeouts)
  if (idle === undefined) return touchAfterProblems(options)
  const demand = (holds: boolean, problem: string) => (holds ? [] : [problem])
  return [
    ...demand(idle <= absolute, `timeouts.idle: expected no more than timeouts.absolute (${absolute} s), got ${idle} s`),
    ...demand(cookieAge === undefined, 'cookieAge: expected nothing beside timeouts.idle, which takes its place'),
    ...demand(saveEveryRequest !== false, 'saveEveryRequest: expected true or nothing beside timeouts.idle, got false'),
    ...demand(!(Number(touchAfter) >= idle), `touchAfter: expected less than timeouts.idle (${idle} s), got ${touchAfter}`)
  ]
}

/** Describes what is wrong with `touchAfter` where no idle timeout sets the rest. */
function touchAfterProblems({ cookieAge = DEFAULT_COOKIE_AGE, saveEveryRequest, touchAfter = 0 }: SessionOptions): string[] {
  if (!(touchAfter > 0)) return []
  if (!saveEveryRequest) {
    return ['touchAfter: expected saveEveryRequest: true or timeouts.idle with it, without which no request renews an unchanged session']
  }
  // Otherwise a session would end before its first renewal.
  return touchAfter >= cookieAge ? [`touchAfter: expected less than cookieAge (${cookieAge} s), got ${touchAfter}`] : []
}
