/** Checks that expired sessions are removed regularly. */
import { counted, duration } from '../text.js'
import { type Finding, finding } from './finding.js'

/** The age of a backlog in seconds. Two days allow a daily clearsessions to fail once. */
const WARN_FROM = 2 * 86_400

export function checkExpired({ count, oldest }: { count: number; oldest: Date | null }, now: Date): Finding {
  if (oldest === null) return finding('ok', 'expired', 'no expired sessions are left')
  const seconds = (now.getTime() - oldest.getTime()) / 1000
  const backlog = `${counted(count, 'expired session')}, the oldest expired ${duration(seconds)} ago`
  if (seconds < WARN_FROM) return finding('ok', 'expired', backlog)
  return finding('warn', 'expired', `${backlog}: run clearsessions daily`)
}
