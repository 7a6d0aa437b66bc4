/** Sessions as files, with the names and the content of django/contrib/sessions/backends/file.py. */
import { randomBytes } from 'node:crypto'
import type { Stats } from 'node:fs'
import { lutimes, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { StoredSession } from '../../contract.js'
import type { Codec } from '../../django/codec.js'
import { EXPIRY_NAME, expiryDate, fixedDate } from '../../django/expiry.js'
import { SessionTooLarge } from '../../errors.js'
import { batchesOfNames, create, read, unless } from './file-system.js'
import { checkFolder, currentUser } from './folder.js'

export interface SessionFilesOptions {
  /** Django's `SESSION_FILE_PATH`: a folder that exists. */
  folder: string
  /** The beginning of the names of sessions' files. */
  cookieName: string
  /** The age of a session without an expiry of its own, in seconds from the file's last modification. */
  cookieAge: number
  /** The option `timeouts.idle`, in seconds. */
  idle?: number | undefined
  /** The option `maxSize`, in bytes. */
  maxSize: number
  codec: Codec
  clock: () => Date
}

/** A file in the folder that belongs to a session. */
export interface SessionFile {
  path: string
  sessionKey: string
  /** Whether it is a lock or a temporary file. */
  isHidden: boolean
}

/** What follows the cookie's name in the name of a lock or a temporary file. */
const HIDDEN = /^([a-z0-9]{32})(?:\.[0-9a-f]{16}\.tmp|(?:\.lock)+)$/

export class SessionFiles {
  readonly #options: SessionFilesOptions
  /** The user ID of the folder's owner. */
  readonly #owner: number
  /** The length of the signed text for `maxSize` bytes: base64, a timestamp and a signature (see `TimestampSigner`). */
  readonly #maxTextSize: number

  /** @throws InvalidOptions if the folder cannot be used */
  constructor(options: SessionFilesOptions) {
    this.#owner = checkFolder(options.folder)
    this.#options = options
    this.#maxTextSize = Math.ceil((options.maxSize * 4) / 3) + 100
  }

  path(sessionKey: string): string {
    return join(this.#options.folder, this.#options.cookieName + sessionKey)
  }

  lockPath(sessionKey: string): string {
    return this.#hiddenPath(sessionKey, 'lock')
  }

  newTemporaryPath(sessionKey: string): string {
    return this.#hiddenPath(sessionKey, `${randomBytes(8).toString('hex')}.tmp`)
  }

  /** Starts with a dot, so that Django's clearsessions ignores the file. */
  #hiddenPath(sessionKey: string, ending: string): string {
    return join(this.#options.folder, `.${this.#options.cookieName}${sessionKey}.${ending}`)
  }

  /** The names of the folder, in batches. The last batch may be empty. */
  names(batchSize: number): AsyncGenerator<string[]> {
    return batchesOfNames(this.#options.folder, batchSize)
  }

  /** The file with a name, and the key of its session; `isHidden` for a lock or a temporary file. Null for other files. */
  parse(name: string): SessionFile | null {
    const { folder, cookieName } = this.#options
    const path = join(folder, name)
    const after = (prefix: string) => (name.startsWith(prefix) ? name.slice(prefix.length) : '')
    const sessionKey = after(cookieName)
    if (isKey(sessionKey)) return { path, sessionKey, isHidden: false }
    const hidden = HIDDEN.exec(after(`.${cookieName}`))
    return hidden === null ? null : { path, sessionKey: hidden[1] as string, isHidden: true }
  }

  /**
   * The session of a key, live or expired. A text that is too large is cut.
   *
   * @throws SuspiciousSession for a file that is not regular, or whose owner is neither this user nor the folder's owner
   */
  async read(sessionKey: string): Promise<StoredSession> {
    // The owner of the folder can replace any file in it.
    const isTrusted = ({ uid }: Stats) => uid === (currentUser() ?? uid) || uid === this.#owner
    const { text, modified } = await read(this.path(sessionKey), this.#maxTextSize + 1, isTrusted)
    const { cookieAge, idle } = this.#options
    return { sessionData: text, expireDate: expiryDate(this.#expiryOf(text), cookieAge, modified, idle) }
  }

  /** The session of a key, or null. @throws SuspiciousSession as `read` does, SessionTooLarge */
  async find(sessionKey: string): Promise<StoredSession | null> {
    const stored = await this.ifPresent(this.read(sessionKey))
    if (stored !== null && stored.sessionData.length > this.#maxTextSize) throw new SessionTooLarge(this.#options.maxSize)
    return stored
  }

  /** Returns null if there is no file. A missing folder is an error, because otherwise it would log everybody out. */
  async ifPresent<T>(operation: Promise<T>): Promise<T | null> {
    const result = await unless(['ENOENT'], operation)
    if (result === null) await stat(this.#options.folder)
    return result
  }

  create(path: string, { sessionData, expireDate }: StoredSession): Promise<void> {
    return create(path, sessionData, this.#modifiedFor(sessionData, expireDate))
  }

  /** Moves the end of a session that holds the text. */
  renew(sessionKey: string, { sessionData, expireDate }: StoredSession): Promise<void> {
    const modified = this.#modifiedFor(sessionData, expireDate)
    return lutimes(this.path(sessionKey), modified, modified)
  }

  /**
   * The modification time with which a session ends at a date, by the rules of Django's `_expiry_date`. Unlike there,
   * an expiry as a positive number of seconds counts too: in Django's files such a session never ends.
   */
  #modifiedFor(text: string, expireDate: Date): Date {
    const expiry = this.#expiryOf(text)
    const { cookieAge, idle, clock } = this.#options
    if (fixedDate(expiry) !== null) {
      // The end is in the text. This time is for programs that remove old files.
      return idle === undefined ? clock() : new Date(expireDate.getTime() - idle * 1000)
    }
    return new Date(expireDate.getTime() - expiryDate(expiry, cookieAge, new Date(0), idle).getTime())
  }

  /** The expiry in a text. Undefined if the text cannot be read: such a session ends after `cookieAge`. */
  #expiryOf(text: string): unknown {
    return this.#options.codec.tryDecode(text)?.get(EXPIRY_NAME)?.value
  }
}

/**
 * Whether a text has the form of a key of Django or this package. No other text becomes part of a path. It could contain
 * separators, dots, or upper case, which some file systems ignore; with another length it could name a file of a site
 * with a longer cookie name.
 */
export function isKey(text: string): boolean {
  return /^[a-z0-9]{32}$/.test(text)
}
