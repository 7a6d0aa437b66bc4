/**
 * A mutex among processes: a symbolic link, which only one process can create, and whose target names the owner. A link
 * is created atomically, works on a full disk, and is read without opening a file that another program may have put there.
 *
 * A lock is abandoned when its owner has died, or after 30 seconds by the timestamps of the file system, which do not
 * depend on a process's clock. An owner that was stopped for so long finds its lock gone, and changes nothing.
 */
import { createHash, randomBytes } from 'node:crypto'
import { readFileSync, readlinkSync } from 'node:fs'
import { lstat, readlink, symlink, unlink } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename } from 'node:path'
import { type Deadline, hasPassed } from '../../deadline.js'
import { StoreUnavailable } from '../../errors.js'
import { pause } from '../../timers.js'
import { unless } from './file-system.js'

/** The age at which a lock counts as abandoned, in milliseconds. Normally it is held for a few. */
const MAX_AGE = 30_000

/** Identifies the processes whose IDs are comparable with this one's: those of the same boot and the same container. */
const PLACE = createHash('sha256').update(describePlace()).digest('hex').slice(0, 12)

function describePlace(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1') + readlinkSync('/proc/self/ns/pid')
  } catch {
    return hostname()
  }
}

export class Lock {
  readonly #path: string
  readonly #owner = `${process.pid}.${PLACE}.${randomBytes(8).toString('hex')}`

  private constructor(path: string) {
    this.#path = path
  }

  /** @throws StoreUnavailable if other owners held the lock until the deadline */
  static async acquire(path: string, deadline: Deadline): Promise<Lock> {
    let lock = await Lock.tryAcquire(path)
    for (let attempt = 1; lock === null; attempt++) {
      if (hasPassed(deadline)) throw new StoreUnavailable('another writer held the session until the deadline')
      await pause(Math.random() * Math.min(2 ** attempt, 50))
      lock = isDead(await ownerOf(path)) ? await Lock.tryAcquire(path) : await Lock.#create(path)
    }
    return lock
  }

  /** @returns null if another owner holds the lock */
  static async tryAcquire(path: string): Promise<Lock | null> {
    const lock = await Lock.#create(path)
    return lock === null && (await removeAbandoned(path)) ? Lock.#create(path) : lock
  }

  static async #create(path: string): Promise<Lock | null> {
    const lock = new Lock(path)
    // On Windows a junction, which needs no privilege. Other systems ignore the type.
    return (await unless(['EEXIST'], symlink(lock.#owner, path, 'junction'))) === null ? null : lock
  }

  /** Runs `work`, then releases the lock. */
  async hold<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } finally {
      // The result of the work counts. A lock that cannot be removed becomes abandoned.
      await this.commit(() => unlink(this.#path)).catch(() => {})
    }
  }

  /**
   * Makes a change, if the lock is still held.
   *
   * @returns false if the file to change does not exist
   * @throws StoreUnavailable if the lock is no longer held
   */
  async commit(change: () => Promise<void>): Promise<boolean> {
    if ((await ownerOf(this.#path)) !== this.#owner) throw new StoreUnavailable('a change took so long that its lock was removed')
    return (await unless(['ENOENT'], change())) !== null
  }
}

/**
 * Removes a lock if it is abandoned. It does so under a second lock: otherwise, of two processes that find it
 * abandoned, the slower one could remove the new lock of the faster one.
 */
export async function removeAbandoned(path: string): Promise<boolean> {
  const ownPath = `${path}.lock`
  const lock = await Lock.tryAcquire(ownPath)
  if (lock === null) return false
  return lock.hold(async () => (await isAbandoned(path, ownPath)) && lock.commit(() => unlink(path)))
}

/** @param newPath a lock that was just created: its timestamp is the file system's present time */
async function isAbandoned(path: string, newPath: string): Promise<boolean> {
  if (isDead(await ownerOf(path))) return true
  const [created, now] = await Promise.all([unless(['ENOENT'], lstat(path)), lstat(newPath)])
  // A timestamp in the future also counts, or its lock would stay until that time.
  return created !== null && Math.abs(now.mtimeMs - created.mtimeMs) > MAX_AGE
}

/** The owner of a lock. Null if there is no lock, or a file of another program. */
async function ownerOf(path: string): Promise<string | null> {
  const target = await unless(['ENOENT', 'EINVAL'], readlink(path))
  return target === null ? null : basename(target)
}

/** Whether the owner was a process of `PLACE` that has ended. If its process ID is in use again, the age of the lock decides. */
function isDead(owner: string | null): boolean {
  const [pid, place] = owner?.split('.') ?? []
  if (place !== PLACE) return false
  try {
    process.kill(Number(pid), 0)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
}
