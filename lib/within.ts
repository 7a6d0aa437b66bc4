/** Bounds the wait for what others have to answer. */
import { StoreUnavailable } from './errors.js'

/**
 * @param timeout seconds
 * @param failure what is said when they have passed
 * @throws StoreUnavailable, or what the answer is rejected with
 */
export async function within<T>(answer: Promise<T>, timeout: number, failure: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const overdue = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new StoreUnavailable(`${failure} within ${timeout} seconds`)), timeout * 1000)
  })
  try {
    return await Promise.race([answer, overdue])
  } finally {
    clearTimeout(timer)
  }
}
