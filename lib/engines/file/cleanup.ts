/** Removes the files of expired sessions, and what dead processes left behind. */
import { unlink } from 'node:fs/promises'
import type { ClearExpiredOptions, ClearExpiredReport } from '../../contract.js'
import { monotonicNow } from '../../timers.js'
import { explained, UNFIT, unless } from './file-system.js'
import { Lock, removeAbandoned } from './lock.js'
import type { SessionFile, SessionFiles } from './session-files.js'

/** Skips sessions that are locked and files of other owners. Another failure is thrown after the remaining files. */
export async function clearExpired(files: SessionFiles, now: Date, options: ClearExpiredOptions): Promise<ClearExpiredReport> {
  const { grace = 0, batchSize = 1000, signal, onProgress } = options
  const before = new Date(now.getTime() - grace * 1000)
  const started = monotonicNow()
  const report: ClearExpiredReport = { deleted: 0, batches: 0, milliseconds: 0, backlogAge: null }
  let failure: unknown
  for await (const names of files.names(batchSize)) {
    if (signal?.aborted) break
    for (const file of names.map((name) => files.parse(name))) {
      try {
        const end = file === null ? null : await explained(clear(files, file, before))
        if (end === null) continue
        report.deleted += 1
        report.backlogAge = Math.max(report.backlogAge ?? 0, Math.round((now.getTime() - end.getTime()) / 1000))
      } catch (error) {
        failure ??= error
      }
    }
    report.batches += 1
    report.milliseconds = Math.round(monotonicNow() - started)
    await onProgress?.({ ...report })
  }
  if (failure !== undefined) throw failure
  return report
}

/** Removes a file if it is no longer needed. Returns the end of the session that it was, otherwise null. */
async function clear(files: SessionFiles, file: SessionFile, before: Date): Promise<Date | null> {
  if (!file.isHidden) return clearSession(files, file, before)
  if (file.path.endsWith('.lock')) await removeAbandoned(file.path)
  else await clearTemporary(files, file)
  return null
}

async function clearTemporary(files: SessionFiles, { path, sessionKey }: SessionFile): Promise<void> {
  // Its writer holds the lock.
  const lock = await Lock.tryAcquire(files.lockPath(sessionKey))
  await lock?.hold(() => lock.commit(() => unlink(path)))
}

async function clearSession(files: SessionFiles, { path, sessionKey }: SessionFile, before: Date): Promise<Date | null> {
  const findEnd = async () => {
    const stored = await unless(['ENOENT', 'EACCES', UNFIT], files.read(sessionKey))
    // A session is over at its end, as for `clear_expired` of django/contrib/sessions/backends/file.py.
    return stored !== null && stored.expireDate <= before ? stored.expireDate : null
  }
  // Most sessions are live, and need no lock.
  if ((await findEnd()) === null) return null
  const lock = await Lock.tryAcquire(files.lockPath(sessionKey))
  if (lock === null) return null
  return lock.hold(async () => {
    const end = await findEnd()
    return end !== null && (await lock.commit(() => unlink(path))) ? end : null
  })
}
