/** The folder of the engine `file`. The names in it are session keys: users who can list it can take over sessions. */
import { accessSync, constants, lstatSync, mkdirSync, type Stats, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { InvalidOptions } from '../../errors.js'

/** The user ID of this process. Undefined on Windows, where each user has a temporary folder of their own. */
export const currentUser = (): number | undefined => process.geteuid?.()

/**
 * Creates a folder for the current user in the system's temporary folder, unless it exists.
 *
 * @throws InvalidOptions if it belongs to another user, gives others access, or is not a folder
 */
export function makeDefaultFolder(): string {
  const user = currentUser()
  const folder = join(tmpdir(), user === undefined ? 'fastify-django-sessions' : `fastify-django-sessions-${user}`)
  try {
    mkdirSync(folder, { mode: 0o700 })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'EEXIST') refuse('a folder that can be created', folder, `cannot be created (${code})`)
  }
  // A symbolic link is not followed.
  const stats = lstatSync(folder)
  const isOwn = stats.isDirectory() && (user === undefined || (stats.uid === user && (stats.mode & 0o077) === 0))
  if (!isOwn) refuse('a folder of this user only (mode 0700)', folder, `is ${describe(stats)}`)
  return folder
}

/**
 * Checks a folder at the start. Its group may have access, such as that of a Django site.
 *
 * @returns the user ID of its owner
 * @throws InvalidOptions
 */
export function checkFolder(folder: string): number {
  const stats = usable(folder)
  if (typeof stats === 'string') refuse('a folder that exists and can be written to', folder, stats)
  if (currentUser() !== undefined && (stats.mode & 0o007) !== 0) {
    // No chmod is advised: users may share the folder, as they share /tmp.
    const problem = `is ${describe(stats)}. The names of its files are session keys`
    refuse('a folder that other users cannot look into', folder, problem)
  }
  return stats.uid
}

/** The folder, or what is wrong with it. */
function usable(folder: string): Stats | string {
  try {
    const stats = statSync(folder)
    if (!stats.isDirectory()) return `is ${describe(stats)}`
    accessSync(folder, constants.R_OK | constants.W_OK | constants.X_OK)
    return stats
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    return code === 'ENOENT' ? 'does not exist' : `cannot be used by this process (${code})`
  }
}

function describe(stats: Stats): string {
  if (stats.isSymbolicLink()) return 'a symbolic link'
  if (!stats.isDirectory()) return 'not a folder'
  return `a folder of user ${stats.uid} with mode 0${(stats.mode & 0o7777).toString(8)}`
}

function refuse(expected: string, folder: string, problem: string): never {
  const advice = 'Give filePath a folder of its own, for the user of this process only (mode 0700)'
  throw new InvalidOptions(`- filePath: expected ${expected}, but ${JSON.stringify(folder)} ${problem}. ${advice}`)
}
