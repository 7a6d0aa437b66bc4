/**
 * The engine `file`: a file per session, with the names and the content of
 * django/contrib/sessions/backends/file.py, so that Django can use the same folder.
 *
 * Reading needs no lock: what stands under a session's name is complete, since rename(2)
 * put it there. Whatever depends on what is there (save, touch, rotate, delete,
 * clearExpired) holds the session's lock file from looking until the change is made, so
 * that no save brings back what was deleted in between. Django knows no locks: between
 * its processes and ours it is as good as between Django's own.
 *
 * Names of lock and temporary files start with a dot more than those of sessions, and
 * have dots where a key has none: Django's clearsessions passes them over.
 */
import { randomBytes } from 'node:crypto'
import { accessSync, constants, readFileSync, readlinkSync, statSync } from 'node:fs'
import { access, type FileHandle, open, opendir, rename, stat, unlink, utimes } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { Codec } from '../codec.js'
import { InvalidOptions, SessionTooLarge, StoreUnavailable, SuspiciousSession } from '../errors.js'
import { EXPIRY_NAME, expiryDate, fixedDate } from '../expiry.js'
import { newSessionKey } from '../session-key.js'
import type { ClearExpiredOptions, ClearExpiredReport, Engine, SaveResult, SessionRecord, StoredSession } from './engine.js'

export interface FileEngineOptions {
  /** Django's `SESSION_FILE_PATH`: a folder that exists. */
  folder: string
  /** What the names of sessions' files start with. */
  cookieName: string
  /** Seconds from its last modification until a session ends that does not say when. */
  cookieAge: number
  codec: Codec
  clock: () => Date
  /** Seconds to wait for a session that another writer holds. @default 5 */
  timeout?: number
}

/** Nothing else gets into a path: no separator, no dot, and no case, which not every file system can tell. */
const KEY = /^[a-z0-9]{8,40}$/

/** What Django and we make. A longer one is of a site whose cookie's name starts with ours, and not ours to remove. */
const MADE_KEY = /^[a-z0-9]{32}$/

const LEFTOVER = /^([a-z0-9]{8,40})(?:\.[0-9a-f]{16}\.tmp|(?:\.lock)+)$/

/** As Django's mkstemp(): the owner only. */
const MODE = 0o600

/** Names that `clearExpired` looks at in one go. */
const BATCH_SIZE = 1000

export class FileEngine implements Engine {
  readonly #folder: string
  readonly #cookieName: string
  readonly #cookieAge: number
  readonly #codec: Codec
  readonly #clock: () => Date
  readonly #timeout: number

  /** @throws InvalidOptions when the folder cannot be used */
  constructor({ folder, cookieName, cookieAge, codec, clock, timeout = 5 }: FileEngineOptions) {
    checkFolder(folder)
    this.#folder = folder
    this.#cookieName = cookieName
    this.#cookieAge = cookieAge
    this.#codec = codec
    this.#clock = clock
    this.#timeout = timeout
  }

