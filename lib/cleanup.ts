/** Removing expired sessions in small batches, so that nobody else waits for long. */
import { setTimeout as pause } from 'node:timers/promises'
import type { ClearExpiredOptions, ClearExpiredReport } from './engines/engine.js'
import type { Model } from './model.js'

/** A batch aims to hold its locks no longer than this, where the size adapts. */
const TARGET_MILLISECONDS = 5

/**
 * Deletes what has expired at `now`, batch by batch, each in a transaction of its
 * own. Running it twice at once is harmless: the second one finds less to do.
 */
export async function clearExpired(model: Model, now: Date, options: ClearExpiredOptions): Promise<ClearExpiredReport> {
  const before = new Date(now.getTime() - (options.grace ?? 0) * 1000)
  const { initialBatchSize, adapts } = model.cleanup
  let size = options.batchSize ?? initialBatchSize
  const started = performance.now()
  const report: ClearExpiredReport = { deleted: 0, batches: 0, milliseconds: 0 }
  while (!options.signal?.aborted) {
    const batchStarted = performance.now()
    const deleted = await model.deleteExpired(before, size)
    const took = performance.now() - batchStarted
    if (deleted === null) return { ...report, skipped: true }
    report.deleted += deleted
    report.batches += 1
    report.milliseconds = Math.round(performance.now() - started)
    options.onProgress?.({ ...report })
    if (deleted < size) break
    if (adapts && options.batchSize === undefined) size = Math.max(10, Math.round(size * Math.min(2, TARGET_MILLISECONDS / took)))
    // Others get as much time as the batch took.
    await pause(Math.min(took, 50))
  }
  return report
}
