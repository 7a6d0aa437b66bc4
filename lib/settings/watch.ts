/** The options of `app.sessions.watch()`, and their checks. */
import { type Check, checkAll, isNumberFrom, refuse } from './check.js'

/** Options of `app.sessions.watch()`. */
export interface WatchOptions {
  /** Seconds, at most, until what another process does is noticed. @default 30 */
  every?: number
  /** Ends the watch, when nothing needs it any more: a websocket has closed, say. */
  signal?: AbortSignal
}

const CHECKS: Record<keyof WatchOptions, Check> = {
  every: ['seconds from 0.01 to 86400', isNumberFrom(0.01, 86_400)],
  signal: ['an AbortSignal', (value) => value instanceof AbortSignal]
}

/** @throws InvalidOptions with all problems */
export function checkWatch(options: WatchOptions): void {
  refuse(checkAll(options, CHECKS))
}
