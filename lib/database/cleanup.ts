/** Removes expired sessions in small batches, so that other statements do not have to wait long. */
import type { ClearExpiredOptions, ClearExpiredReport } from '../contract.js'
import { monotonicNow, pause } from '../timers.js'
import type { DeletedBatch, ExpiredSessions } from './expired-sessions.js'
import { isOverdue } from './statement-error.js'

/** How long a batch should hold its locks, if the size of batches adapts. */
const TARGET_MILLISECONDS = 5

/** The same for a batch of pages, which blocks no event loop and locks expired sessions only. */
const SWEEP_MILLISECONDS = 50

/** The pages that a statement reads: a matter of milliseconds, even where there is nothing to delete. */
const SWEPT_PAGES = 400

/**
 * The most rows that the first statement of a sweep deletes, and any other. A row takes 1 to 3 µs, and one of 6 kB, most of it out of line, up to
 * 30. So no statement takes longer than 400 ms, whatever the rows before were like.
 */
const SWEPT_ROWS = { first: 1000, most: 10_000 }

/** Milliseconds for the database to undo a batch that missed its deadline. Until then its rows are locked, and it counts as another cleanup. */
const UNDO_PAUSE = 1000

/**
 * Deletes sessions that have expired at `now`, each batch in a transaction of its own.
 */
export async function clearExpired(expired: ExpiredSessions, now: Date, options: ClearExpiredOptions): Promise<ClearExpiredReport> {
  const { grace = 0, batchSize, signal, onProgress } = options
  const before = new Date(now.getTime() - grace * 1000)
  const started = monotonicNow()
  const oldest = await expired.oldest(before)
  const backlogAge = oldest === null ? null : Math.round((now.getTime() - oldest.getTime()) / 1000)
  const report: ClearExpiredReport = { deleted: 0, batches: 0, milliseconds: 0, backlogAge }
  if (oldest === null) return report
  const pages = batchSize === undefined ? await expired.pagesToSweep(before) : 0
  const batches = pages > 0 ? sweepTwice(expired, before, pages, signal) : fromOldest(expired, before, oldest, options)
  for await (const batch of batches) {
    if (batch === null) return { ...report, skipped: true }
    report.deleted += batch.deleted
    report.batches += 1
    report.milliseconds = Math.round(monotonicNow() - started)
    await onProgress?.({ ...report })
  }
  return report
}

/** The batches of a run; null if another cleaner is at work. */
type Batches = AsyncGenerator<DeletedBatch | null, void>

/**
 * The oldest sessions first.
 *
 * Each batch starts at the oldest session that is left. From the start of the index, a
 * database would read again and again over the entries of deleted rows. They stay there
 * until VACUUM or purge removes them, which a long transaction can delay.
 */
async function* fromOldest(expired: ExpiredSessions, before: Date, oldest: Date, { batchSize, signal }: ClearExpiredOptions): Batches {
  const { initialBatchSize, adapts } = expired.cleanup
  let size = batchSize ?? initialBatchSize
  for (let from = oldest; ; ) {
    const done = await deleteInTime((limit) => expired.delete(from, before, limit), size, signal)
    if (done === null) return
    const { batch } = done
    size = done.size
    // Other writers hold the rest, to renew or to delete it.
    if (batch?.deleted === 0) return
    yield batch
    if (batch === null) return
    if (adapts && batchSize === undefined) size = fitted(size, batch.milliseconds, TARGET_MILLISECONDS)
    const next = await expired.oldest(before, from)
    if (next === null) return
    from = next
    await rest(batch.milliseconds, signal)
  }
}

/**
 * Sweeps again for rows that moved or were inserted behind the first sweep. By the index that would take longer than
 * the first sweep where rows are in no order: the entry of each deleted row is still there, and leads to its page.
 */
async function* sweepTwice(expired: ExpiredSessions, before: Date, pages: number, signal: AbortSignal | undefined): Batches {
  yield* sweep(expired, before, pages, signal)
  yield* sweep(expired, before, await expired.countPages(), signal)
}

/**
 * In the order in which sessions lie in the table, for a run that deletes many of them: a batch of the oldest ones
 * touches as many pages as it has rows. Sessions that other writers hold are left to them, or to the next run.
 */
async function* sweep(expired: ExpiredSessions, before: Date, pages: number, signal: AbortSignal | undefined): Batches {
  let size = SWEPT_ROWS.first
  for (let page = 0; page < pages; ) {
    const done = await deleteInTime((limit) => expired.deleteIn(page, page + SWEPT_PAGES, before, limit), size, signal)
    if (done === null) return
    const { batch } = done
    size = done.size
    if (batch?.deleted !== 0) yield batch
    if (batch === null) return
    const isFull = batch.deleted === size
    if (!isFull) page += SWEPT_PAGES
    // Only a batch that is full tells that a larger one would take no longer than it should.
    size = Math.min(fitted(size, batch.milliseconds, SWEEP_MILLISECONDS), isFull ? SWEPT_ROWS.most : size)
    // A statement that deletes nothing holds no locks.
    if (batch.deleted > 0) await rest(batch.milliseconds, signal)
  }
}

/**
 * Deletes a batch. One that misses its deadline is tried again with a smaller size, once the database has undone it.
 *
 * @returns the batch and its size; null if the signal aborts first
 */
async function deleteInTime(
  deleteBatch: (limit: number) => Promise<DeletedBatch | null>,
  firstSize: number,
  signal: AbortSignal | undefined
): Promise<{ batch: DeletedBatch | null; size: number } | null> {
  for (let size = firstSize; !signal?.aborted; size = Math.ceil(size / 10)) {
    try {
      return { batch: await deleteBatch(size), size }
    } catch (error) {
      if (!isOverdue(error) || size === 1) throw error
    }
    await rest(UNDO_PAUSE, signal)
  }
  return null
}

/** Waits, at most until the signal: after a batch for as long as it took, so that other statements have as much time. */
async function rest(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  await pause(milliseconds, undefined, { signal }).catch(() => {})
}

/** The next batch size. At most twice the last one, since a fast batch may have found its pages in memory. */
function fitted(size: number, milliseconds: number, target: number): number {
  return Math.max(10, Math.round(size * Math.min(2, target / milliseconds)))
}