  async load(sessionKey: string): Promise<StoredSession | null> {
    const stored = await this.#find(sessionKey)
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
      if (snapshot !== null && stored.text !== snapshot) return this.#isLive(stored) ? { outcome: 'changed', stored } : GONE
      await this.#replace(sessionKey, record, lock)
      return { outcome: 'saved', sessionKey }
    })
  }

  saveLocked(sessionKey: string, merge: (stored: StoredSession) => SessionRecord) {
    return this.#locked<Exclude<SaveResult, { outcome: 'changed' }>>(sessionKey, GONE, async (lock) => {
      const stored = await this.load(sessionKey)
      if (stored === null) return GONE
      await this.#replace(sessionKey, merge(stored), lock)
      return { outcome: 'saved', sessionKey }
    })
  }

  touch(sessionKey: string, expireDate: Date, snapshot: string): Promise<boolean> {
    return this.#locked(sessionKey, false, async (lock) => {
      const stored = await this.#renew(sessionKey, expireDate, snapshot, lock)
      return stored !== null && (stored.text === snapshot || this.#isLive(stored))
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
  rotate(sessionKey: string, expireDate: Date, snapshot: string): Promise<string | null> {
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
    const found = (await ask(access(this.#path(sessionKey)), 'ENOENT')) !== null
    if (!found) await this.#checkFolder()
    return found
  }

  /**
   * Streams the names in the folder: however many there are, one batch is in memory.
   * Passes over sessions that are held by a writer and files that others own; any other
   * failure is thrown after the rest was done.
   */
  async clearExpired({ grace = 0, batchSize = BATCH_SIZE, signal, onProgress }: ClearExpiredOptions = {}): Promise<ClearExpiredReport> {
    const before = new Date(this.#clock().getTime() - grace * 1000)
    const started = performance.now()
    const report: ClearExpiredReport = { deleted: 0, batches: 0, milliseconds: 0 }
    let failure: unknown
    for await (const names of batchesOfNames(this.#folder, batchSize)) {
      if (signal?.aborted) break
      for (const name of names) {
        try {
          if (await this.#clear(name, before)) report.deleted += 1
        } catch (error) {
          failure ??= error
        }
      }
      report.batches += 1
      report.milliseconds = Math.round(performance.now() - started)
      onProgress?.({ ...report })
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
    if (stored === null || stored.text !== snapshot) return stored
    const modified = this.#modifiedFor(snapshot, expireDate)
    return (await lock.commit(() => utimes(this.#path(sessionKey), modified, modified))) ? stored : null
  }

  async #clear(name: string, before: Date): Promise<boolean> {
    if (name.startsWith(`.${this.#cookieName}`)) await this.#clearLeftover(name)
    if (!name.startsWith(this.#cookieName)) return false
    const sessionKey = name.slice(this.#cookieName.length)
    return MADE_KEY.test(sessionKey) && this.#clearSession(sessionKey, before)
  }

  async #clearSession(sessionKey: string, before: Date): Promise<boolean> {
    const path = this.#path(sessionKey)
    const hasExpired = async () => {
      const content = await read(path, 'ENOENT', 'EACCES')
      return content !== null && this.#endOf(content).getTime() < before.getTime()
    }
    // Most are alive: those need no lock.
    if (!(await hasExpired())) return false
    const lock = await Lock.acquire(this.#lockPath(sessionKey), this.#clock, 0)
    if (lock === null) return false
    return lock.holding(async () => (await hasExpired()) && lock.commit(() => unlink(path)))
  }

  /** What a process left that died: an abandoned lock, or a temporary file, which belongs to nobody where the lock is free. */
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
    if (!KEY.test(sessionKey)) return null
    const content = await read(this.#path(sessionKey), 'ENOENT')
    if (content !== null) return { text: content.text, expireDate: this.#endOf(content) }
    await this.#checkFolder()
    return null
  }

  /** An empty file under a key that was unused. */
  async #reserve(): Promise<[sessionKey: string, file: FileHandle]> {
    for (;;) {
      const sessionKey = newSessionKey()
      const file = await ask(open(this.#path(sessionKey), 'wx', MODE), 'EEXIST')
      if (file !== null) return [sessionKey, file]
    }
  }

  /** Writes and closes a new file, or removes it. */
  #fill(file: FileHandle, path: string, { text, expireDate }: StoredSession): Promise<void> {
    return orRemove(path, async () => {
      try {
        await ask(file.writeFile(text, 'latin1'))
        const modified = this.#modifiedFor(text, expireDate)
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
    return expiryDate(this.#expiryOf(text), this.#cookieAge, modified)
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

// --- locks --------------------------------------------------------------------------------

/**
 * Milliseconds. A lock is held for a few. Whoever was stopped for HOLD_LIMIT while holding
 * one touches neither session nor lock any more, long before another takes it for abandoned.
 */
const HOLD_LIMIT = 10_000
const ABANDONED_AFTER = 30_000

/** Within which a process has its number: one boot of one machine, and one container on it. */
const PLACE = findPlace()

function findPlace(): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
    return `${boot} ${readlinkSync('/proc/self/ns/pid')}`
  } catch {
    return hostname()
  }
}

/**
 * A file that only one can make (O_EXCL). Its text says who made it, when and where, by
 * the application's clock.
 */
class Lock {
  readonly #path: string
  readonly #clock: () => Date
  readonly #since: number

  private constructor(path: string, clock: () => Date) {
    this.#path = path
    this.#clock = clock
    this.#since = clock().getTime()
  }

  /** @returns null when another one holds it for all of `timeout` seconds */
  static async acquire(path: string, clock: () => Date, timeout: number): Promise<Lock | null> {
    const deadline = performance.now() + timeout * 1000
    for (let attempt = 1; ; attempt++) {
      const lock = new Lock(path, clock)
      if (await lock.#make()) return lock
      if (await removeAbandoned(path, clock)) continue
      if (performance.now() >= deadline) return null
      await pause(Math.random() * Math.min(2 ** attempt, 50))
    }
  }

  async #make(): Promise<boolean> {
    const file = await ask(open(this.#path, 'wx', MODE), 'EEXIST')
    if (file === null) return false
    // A full disk takes no text. A lock without it is a lock all the same, and making
    // room by removing sessions must stay possible.
    await file.writeFile(`${process.pid} ${this.#since} ${PLACE}`).catch(() => {})
    await file.close().catch(() => {})
    return true
  }

  async holding<T>(work: (lock: this) => Promise<T>): Promise<T> {
    try {
      return await work(this)
    } finally {
      // The work is done, or has its own error to report: a lock that stays becomes abandoned.
      if (this.#isHeld()) await unlink(this.#path).catch(() => {})
    }
  }

  /**
   * Makes the change that the lock was taken for. False when there is no such file.
   *
   * @throws StoreUnavailable also when the lock was held for too long
   */
  async commit(change: () => Promise<void>): Promise<boolean> {
    if (!this.#isHeld()) throw new StoreUnavailable(`a change of a session took ${HOLD_LIMIT / 1000} seconds`)
    return (await ask(change(), 'ENOENT')) !== null
  }

  #isHeld(): boolean {
    return this.#clock().getTime() - this.#since < HOLD_LIMIT
  }
}

/**
 * Removes a lock whose holder is dead. Of two that both found it abandoned the later one
 * would remove the lock that the earlier one took next: so it is removed under a lock of
 * its own and only when it is abandoned still, and then nobody else can have removed it.
 */
async function removeAbandoned(path: string, clock: () => Date): Promise<boolean> {
  if (!(await isAbandoned(path, clock))) return false
  const remover = await Lock.acquire(`${path}.lock`, clock, 0)
  if (remover === null) return false
  return remover.holding(async () => (await isAbandoned(path, clock)) && remover.commit(() => unlink(path)))
}

/**
 * A holder is dead when no process of its place has its number. Of holders elsewhere, of
 * numbers that another process got since, and of a lock without text nobody knows: those
 * are abandoned when they are old.
 */
async function isAbandoned(path: string, clock: () => Date): Promise<boolean> {
  const content = await read(path, 'ENOENT', 'EACCES')
  if (content === null) return false
  const [, pid, since, place] = /^(\d+) (\d+) (.*)$/.exec(content.text) ?? []
  const made = since === undefined ? content.modified.getTime() : Number(since)
  if (clock().getTime() - made > ABANDONED_AFTER) return true
  return place === PLACE && !isRunning(Number(pid))
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}

// --- the file system ------------------------------------------------------------------------

/** What a file holds, and when it was modified. */
interface Content {
  text: string
  modified: Date
}

/** Null where the error is one of `answers`. */
async function read(path: string, ...answers: string[]): Promise<Content | null> {
  const file = await ask(open(path, 'r'), ...answers)
  if (file === null) return null
  try {
    const { mtimeMs } = await ask(file.stat())
    return { text: await ask(file.readFile('latin1')), modified: new Date(Math.round(mtimeMs)) }
  } finally {
    await file.close()
  }
}

async function* batchesOfNames(folder: string, size: number): AsyncGenerator<string[]> {
  const directory = await ask(opendir(folder))
  try {
    let names: string[] = []
    for (let entry = await ask(directory.read()); entry !== null; entry = await ask(directory.read())) {
      if (entry.isFile()) names.push(entry.name)
      if (names.length < size) continue
      yield names
      names = []
    }
    yield names
  } finally {
    await directory.close()
  }
}

/** What `work` returns; when it fails, the file is gone. */
async function orRemove<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    await unlink(path).catch(() => {})
    throw error
  }
}

/** The result of an operation, and null for errors that are an answer too. @throws StoreUnavailable for all others */
async function ask<T>(operation: Promise<T>): Promise<T>
async function ask<T>(operation: Promise<T>, ...answers: string[]): Promise<T | null>
async function ask<T>(operation: Promise<T>, ...answers: string[]): Promise<T | null> {
  try {
    return await operation
  } catch (error) {
    const { code = '', syscall, message } = error as NodeJS.ErrnoException
    if (answers.includes(code)) return null
    // After the comma is the path, with the key in it; the error's own stack repeats it.
    const cause = Object.assign(new Error(message.split(',', 1)[0]), { code, syscall })
    throw new StoreUnavailable(REMEDIES[code] ?? 'a file operation failed', { cause })
  }
}

const MISSING_FOLDER = 'the folder filePath is missing or no folder, create it'
const DENIED = 'access to a file or the folder filePath was denied, check owner and permissions'
const FULL = 'the disk or the quota of the folder filePath is full, make room (clearsessions)'

/** What to do, where the code of an error says it. */
const REMEDIES: Record<string, string> = {
  ENOENT: MISSING_FOLDER,
  ENOTDIR: MISSING_FOLDER,
  EACCES: DENIED,
  EPERM: DENIED,
  EROFS: DENIED,
  ENOSPC: FULL,
  EDQUOT: FULL
}

function checkFolder(folder: string): void {
  if (isUsable(folder)) return
  const advice = 'create it, for the user of this process only (mode 0700)'
  throw new InvalidOptions(`- filePath: expected a folder that exists and can be written to, got ${JSON.stringify(folder)}: ${advice}`)
}

function isUsable(folder: string): boolean {
  try {
    accessSync(folder, constants.R_OK | constants.W_OK | constants.X_OK)
    return statSync(folder).isDirectory()
  } catch {
    return false
  }
}
