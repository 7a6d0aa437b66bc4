/** Locks that hold among processes: files that only one can make. */
import { readFileSync, readlinkSync } from 'node:fs'
import { lstat, open, unlink } from 'node:fs/promises'
import { hostname } from 'node:os'
import { StoreUnavailable } from '../../errors.js'
import { monotonicNow, pause } from '../../timers.js'
import { ask, MODE, read } from './file-system.js'

/**
 * Milliseconds. A lock is held for a few. Whoever was stopped for HOLD_LIMIT while holding
 * one touches neither session nor lock any more, long before another takes it for abandoned.
 */
const HOLD_LIMIT = 10_000
const ABANDONED_AFTER = 30_000

/** Abandoned locks that one acquisition removes: each is a process that died, or a rival whose clock is far off. */
const MAX_REMOVALS = 10

/** Bytes. Its text is shorter, unless another program wrote it. */
const MAX_SIZE = 1000

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
export class Lock {
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
    const deadline = monotonicNow() + timeout * 1000
    for (let attempt = 1, removals = 0; ; attempt++) {
      const lock = new Lock(path, clock)
      if (await lock.#make()) return lock
      if (removals++ < MAX_REMOVALS && (await removeAbandoned(path, clock))) continue
      if (monotonicNow() >= deadline) return null
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
export async function removeAbandoned(path: string, clock: () => Date): Promise<boolean> {
  if (!(await isAbandoned(path, clock))) return false
  const remover = await Lock.acquire(`${path}.lock`, clock, 0)
  if (remover === null) return false
  return remover.holding(async () => (await isAbandoned(path, clock)) && remover.commit(() => unlink(path)))
}

/**
 * A holder is dead when no process of its place has its number. A holder elsewhere, a
 * number that another process has got since, and a lock that cannot be read are judged by
 * age. A time in the future is not believed, or it would block a logout until then: what
 * counts then is the time of creation (ctime), which no program can set.
 */
async function isAbandoned(path: string, clock: () => Date): Promise<boolean> {
  const stats = await ask(lstat(path), 'ENOENT')
  if (stats === null) return false
  const content = await read(path, MAX_SIZE, () => true, 'ENOENT', 'EACCES')
  const text = content === null || content === 'unfit' ? null : content.text
  const [, pid, since, place] = /^(\d+) (\d+) (.*)$/.exec(text ?? '') ?? []
  const now = clock().getTime()
  const made = Number(since) <= now + ABANDONED_AFTER ? Number(since) : stats.ctimeMs
  if (now - made > ABANDONED_AFTER) return true
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
