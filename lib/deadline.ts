/**
 * Deadlines. An operation of a session sets its deadline when it is called, and passes it on to
 * everything that it waits for: its mutex, the engine, a connection, the database.
 */
import { clearTimeout, monotonicNow, setImmediate, setTimeout } from './timers.js'

/** The moment by which an operation has to end, in milliseconds of `performance.now()`. */
export type Deadline = number

export function deadlineIn(seconds: number): Deadline {
  return monotonicNow() + seconds * 1000
}

export function hasPassed(deadline: Deadline, now = monotonicNow()): boolean {
  return now >= deadline
}

/** The moment that leaves half of the time that is left until a deadline. */
export function halfwayTo(deadline: Deadline): Deadline {
  return (monotonicNow() + deadline) / 2
}

/**
 * Settles as `answer` does, unless the deadline passes first. Then the answer is abandoned: its operation continues, but
 * nothing waits for it any more.
 *
 * @param timedOut called once the deadline has passed, for the error
 * @throws the error of `timedOut`, or that of the answer
 */
export function withDeadline<T>(answer: Promise<T>, deadline: Deadline, timedOut: () => Error): Promise<T> {
  return new Promise((resolve, reject) => {
    let hasSettled = false
    // Node.js polls for I/O after timers and before immediates. So an answer that arrived while the event loop was
    // blocked is still in time.
    const timer = setTimeout(() => setImmediate(() => hasSettled || reject(timedOut())), Math.max(0, deadline - monotonicNow()))
    const settle = () => {
      hasSettled = true
      clearTimeout(timer)
    }
    answer.then(
      (value) => {
        settle()
        resolve(value)
      },
      (error) => {
        settle()
        reject(error)
      }
    )
  })
}
