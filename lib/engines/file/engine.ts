/**
 * The engine `file`: a file per session, with the names and the content of
 * django/contrib/sessions/backends/file.py, so that Django can use the same folder.
 *
 * Reading needs no lock: what stands under a session's name is complete, since rename(2)
 * put it there. Whatever depends on what is there (save, touch, cycleKey, delete,
 * clearExpired) holds the session's lock file from looking until the change is made, so
 * that no save brings back what was deleted in between. Django knows no locks: between
 * its processes and ours it is as good as between Django's own.
 *
 * Names of lock and temporary files start with a dot more than those of sessions, and
 * have dots where a key has none: Django's clearsessions passes them over.
 */
import { randomBytes } from 'node:crypto'
import type { Stats } from 'node:fs'
import { type FileHandle, lstat, lutimes, open, rename, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { ClearExpiredOptions, ClearExpiredReport, Engine, SaveResult, SessionRecord, StoredSession } from '../../contract.js'
import type { Codec } from '../../django/codec.js'
import { EXPIRY_NAME, expiryDate, fixedDate } from '../../django/expiry.js'
import { SessionTooLarge, StoreUnavailable, SuspiciousSession } from '../../errors.js'
import { monotonicNow } from '../../timers.js'
import { claimNewKey } from '../claim-key.js'
import { ask, batchesOfNames, type Content, MODE, orRemove, read } from './file-system.js'
import { checkFolder, currentUser } from './folder.js'
import { Lock, removeAbandoned } from './lock.js'

export interface FileEngineOptions {
  /** Django's `SESSION_FILE_PATH`: a folder that exists. */
  folder: string
  /** The beginning of the names of sessions' files. */
  cookieName: string
  /** Seconds from its last modification until a session ends that does not say when. */
  cookieAge: number
  /** Greatest size of the data of a session in bytes. */
  maxSize: number
  codec: Codec
  clock: () => Date
  /** Seconds to wait for a session that another writer holds. @default 5 */
  timeout?: number
}

/**
 * The keys that Django and we make. Nothing else gets into a path: no separator, no dot, no
 * case, which not every file system can tell, and no other length: the file of a longer
 * key would be that of a site whose cookie's name starts with ours.
 */
const KEY = /^[a-z0-9]{32}$/

const LEFTOVER = /^([a-z0-9]{32})(?:\.[0-9a-f]{16}\.tmp|(?:\.lock)+)$/

/** The signed text of that much data, in base64 with a timestamp and a signature (see `TimestampSigner`). */
const maxTextSize = (maxSize: number) => Math.ceil((maxSize * 4) / 3) + 100

/** Names that `clearExpired` looks at in one go. */
const BATCH_SIZE = 1000

export class FileEngine implements Engine {
  readonly #folder: string
  /** The number of the user who owns the folder. */
  readonly #folderOwner: number
  readonly #cookieName: string
  readonly #cookieAge: number
  readonly #maxSize: number
  readonly #codec: Codec
  readonly #clock: () => Date
  readonly #timeout: number

  /** @throws InvalidOptions when the folder cannot be used */
  constructor({ folder, cookieName, cookieAge, maxSize, codec, clock, timeout = 5 }: FileEngineOptions) {
    this.#folderOwner = checkFolder(folder)
    this.#folder = folder
    this.#cookieName = cookieName
    this.#cookieAge = cookieAge
    this.#maxSize = maxSize
    this.#codec = codec
    this.#clock = clock
    this.#timeout = timeout
  }

  /** @throws SessionTooLarge, and SuspiciousSession for what is no regular file of this user or the folder's owner */
  async load(sessionKey: string): Promise<StoredSession | null> {
    const stored = await this.#look(sessionKey)
    if (stored === 'unfit') throw new SuspiciousSession('its file is no regular file, or belongs to another user')
    return stored !== null && this.#isLive(stored) ? stored : null
  }

  async create(record: SessionRecord): Promise<string> {
    const [sessionKey, file] = await this.#reserve()
    // In place and without a lock: nobody has the key before the file is complete.
    await this.#fill(file, this.#path(sessionKey), record)
    return sessionKey
  }

  save(sessionKey: string, record: SessionRecord, snapshot: string | null): Promise<SaveResult> {
    return this.#locked<SaveResult>(sessionKey, GONE, async (lock) => {
      const stored = await this.#find(sessionKey)
      if (stored === null) return GONE
      if (snapshot !== null && stored.sessionData !== snapshot) return this.#isLive(stored) ? { outcome: 'changed', stored } : GONE
      await this.#replace(sessionKey, record, lock)
      return { outcome: 'saved', sessionKey }
    })
  }

  saveLocked(sessionKey: string, merge: (stored: StoredSession) => SessionRecord) {
    return this.#locked<Exclude<SaveResult, { outcome: 'changed' }>>(sessionKey, GONE, async (lock) => {
      const stored = await this.#find(sessionKey)
      if (stored === null || !this.#isLive(stored)) return GONE
      await this.#replace(sessionKey, merge(stored), lock)
      return { outcome: 'saved', sessionKey }
    })
  }

  touch(sessionKey: string, expireDate: Date, snapshot: string): Promise<boolean> {
    return this.#locked(sessionKey, false, async (lock) => {
      const stored = await this.#renew(sessionKey, expireDate, snapshot, lock)
      return stored !== null && (stored.sessionData === snapshot || this.#isLive(stored))
    })
  }

  /**
   * One rename(2) takes the old name away and gives the new one: wherever a process dies,
   * there is one. link(2) and unlink(2) would be two steps, with both keys alive between
   * them. The lock of the old key keeps saves from putting a file under the old name
   * again, and the new key is nobody's before it is returned. As rename(2) would replace
   * a session that has the new name, the name is taken first, by a file without data: no
   * live key, and after a crash an empty session that nobody can ask for. The end is
   * moved before the name, because a session whose end was moved in vain is still there
   * under the key that its browser has.
   */
  cycleKey(sessionKey: string, expireDate: Date, snapshot: string): Promise<string | null> {
    return this.#locked(sessionKey, null, async (lock) => {
      if ((await this.#renew(sessionKey, expireDate, snapshot, lock)) === null) return null
      const [newKey, reserved] = await this.#reserve()
      await ask(reserved.close())
      const path = this.#path(newKey)
      if (await orRemove(path, () => lock.commit(() => rename(this.#path(sessionKey), path)))) return newKey
      await ask(unlink(path), 'ENOENT')
      return null
    })
  }

  delete(sessionKey: string): Promise<void> {
    return this.#locked(sessionKey, undefined, async (lock) => {
      await lock.commit(() => unlink(this.#path(sessionKey)))
    })
  }

  async exists(sessionKey: string): Promise<boolean> {
    if (!KEY.test(sessionKey)) return false
    const found = (await ask(lstat(this.#path(sessionKey)), 'ENOENT')) !== null
    if (!found) await this.#checkFolder()
    return found
  }

  /**
   * Streams the names in the folder: however many there are, one batch is in memory.
   * Passes over sessions that are held by a writer and files that others own; any other
   * failure is thrown after the rest was done.
   */
  async clearExpired({ grace = 0, batchSize = BATCH_SIZE, signal, onProgress }: ClearExpiredOptions = {}): Promise<ClearExpiredReport> {
    const now = this.#clock().getTime()
    const before = new Date(now - grace * 1000)
    const started = monotonicNow()
    const report: ClearExpiredReport = { deleted: 0, batches: 0, milliseconds: 0, backlogAge: null }
    let failure: unknown
    for await (const names of batchesOfNames(this.#folder, batchSize)) {
      if (signal?.aborted) break
      for (const name of names) {
        try {
          const end = await this.#clear(name, before)
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

  // --- one session, under its lock ----------------------------------------------------

  async #locked<T>(sessionKey: string, absent: T, work: (lock: Lock) => Promise<T>): Promise<T> {
    if (!KEY.test(sessionKey)) return absent
    const lock = await Lock.acquire(this.#lockPath(sessionKey), this.#clock, this.#timeout)
    if (lock === null) throw new StoreUnavailable(`another writer held the session for ${this.#timeout} seconds`)
    return lock.holding(work)
  }

  /** Puts a complete file in the place of the one that is there. */
  async #replace(sessionKey: string, record: SessionRecord, lock: Lock): Promise<void> {
    const temporary = `${this.#hiddenPath(sessionKey)}.${randomBytes(8).toString('hex')}.tmp`
    await this.#fill(await ask(open(temporary, 'wx', MODE)), temporary, record)
    const replaced = await orRemove(temporary, () => lock.commit(() => rename(temporary, this.#path(sessionKey))))
    if (!replaced) throw new StoreUnavailable('another program removed a temporary file')
  }

  /** Moves the end of a session that holds the text `snapshot`. What was there, null when nothing was. */
  async #renew(sessionKey: string, expireDate: Date, snapshot: string, lock: Lock): Promise<StoredSession | null> {
    const stored = await this.#find(sessionKey)
    if (stored === null || stored.sessionData !== snapshot) return stored
    const modified = this.#modifiedFor(snapshot, expireDate)
    return (await lock.commit(() => lutimes(this.#path(sessionKey), modified, modified))) ? stored : null
  }

  /** When the session ended that was removed; null where none was. */
  async #clear(name: string, before: Date): Promise<Date | null> {
    if (name.startsWith(`.${this.#cookieName}`)) await this.#clearLeftover(name)
    if (!name.startsWith(this.#cookieName)) return null
    const sessionKey = name.slice(this.#cookieName.length)
    return KEY.test(sessionKey) ? this.#clearSession(sessionKey, before) : null
  }

  async #clearSession(sessionKey: string, before: Date): Promise<Date | null> {
    const path = this.#path(sessionKey)
    const findEnd = async () => {
      const content = await this.#read(sessionKey, 'ENOENT', 'EACCES')
      if (content === null || content === 'unfit') return null
      const end = this.#endOf(content)
      return end < before ? end : null
    }
    // Most are alive: those need no lock.
    if ((await findEnd()) === null) return null
    const lock = await Lock.acquire(this.#lockPath(sessionKey), this.#clock, 0)
    if (lock === null) return null
    return lock.holding(async () => {
      const end = await findEnd()
      return end !== null && (await lock.commit(() => unlink(path))) ? end : null
    })
  }

  /** Remains of a process that died: an abandoned lock, or a temporary file, which belongs to nobody where the lock is free. */
  async #clearLeftover(name: string): Promise<void> {
    const [, sessionKey] = LEFTOVER.exec(name.slice(this.#cookieName.length + 1)) ?? []
    if (sessionKey === undefined) return
    const path = join(this.#folder, name)
    if (name.endsWith('.lock')) {
      await removeAbandoned(path, this.#clock)
    } else {
      const lock = await Lock.acquire(this.#lockPath(sessionKey), this.#clock, 0)
      await lock?.holding(() => lock.commit(() => unlink(path)))
    }
  }

  // --- files ----------------------------------------------------------------------------

  #path(sessionKey: string): string {
    return join(this.#folder, this.#cookieName + sessionKey)
  }

  #hiddenPath(sessionKey: string): string {
    return join(this.#folder, `.${this.#cookieName}${sessionKey}`)
  }

  #lockPath(sessionKey: string): string {
    return `${this.#hiddenPath(sessionKey)}.lock`
  }

  /** A missing folder must not look like a missing session: that would sign everybody out without a word. */
  async #checkFolder(): Promise<void> {
    await ask(stat(this.#folder))
  }

  /** The session of a key, live or expired. */
  async #find(sessionKey: string): Promise<StoredSession | null> {
    const stored = await this.#look(sessionKey)
    return stored === 'unfit' ? null : stored
  }

  async #look(sessionKey: string): Promise<StoredSession | 'unfit' | null> {
    if (!KEY.test(sessionKey)) return null
    const content = await this.#read(sessionKey, 'ENOENT')
    if (content === null) await this.#checkFolder()
    if (content === null || content === 'unfit') return content
    if (content.text === null) throw new SessionTooLarge(this.#maxSize)
    return { sessionData: content.text, expireDate: this.#endOf(content) }
  }

  #read(sessionKey: string, ...answers: string[]): Promise<Content | 'unfit' | null> {
    return read(this.#path(sessionKey), maxTextSize(this.#maxSize), this.#isTrusted, ...answers)
  }

  /** Written by this process, or by the owner of the folder, who can do anything there. */
  readonly #isTrusted = ({ uid }: Stats): boolean => {
    const user = currentUser()
    return user === undefined || uid === user || uid === this.#folderOwner
  }

  /** An empty file under a key that was unused. */
  #reserve(): Promise<[sessionKey: string, file: FileHandle]> {
    return claimNewKey((sessionKey) => ask(open(this.#path(sessionKey), 'wx', MODE), 'EEXIST'))
  }

  /** Writes and closes a new file, or removes it. */
  #fill(file: FileHandle, path: string, { sessionData, expireDate }: StoredSession): Promise<void> {
    return orRemove(path, async () => {
      try {
        await ask(file.writeFile(sessionData, 'latin1'))
        const modified = this.#modifiedFor(sessionData, expireDate)
        await ask(file.utimes(modified, modified))
      } finally {
        await ask(file.close())
      }
    })
  }

  // --- when a session ends ----------------------------------------------------------------

  #isLive({ expireDate }: StoredSession): boolean {
    return expireDate.getTime() > this.#clock().getTime()
  }

  /** As Django's `_expiry_date`, and right for positive numbers of seconds too, with which Django's never ends. */
  #endOf({ text, modified }: Content): Date {
    return expiryDate(text === null ? undefined : this.#expiryOf(text), this.#cookieAge, modified)
  }

  /** The inverse of `#endOf`: when a file must have been modified for the session to end at the date. */
  #modifiedFor(text: string, expireDate: Date): Date {
    const expiry = this.#expiryOf(text)
    // The end is in the text. Programs that remove old files go by this date.
    if (fixedDate(expiry) !== null) return this.#clock()
    return new Date(expireDate.getTime() - expiryDate(expiry, this.#cookieAge, new Date(0)).getTime())
  }

  /** Undefined where the text cannot be read: what says nothing lasts for the cookie's age. */
  #expiryOf(text: string): unknown {
    try {
      return this.#codec.decode(text).get(EXPIRY_NAME)?.value
    } catch (error) {
      if (error instanceof SuspiciousSession || error instanceof SessionTooLarge) return undefined
      throw error
    }
  }
}

const GONE = { outcome: 'gone' } as const
