/** The interface of a table of sessions, for the table itself and its decorators. */
import type { Deadline, StoredSession } from '../contract.js'
import type { Columns } from './columns.js'

/** A session as it is bound to a statement. */
export interface StoredRow extends StoredSession {
  /**
   * By how many microseconds, from 1 to 999, the stored date is earlier than `expireDate`. They distinguish
   * a write from others of the same text. `touch` and `cycleKey` keep them.
   */
  readonly early: number
}

/** A session with the values of its additional columns. */
export interface Merged<Row> {
  row: Row
  columns: Columns
}

/** The statements on one row. All throw StoreUnavailable and StoreRefused. `Row` is the type of rows to write. */
export interface SessionRows<Row extends StoredSession> {
  /** The row of a key, if it ends after `now`. Otherwise null. */
  findLive(sessionKey: string, now: Date, deadline: Deadline): Promise<StoredSession | null>

  /** Whether there is a row with the key, live or expired. */
  exists(sessionKey: string, deadline: Deadline): Promise<boolean>

  /** Inserts a row. Returns false if the key is taken. */
  insert(sessionKey: string, row: Row, columns: Columns, deadline: Deadline): Promise<boolean>

  /** Replaces a row whose text is `snapshot`, or any text if that is null. Returns false if there is no such row. */
  update(sessionKey: string, row: Row, columns: Columns, snapshot: string | null, deadline: Deadline): Promise<boolean>

  /** Replaces a live row by the result of `merge`, under its lock. Returns false if there is none. */
  updateLocked(sessionKey: string, now: Date, merge: (stored: StoredSession) => Merged<Row>, deadline: Deadline): Promise<boolean>

  /** Moves the end of a row whose text is `snapshot`. Returns false if there is no such row. */
  touch(sessionKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<boolean>

  /** Changes the key of a row, and also its end if its text is `snapshot`. Returns false if there is no such row. */
  cycleKey(sessionKey: string, newKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<boolean>

  /** Deletes a row. Returns false if there was none. */
  delete(sessionKey: string, deadline: Deadline): Promise<boolean>
}
