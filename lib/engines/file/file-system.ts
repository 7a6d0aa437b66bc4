/** The file operations of the engine `file`. */
import { constants, type Stats } from 'node:fs'
import { open, opendir, unlink } from 'node:fs/promises'
import { StoreUnavailable, SuspiciousSession } from '../../errors.js'

/** Flags to open a file without following a symbolic link or blocking on a named pipe. Windows has neither flag. */
const READ_ONLY = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0)

/**
 * Reads at most the first `maxSize` bytes of a regular file. Other kinds of files are refused without reading.
 *
 * @param isTrusted whether the owner of the file may write sessions
 * @throws SuspiciousSession for a file that is not regular or not trusted
 */
export async function read(path: string, maxSize: number, isTrusted: (stats: Stats) => boolean): Promise<{ text: string; modified: Date }> {
  const file = await open(path, READ_ONLY).catch((error: NodeJS.ErrnoException) => {
    // The codes for a symbolic link and for a socket.
    throw error.code === 'ELOOP' || error.code === 'ENXIO' ? unfit() : error
  })
  try {
    const stats = await file.stat()
    if (!stats.isFile() || !isTrusted(stats)) throw unfit()
    const size = Math.min(stats.size, maxSize)
    const { buffer, bytesRead } = await file.read(Buffer.alloc(size), 0, size, 0)
    return { text: buffer.toString('latin1', 0, bytesRead), modified: new Date(Math.round(stats.mtimeMs)) }
  } finally {
    await file.close()
  }
}

/** The code of the error for a file that cannot be a session. */
export const UNFIT = 'FST_SESSION_SUSPICIOUS'

const unfit = () => new SuspiciousSession('its file is not a regular file, or belongs to another user')

/** Creates a complete file that only its owner can read, as Django's mkstemp() does, or none. */
export async function create(path: string, text: string, modified: Date): Promise<void> {
  const file = await open(path, 'wx', 0o600)
  const write = () => file.writeFile(text, 'latin1').then(() => file.utimes(modified, modified))
  await orRemove(path, () => write().finally(() => file.close()))
}

/** Runs `work`. If it fails, removes the file. */
export async function orRemove<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    await unlink(path).catch(() => {})
    throw error
  }
}

/** The names in a folder, in batches, so that few are in memory at once. The last batch may be empty. */
export async function* batchesOfNames(folder: string, size: number): AsyncGenerator<string[]> {
  let names: string[] = []
  for await (const { name } of await explained(opendir(folder))) {
    if (names.push(name) < size) continue
    yield names
    names = []
  }
  yield names
}

/** The result of an operation, or null if it fails with one of the codes. */
export async function unless<T>(codes: readonly string[], operation: Promise<T>): Promise<T | null> {
  try {
    return await operation
  } catch (error) {
    if (codes.includes((error as NodeJS.ErrnoException).code ?? '')) return null
    throw error
  }
}

/** Turns a system error into a StoreUnavailable that names the remedy and contains no session key. */
export async function explained<T>(operation: Promise<T>): Promise<T> {
  try {
    return await operation
  } catch (error) {
    const { code = '', syscall, message } = error as NodeJS.ErrnoException
    if (syscall === undefined) throw error
    // The path after the comma contains the key. A new error, because the stack repeats the message.
    const cause = Object.assign(new Error(message.split(',', 1)[0]), { code, syscall })
    throw new StoreUnavailable(REMEDIES[code] ?? 'a file operation failed', { cause })
  }
}

const MISSING_FOLDER = 'the folder filePath is missing or is not a folder, create it'
const DENIED = 'access to a file or the folder filePath was denied, check owner and permissions'
const FULL = 'the disk or the quota of the folder filePath is full, make room (clearsessions)'

const REMEDIES: Record<string, string> = {
  ENOENT: MISSING_FOLDER,
  ENOTDIR: MISSING_FOLDER,
  EACCES: DENIED,
  EPERM: DENIED,
  EROFS: DENIED,
  ENOSPC: FULL,
  EDQUOT: FULL
}
