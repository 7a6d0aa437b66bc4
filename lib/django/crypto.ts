/** Port of what sessions and logins need of django/utils/crypto.py. */
import { timingSafeEqual } from 'node:crypto'

/** Whether two strings are equal, in a time that depends on their lengths only (`constant_time_compare`). */
export function constantTimeCompare(left: string, right: string): boolean {
  const [first, second] = [Buffer.from(left), Buffer.from(right)]
  return first.length === second.length && timingSafeEqual(first, second)
}
