/**
 * Node's timers, taken from its modules when the package is loaded. Fake timers of test
 * runners (jest, vitest, sinon, node:test) replace the globals. Timeouts of a real database
 * must not depend on them. Sessions get the time from the option `clock`.
 */
import { performance } from 'node:perf_hooks'
import * as timers from 'node:timers'
import * as promises from 'node:timers/promises'

export const { setTimeout, clearTimeout, setImmediate } = timers

/** Resolves after a number of milliseconds. */
export const pause = promises.setTimeout

/** The same, with a timer that keeps no process alive. Rejects when `signal` is aborted. */
export const pauseUnreferenced = (milliseconds: number, signal: AbortSignal) => pause(milliseconds, undefined, { ref: false, signal })

/** The time of a monotonic clock, in milliseconds. */
export const monotonicNow = performance.now.bind(performance)
