/** Calls of an engine, which may be the application's own. */
import { type Deadline, withDeadline } from '../deadline.js'
import { StoreUnavailable } from '../errors.js'
import type { SessionContext } from './saving.js'
import { started } from './started.js'

/**
 * The time after its deadline in which a call may still end by itself, in milliseconds. Its own error
 * says more than the one of the timeout.
 */
const GRACE = 100

/**
 * Waits for what the engine does until shortly after the deadline. Does not watch the time of an engine that keeps its
 * deadlines: a timer and two promises are 2 % of a request.
 *
 * @throws StoreUnavailable if it has not ended by then; or the error of the engine
 */
export function callEngine<T>({ keepsDeadlines }: SessionContext, deadline: Deadline, work: () => Promise<T>): Promise<T> {
  const working = started(work)
  if (keepsDeadlines) return working
  return withDeadline(working, deadline + GRACE, () => new StoreUnavailable('the store gave no answer in time'))
}
