/**
 * Bounds the wait for what others have to answer. One timer serves all waits, since most
 * end sooner than it takes to make one of their own. It goes on when they have ended, and
 * keeps no process alive then.
 */
import { clearTimeout, monotonicNow, setTimeout } from './timers.js'

interface Wait {
  /** In milliseconds of `performance.now()`. */
  due: number
  expire(): void
}

const nothing = () => {}
const waits = new Set<Wait>()
let timer: NodeJS.Timeout | undefined
let timerDue = Number.POSITIVE_INFINITY

/**
 * @param timeout seconds
 * @param overdue called when they have passed, for the error
 * @param since when the wait began, in milliseconds of `performance.now()`
 * @throws what `overdue` makes, or what the answer is rejected with
 */
export function within<T>(answer: Promise<T>, timeout: number, overdue: () => Error, since = monotonicNow()): Promise<T> {
  return new Promise((resolve, reject) => {
    const wait = { due: since + timeout * 1000, expire: () => reject(overdue()) }
    waits.add(wait)
    if (wait.due < timerDue) setTimer(wait.due)
    else timer?.ref()
    answer.then(
      (value) => {
        end(wait)
        resolve(value)
      },
      (error) => {
        end(wait)
        reject(error)
      }
    )
  })
}

function end(wait: Wait): void {
  waits.delete(wait)
  // Tables that a Set has outgrown hold it until the next great collection, and with it the answer.
  wait.expire = nothing
  if (waits.size === 0) timer?.unref()
}

function setTimer(due: number): void {
  clearTimeout(timer)
  timerDue = due
  timer = setTimeout(expire, Math.max(due - monotonicNow(), 0))
}

function expire(): void {
  timerDue = Number.POSITIVE_INFINITY
  const now = monotonicNow()
  let next = Number.POSITIVE_INFINITY
  for (const wait of waits) {
    if (wait.due > now) {
      next = Math.min(next, wait.due)
    } else {
      waits.delete(wait)
      wait.expire()
    }
  }
  if (waits.size > 0) setTimer(next)
}
