/**
 * Node's timers, taken from its modules once, when the package is loaded. Fake timers of
 * test runners (jest, vitest, sinon, node:test) replace the globals: a database that
 * answers in real time would be waited for by a clock that stands still. The time of
 * sessions is the option `clock`.
 */
import { performance } from 'node:perf_hooks'
import * as timers from 'node:timers'
import * as promises from 'node:timers/promises'

export const { setTimeout, clearTimeout, setImmediate } = timers

/** Resolves after so many milliseconds. */
export const pause = promises.setTimeout

/** Milliseconds on a clock that never goes back. */
export const monotonicNow = performance.now.bind(performance)
