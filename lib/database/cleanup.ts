/** Removes expired sessions in small batches, so that other statements do not wait for long. */
import type { ClearExpiredOptions, ClearExpiredReport } from '../contract.js'
import { monotonicNow, pause } from '../timers.js'
import type { SessionTable } from './session-table.js'
import { isOverdue } from './statement-error.js'

/** A batch aims to hold its locks no longer than this, where the size adapts. */
const TARGET_MILLISECONDS = 5

/**
 * Deletes what has expired at `now`, batch by batch, each in a transaction of its own.
 * Running it twice at once is harmless: the second one finds less to do.
 *
 * Each batch starts at what is now the oldest session. From the start of the index a
 * database would walk again and again over the entries of those that were deleted, which
 * stay there until they are cleaned up (VACUUM, purge), and behind a long transaction do so
 * for as long as that lasts.
 */
export async function clearExpired(table: SessionTable, now: Date, options: ClearExpiredOptions): Promise<ClearExpiredReport> {
  const { grace = 0, batchSize, signal, onProgress } = options
  const { initialBatchSize, adapts } = table.cleanup
  const before = new Date(now.getTime() - grace * 1000)
  const started = monotonicNow()
  let oldest = await table.oldestExpired(before)
  const backlogAge = oldest === null ? null : Math.round((now.getTime() - oldest.getTime()) / 1000)
  const report: ClearExpiredReport = { deleted: 0, batches: 0, milliseconds: 0, backlogAge }
  let size = batchSize ?? initialBatchSize
  while (oldest !== null && !signal?.aborted) {
    const from: Date = oldest
    const batch = await table.deleteExpired(from, before, size).catch((error) => smallerIfOverdue(error, size))
    if (typeof batch === 'number') {
      size = batch
      continue
    }
    if (batch === null) return { ...report, skipped: true }
    // Others hold what is left, to renew or to delete it.
    if (batch.deleted === 0) break
    report.deleted += batch.deleted
    report.batches += 1
    report.milliseconds = Math.round(monotonicNow() - started)
    await onProgress?.({ ...report })
    if (adapts && batchSize === undefined) size = fitted(size, batch.milliseconds)
    oldest = await table.oldestExpired(before, from)
    // Others get as much time as the batch took.
    if (oldest !== null) await pause(batch.milliseconds, undefined, { signal }).catch(() => {})
  }
  return report
}

/** The next size after a batch that took longer than its deadline. @throws any other error */
function smallerIfOverdue(error: unknown, size: number): number {
  if (isOverdue(error) && size > 1) return Math.ceil(size / 10)
  throw error
}

/** At most twice as large, since a batch that was fast may have found its pages in memory. */
function fitted(size: number, milliseconds: number): number {
  return Math.max(10, Math.round(size * Math.min(2, TARGET_MILLISECONDS / milliseconds)))
}
