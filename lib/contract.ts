/**
 * The contract between a session and the place where sessions live. An engine is
 * made once per process and keeps nothing of any request.
 *
 * Absence is `null` or the outcome `gone`, never an error. What an engine throws
 * is a failure of the storage, and ends in a 503: throw `errors.StoreUnavailable`,
 * with no key and no data in its message or cause.
 *
 * `create` and `save` are two verbs, never an upsert: a save that made a row
 * again would undo a logout that happened meanwhile.
 *
 * Each method gets the deadline of the operation that it is a part of, in milliseconds of
 * `performance.now()`. The session stops waiting when it passes. An engine should also stop what
 * it has begun: until the call settles, other writers of the same session in this process wait.
 */
import type { Deadline } from './deadline.js'

export type { Deadline }

/** A session as the storage has it. */
export interface StoredSession {
  /** The signed text, exactly as it was written. */
  readonly sessionData: string
  /** The moment from which on the session is no longer found. */
  readonly expireDate: Date
}

/** A session as it is about to be stored. */
export interface SessionRecord extends StoredSession {
  /** The decoded data, for engines that keep parts of it elsewhere, such as in columns. */
  data(): Record<string, unknown>
}

/**
 * The outcome of a save. `sessionKey` is the key from now on: the same one, unless
 * the key is the data (signed_cookies).
 */
export type SaveResult =
  | { readonly outcome: 'saved'; readonly sessionKey: string }
  /** Another writer was faster; `stored` is what it left. */
  | { readonly outcome: 'changed'; readonly stored: StoredSession }
  | { readonly outcome: 'gone' }

/** Where a session or an engine says what it passes over: Fastify's logger, or any with these two. */
export interface SessionLog {
  debug(details: object, message: string): void
  warn(details: object, message: string): void
}

/** How `clearExpired` goes about it. */
export interface ClearExpiredOptions {
  /** Only sessions that ended more than this many seconds ago. @default 0 */
  grace?: number
  /** Rows per statement. @default what suits the database */
  batchSize?: number
  /** Stops before the next batch, without waiting for the pause between two. What was removed stays removed. */
  signal?: AbortSignal
  /** Called after each batch, and waited for. An error that it throws ends the run, and is the caller's. */
  onProgress?: (report: ClearExpiredReport) => unknown
}

/** The outcome of `clearExpired`. */
export interface ClearExpiredReport {
  /** Sessions removed so far. */
  deleted: number
  /** Statements that it took. */
  batches: number
  /** From the beginning of the first batch, with the pauses. */
  milliseconds: number
  /**
   * Seconds that the oldest of the sessions to remove had been expired for when the run
   * began: how far cleaning up lags behind. Null when there was none, or where the storage
   * removes them by itself. The engine `file` knows it at the end, of the files that it looked at.
   */
  backlogAge: number | null
  /** Another cleaner was at work on the same sessions, and was left to it. */
  skipped?: true
}

/** Where sessions live. The head of the module says what holds for all methods. */
export interface Engine {
  /** Salt of the signature, where it is not that of Django's session stores. */
  readonly salt?: string

  /** The key is the signed text itself: any text of 8 characters or more may be one, and each save makes another. */
  readonly keyIsData?: boolean

  /**
   * The session stored under the key; null when there is none or it has expired.
   *
   * @throws SuspiciousSession when what is there was forged or damaged: it is logged, and the session is unknown
   */
  load(sessionKey: string, deadline: Deadline): Promise<StoredSession | null>

  /**
   * Stores a new session under a key that was unused, and returns the key. Whether
   * a key is unused is for the storage to say at the moment of writing.
   */
  create(record: SessionRecord, deadline: Deadline): Promise<string>

  /**
   * Replaces a session that still holds exactly the text `snapshot`. With null it
   * replaces whatever is there. It never makes a session that is not there.
   */
  save(sessionKey: string, record: SessionRecord, snapshot: string | null, deadline: Deadline): Promise<SaveResult>

  /**
   * Replaces a session by what `merge` makes of it while no other writer can change
   * it, so that it always ends. Does nothing when `merge` throws.
   */
  saveLocked(
    sessionKey: string,
    merge: (stored: StoredSession) => SessionRecord,
    deadline: Deadline
  ): Promise<Exclude<SaveResult, { outcome: 'changed' }>>

  /**
   * Moves the end of a session that holds exactly the text `snapshot`. One that
   * holds another text was renewed by its writer. False when there is none.
   */
  touch(sessionKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<boolean>

  /**
   * Moves a session to a new key, in one step: never are both keys alive, never
   * none. `expireDate` holds for the text `snapshot`; another text keeps its own.
   * Null when there is no session.
   */
  cycleKey(sessionKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<string | null>

  /** Nothing happens when there is no such session. */
  delete(sessionKey: string, deadline: Deadline): Promise<void>

  /** Whether the key is taken, by a live session or an expired one. */
  exists(sessionKey: string, deadline: Deadline): Promise<boolean>

  /** Removes expired sessions; does nothing where the storage does that by itself. */
  clearExpired(options?: ClearExpiredOptions): Promise<ClearExpiredReport>
}
