/** The operations of the engine `file` on files: a failure is a StoreUnavailable that says what to do and names no key. */
import { constants, type Stats } from 'node:fs'
import { open, opendir, unlink } from 'node:fs/promises'
import { StoreUnavailable } from '../../errors.js'

/** As Django's mkstemp(): the owner only. */
export const MODE = 0o600

/** Neither follows a symbolic link nor waits for the other end of a pipe. Windows has neither flag. */
const READ_ONLY = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0)

/** `open` of a symbolic link and of a socket, by READ_ONLY. */
const SPECIAL_FILE = ['ELOOP', 'ENXIO']

/** The content of a regular file, and when it was modified. */
export interface Content {
  /** null where there is more than may be read */
  text: string | null
  modified: Date
}

/**
 * Reads a file of at most `maxSize` bytes. Whatever it is, reading it neither blocks nor
 * takes more memory than that.
 *
 * @param isTrusted whether its owner may write sessions
 * @param answers codes of errors for which it returns null
 * @returns 'unfit' for what is no regular file or not trusted
 */
export async function read(
  path: string,
  maxSize: number,
  isTrusted: (stats: Stats) => boolean,
  ...answers: string[]
): Promise<Content | 'unfit' | null> {
  const opened = open(path, READ_ONLY).catch((error: NodeJS.ErrnoException) => {
    if (SPECIAL_FILE.includes(error.code ?? '')) return 'unfit' as const
    throw error
  })
  const file = await ask(opened, ...answers)
  if (file === null || file === 'unfit') return file
  try {
    const stats = await ask(file.stat())
    if (!stats.isFile() || !isTrusted(stats)) return 'unfit'
    const modified = new Date(Math.round(stats.mtimeMs))
    if (stats.size > maxSize) return { text: null, modified }
    const { buffer, bytesRead } = await ask(file.read(Buffer.alloc(stats.size), 0, stats.size, 0))
    return { text: buffer.toString('latin1', 0, bytesRead), modified }
  } finally {
    await file.close()
  }
}

export async function* batchesOfNames(folder: string, size: number): AsyncGenerator<string[]> {
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

/** Returns the result of `work`; when that fails, the file is gone. */
export async function orRemove<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    await unlink(path).catch(() => {})
    throw error
  }
}

/** The result of an operation, and null for errors that are an answer too. @throws StoreUnavailable for all others */
export async function ask<T>(operation: Promise<T>): Promise<T>
export async function ask<T>(operation: Promise<T>, ...answers: string[]): Promise<T | null>
export async function ask<T>(operation: Promise<T>, ...answers: string[]): Promise<T | null> {
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

/** Advice, where the code of an error allows it. */
const REMEDIES: Record<string, string> = {
  ENOENT: MISSING_FOLDER,
  ENOTDIR: MISSING_FOLDER,
  EACCES: DENIED,
  EPERM: DENIED,
  EROFS: DENIED,
  ENOSPC: FULL,
  EDQUOT: FULL
}
