/** The options of `app.sessions.watch()`, and their checks. */
import { ABORT_SIGNAL, type Check, checkAll, isNumberFrom, refuse } from './check.js'

/** Options of `app.sessions.watch()`. */
export interface WatchOptions {
  /** The interval in seconds at which the store is checked for what other processes did. @default 30 */
  every?: number
  /** Ends the watch when it is no longer needed, for example because a websocket has closed. */
  signal?: AbortSignal
}

const CHECKS: Record<keyof WatchOptions, Check> = {
  every: ['seconds from 0.01 to 86400', isNumberFrom(0.01, 86_400)],
  signal: ABORT_SIGNAL
}

/** Checks the options of `app.sessions.watch()`. @throws InvalidOptions with all problems */
export function checkWatch(options: WatchOptions): void {
  refuse(checkAll(options, CHECKS))
}
