/**
 * The contract between sessions and the storage. An engine is created once per process,
 * and keeps no state of a request.
 *
 * Absence is `null` or the outcome `gone`, never an error. An engine throws only if the
 * storage fails: `errors.StoreUnavailable`, which becomes a 503, without the key or data
 * in its message or cause.
 *
 * `create` and `save` are separate, never an upsert: a save that created a row again
 * would undo a logout in the meantime.
 *
 * Each method gets the deadline of the whole operation, in milliseconds of `performance.now()`.
 * The session stops waiting then. The engine should stop too: until its call settles, other
 * writers of the same session in this process wait.
 */
import type { Deadline } from './deadline.js'

export type { Deadline }

/** A session as it is stored. */
export interface StoredSession {
  /** The signed text, unchanged. */
  readonly sessionData: string
  /** The moment at which the session ends. From then on it is not found. */
  readonly expireDate: Date
}

/** A session that is to be stored. */
export interface SessionRecord extends StoredSession {
  /** The decoded data, for engines that also store parts of it, for example in columns. */
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

/** The logger of a session or an engine: Fastify's, or any with these two methods. */
export interface SessionLog {
  debug(details: object, message: string): void
  warn(details: object, message: string): void
}

/** Options of `clearExpired`. */
export interface ClearExpiredOptions {
  /** Removes only sessions that ended more than this many seconds ago. @default 0 */
  grace?: number
  /** Rows or files per batch. @default depends on the storage */
  batchSize?: number
  /** Stops the run before the next batch, also during the pause between two. Removed sessions stay removed. */
  signal?: AbortSignal
  /** Called after each batch, and awaited. If it throws, the run ends with its error. */
  onProgress?: (report: ClearExpiredReport) => unknown
}

/** The outcome of `clearExpired`. */
export interface ClearExpiredReport {
  /** The number of sessions removed so far. */
  deleted: number
  /** The number of batches so far. */
  batches: number
  /** The time since the first batch began, in milliseconds, including pauses. */
  milliseconds: number
  /**
   * How long the oldest of the sessions to remove had been expired for when the run began, in
   * seconds: how far cleanup lags behind. Null if there was none, or if the storage removes them
   * by itself. The engine `file` knows it only at the end, for the files that it read.
   */
  backlogAge: number | null
  /** Set if the run did nothing more because another one is at work on the same table. */
  skipped?: true
}

/** A storage of sessions. The comment at the top of the module holds for all methods. */
export interface Engine {
  /** The salt of the signature. @default that of Django's session stores */
  readonly salt?: string

  /** Whether the key is the signed text itself. Then a key is any text of 8 characters or more, and each save returns another. @default false */
  readonly keyIsData?: boolean

  /**
   * Returns the session of a key. Null if there is none, or it has expired.
   *
   * @throws SuspiciousSession if what is stored is forged or damaged: it is logged, and the session counts as unknown
   */
  load(sessionKey: string, deadline: Deadline): Promise<StoredSession | null>

  /**
   * Stores a new session under an unused key, and returns the key. The write itself
   * must check that the key is unused.
   */
  create(record: SessionRecord, deadline: Deadline): Promise<string>

  /**
   * Replaces a session whose text is still exactly `snapshot`. If `snapshot` is null,
   * replaces it in any case. Never creates a session.
   */
  save(sessionKey: string, record: SessionRecord, snapshot: string | null, deadline: Deadline): Promise<SaveResult>

  /**
   * Replaces a session by the result of `merge`, while no other writer can change it.
   * So it succeeds however many writers there are. Changes nothing if `merge` throws.
   */
  saveLocked(
    sessionKey: string,
    merge: (stored: StoredSession) => SessionRecord,
    deadline: Deadline
  ): Promise<Exclude<SaveResult, { outcome: 'changed' }>>

  /**
   * Moves the end of a session whose text is exactly `snapshot`. If the text is another
   * one, its writer has renewed the session, and nothing is written. Returns false if
   * there is no session.
   */
  touch(sessionKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<boolean>

  /**
   * Moves a session to a new key, and returns it. Atomic: at any time exactly one of the
   * two keys is live. If the text is no longer `snapshot`, the session keeps its end
   * instead of `expireDate`. Null if there is no session.
   */
  cycleKey(sessionKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<string | null>

  /** Deletes a session. Does nothing if there is none. */
  delete(sessionKey: string, deadline: Deadline): Promise<void>

  /** Whether the key is taken, by a live session or by an expired one. */
  exists(sessionKey: string, deadline: Deadline): Promise<boolean>

  /** Removes expired sessions. Does nothing if the storage removes them by itself. */
  clearExpired(options?: ClearExpiredOptions): Promise<ClearExpiredReport>
}
