/** Removes expired sessions in small batches, so that other statements do not have to wait long. */
import type { ClearExpiredOptions, ClearExpiredReport } from '../contract.js'
import { monotonicNow, pause } from '../timers.js'
import type { SessionTable } from './session-table.js'
import { isOverdue } from './statement-error.js'

/** How long a batch should hold its locks, if the size of batches adapts. */
const TARGET_MILLISECONDS = 5

/**
 * Deletes sessions that have expired at `now`, each batch in a transaction of its own.
 *
 * Each batch starts at the oldest session that is left. From the start of the index, a
 * database would read again and again over the entries of deleted rows. They stay there
 * until VACUUM or purge removes them, which a long transaction can delay.
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
    // Other writers hold the rest, to renew or to delete it.
    if (batch.deleted === 0) break
    report.deleted += batch.deleted
    report.batches += 1
    report.milliseconds = Math.round(monotonicNow() - started)
    await onProgress?.({ ...report })
    if (adapts && batchSize === undefined) size = fitted(size, batch.milliseconds)
    oldest = await table.oldestExpired(before, from)
    // Leaves other statements as much time as the batch took.
    if (oldest !== null) await pause(batch.milliseconds, undefined, { signal }).catch(() => {})
  }
  return report
}

/** The next batch size after a batch that missed its deadline. @throws any other error */
function smallerIfOverdue(error: unknown, size: number): number {
  if (isOverdue(error) && size > 1) return Math.ceil(size / 10)
  throw error
}

/** The next batch size. At most twice the last one, since a fast batch may have found its pages in memory. */
function fitted(size: number, milliseconds: number): number {
  return Math.max(10, Math.round(size * Math.min(2, TARGET_MILLISECONDS / milliseconds)))
}
