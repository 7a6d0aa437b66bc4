/** The operations of the engine `file` on files: a failure is a StoreUnavailable that says what to do and names no key. */
import { open, opendir, unlink } from 'node:fs/promises'
import { StoreUnavailable } from '../errors.js'

/** As Django's mkstemp(): the owner only. */
export const MODE = 0o600

/** What a file holds, and when it was modified. */
export interface Content {
  text: string
  modified: Date
}

/** Null where the error is one of `answers`. */
export async function read(path: string, ...answers: string[]): Promise<Content | null> {
  const file = await ask(open(path, 'r'), ...answers)
  if (file === null) return null
  try {
    const { mtimeMs } = await ask(file.stat())
    return { text: await ask(file.readFile('latin1')), modified: new Date(Math.round(mtimeMs)) }
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

/** What `work` returns; when it fails, the file is gone. */
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
