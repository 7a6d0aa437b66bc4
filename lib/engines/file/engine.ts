/**
 * The engine `file`: a file per session, which Django can use too.
 *
 * A file under a session's name is complete, since rename(2) put it there: reading needs no lock. A change holds the
 * session's lock from its first read to its write, so that no save restores a session that was deleted in between.
 * Django takes no locks: between its processes and ours, a change may be lost as between two processes of Django.
 */
import { lstat, rename, unlink } from 'node:fs/promises'
import type { ClearExpiredOptions, ClearExpiredReport, Engine, SaveResult, SessionRecord, StoredSession } from '../../contract.js'
import type { Deadline } from '../../deadline.js'
import { newSessionKey } from '../../django/keys.js'
import { StoreUnavailable } from '../../errors.js'
import { claimNewKey } from '../claim-key.js'
import { clearExpired } from './cleanup.js'
import { explained, orRemove, UNFIT, unless } from './file-system.js'
import { Lock } from './lock.js'
import { isKey, SessionFiles, type SessionFilesOptions } from './session-files.js'

const GONE = { outcome: 'gone' } as const

export class FileEngine implements Engine {
  readonly #clock: () => Date
  readonly #files: SessionFiles

  /** @throws InvalidOptions if the folder cannot be used */
  constructor(options: SessionFilesOptions) {
    this.#clock = options.clock
    this.#files = new SessionFiles(options)
  }

  /** @throws SessionTooLarge, and SuspiciousSession for a file that is not regular, or whose owner is neither this user nor the folder's owner */
  async load(sessionKey: string): Promise<StoredSession | null> {
    if (!isKey(sessionKey)) return null
    const stored = await explained(this.#files.find(sessionKey))
    return stored !== null && this.#isLive(stored) ? stored : null
  }

  create(record: SessionRecord): Promise<string> {
    // Written in place and without a lock: nobody knows the key before the file is complete.
    const claim = async (sessionKey: string) =>
      (await unless(['EEXIST'], this.#files.create(this.#files.path(sessionKey), record))) !== null
    return explained(claimNewKey(claim))
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

  clearExpired(options: ClearExpiredOptions = {}): Promise<ClearExpiredReport> {
    return clearExpired(this.#files, this.#clock(), options)
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

  #isLive({ expireDate }: StoredSession): boolean {
    return expireDate.getTime() > this.#clock().getTime()
  }
}
