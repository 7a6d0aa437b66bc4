/**
 * The engine `file`: a file per session, which Django can use too.
 *
 * A file under a session's name is complete, since rename(2) put it there: reading needs no lock. A change holds the
 * session's lock from its first read to its write, so that no save restores a session that was deleted in between.
 * Django takes no locks: between its processes and ours, a change may be lost as between two processes of Django.
 */
import { lstat, rename, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { ClearExpiredOptions, ClearExpiredReport, Engine, SaveResult, SessionRecord, StoredSession } from '../../contract.js'
import type { Deadline } from '../../deadline.js'
import { newSessionKey } from '../../django/keys.js'
import { StoreUnavailable } from '../../errors.js'
import { monotonicNow } from '../../timers.js'
import { claimNewKey } from '../claim-key.js'
import { batchesOfNames, explained, orRemove, UNFIT, unless } from './file-system.js'
import { Lock, removeAbandoned } from './lock.js'
import { isKey, SessionFiles, type SessionFilesOptions } from './session-files.js'

const GONE = { outcome: 'gone' } as const

export class FileEngine implements Engine {
  readonly #folder: string
  readonly #clock: () => Date
  readonly #files: SessionFiles

  /** @throws InvalidOptions if the folder cannot be used */
  constructor(options: SessionFilesOptions) {
    this.#folder = options.folder
    this.#clock = options.clock
    this.#files = new SessionFiles(options)
  }

  /** @throws SessionTooLarge, and SuspiciousSession for a file that is not regular, or whose owner is neither this user nor the folder's owner */
  async load(sessionKey: string): Promise<StoredSession | null> {
    if (!isKey(sessionKey)) return null
    const stored = await explained(this.#files.find(sessionKey))
    return stored !== null && this.#isLive(stored) ? stored : null
  }

  async create(record: SessionRecord): Promise<string> {
    // Written in place and without a lock: nobody knows the key before the file is complete.
    const claim = async (sessionKey: string) =>
      (await unless(['EEXIST'], this.#files.create(this.#files.path(sessionKey), record))) !== null
    const [sessionKey] = await explained(claimNewKey(claim))
    return sessionKey
  }

  save(sessionKey: string, record: SessionRecord, snapshot: string | null, deadline: Deadline): Promise<SaveResult> {
    return this.#change<SaveResult>(sessionKey, deadline, GONE, async (stored, lock) => {
      if (snapshot === null || stored.sessionData === snapshot) return this.#replace(sessionKey, record, lock)
      return this.#isLive(stored) ? { outcome: 'changed', stored } : GONE
    })
  }

  saveLocked(sessionKey: string, merge: (stored: StoredSession) => SessionRecord, deadline: Deadline) {
    return this.#change<Exclude<SaveResult, { outcome: 'changed' }>>(sessionKey, deadline, GONE, async (stored, lock) =>
      this.#isLive(stored) ? this.#replace(sessionKey, merge(stored), lock) : GONE
    )
  }

  touch(sessionKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<boolean> {
    return this.#change(sessionKey, deadline, false, async (stored, lock) =>
      stored.sessionData === snapshot ? this.#renew(sessionKey, { ...stored, expireDate }, lock) : this.#isLive(stored)
    )
  }

  /**
   * One rename(2) moves the session, so that it has exactly one key wherever a process dies. The lock of the old key
   * keeps saves from creating its file again. The new key has 165 random bits: it is unused, and nobody knows it. The
   * end is moved before the name: if the rename fails, the session is still under the key that the browser has.
   */
  cycleKey(sessionKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<string | null> {
    return this.#change(sessionKey, deadline, null, async (stored, lock) => {
      if (stored.sessionData === snapshot) await this.#renew(sessionKey, { ...stored, expireDate }, lock)
      const newKey = newSessionKey()
      return (await lock.commit(() => rename(this.#files.path(sessionKey), this.#files.path(newKey)))) ? newKey : null
    })
  }

  async delete(sessionKey: string, deadline: Deadline): Promise<void> {
    await this.#locked(sessionKey, deadline, false, (lock) => lock.commit(() => unlink(this.#files.path(sessionKey))))
  }

  async exists(sessionKey: string): Promise<boolean> {
    return isKey(sessionKey) && (await explained(this.#files.ifPresent(lstat(this.#files.path(sessionKey))))) !== null
  }

  /** Skips sessions that are locked and files of other owners. Another failure is thrown after the remaining files. */
  async clearExpired({ grace = 0, batchSize = 1000, signal, onProgress }: ClearExpiredOptions = {}): Promise<ClearExpiredReport> {
    const now = this.#clock().getTime()
    const before = new Date(now - grace * 1000)
    const started = monotonicNow()
    const report: ClearExpiredReport = { deleted: 0, batches: 0, milliseconds: 0, backlogAge: null }
    let failure: unknown
    for await (const names of batchesOfNames(this.#folder, batchSize)) {
      if (signal?.aborted) break
      for (const name of names) {
        try {
          const end = await explained(this.#clear(name, before))
          if (end === null) continue
          report.deleted += 1
          report.backlogAge = Math.max(report.backlogAge ?? 0, Math.round((now - end.getTime()) / 1000))
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

  // --- one session, under its lock ------------------------------------------------------

  async #locked<T>(sessionKey: string, deadline: Deadline, absent: T, work: (lock: Lock) => Promise<T>): Promise<T> {
    if (!isKey(sessionKey)) return absent
    return explained(Lock.acquire(this.#files.lockPath(sessionKey), deadline).then((lock) => lock.hold(() => work(lock))))
  }

  /** Calls `work` with the session, live or expired. */
  #change<T>(sessionKey: string, deadline: Deadline, absent: T, work: (stored: StoredSession, lock: Lock) => Promise<T>): Promise<T> {
    return this.#locked(sessionKey, deadline, absent, async (lock) => {
      const stored = await unless([UNFIT], this.#files.find(sessionKey))
      return stored === null ? absent : work(stored, lock)
    })
  }

  async #replace(sessionKey: string, record: SessionRecord, lock: Lock) {
    const temporary = this.#files.newTemporaryPath(sessionKey)
    await this.#files.create(temporary, record)
    const replaced = await orRemove(temporary, () => lock.commit(() => rename(temporary, this.#files.path(sessionKey))))
    if (!replaced) throw new StoreUnavailable('another program removed a temporary file')
    return { outcome: 'saved' as const, sessionKey }
  }

  /** Moves the end of a session. Returns false if its file is gone. */
  #renew(sessionKey: string, stored: StoredSession, lock: Lock): Promise<boolean> {
    return lock.commit(() => this.#files.renew(sessionKey, stored))
  }

  /** Removes an expired session, or what a dead process left behind. Returns the end of a removed session, otherwise null. */
  async #clear(name: string, before: Date): Promise<Date | null> {
    const file = this.#files.parse(name)
    if (file === null) return null
    const path = join(this.#folder, name)
    return file.isHidden ? this.#clearLeftover(path, file.sessionKey) : this.#clearSession(path, file.sessionKey, before)
  }

  async #clearLeftover(path: string, sessionKey: string): Promise<null> {
    if (path.endsWith('.lock')) {
      await removeAbandoned(path)
    } else {
      // The writer of a temporary file holds the lock.
      const lock = await Lock.tryAcquire(this.#files.lockPath(sessionKey))
      await lock?.hold(() => lock.commit(() => unlink(path)))
    }
    return null
  }

  async #clearSession(path: string, sessionKey: string, before: Date): Promise<Date | null> {
    const findEnd = async () => {
      const stored = await unless(['ENOENT', 'EACCES', UNFIT], this.#files.read(sessionKey))
      return stored !== null && stored.expireDate < before ? stored.expireDate : null
    }
    // Most sessions are live, and need no lock.
    if ((await findEnd()) === null) return null
    const lock = await Lock.tryAcquire(this.#files.lockPath(sessionKey))
    if (lock === null) return null
    return lock.hold(async () => {
      const end = await findEnd()
      return end !== null && (await lock.commit(() => unlink(path))) ? end : null
    })
  }

  #isLive({ expireDate }: StoredSession): boolean {
    return expireDate.getTime() > this.#clock().getTime()
  }
}
