/** The interface of a table of sessions, for the table itself and its decorators. */
import type { Deadline, StoredSession } from '../contract.js'
import type { Columns } from './columns.js'

/** A session as it is bound to a statement. */
export interface StoredRow extends StoredSession {
  /**
   * Microseconds, from 1 to 999, that the stored date is earlier than `expireDate`. They tell a write from
   * every other one of the same text. A renewal and a new key keep them.
   */
  readonly early: number
}

/** A session with the values of its additional columns. */
export interface Merged<Row> {
  row: Row
  columns: Columns
}

/** The statements on one row. All throw StoreUnavailable and StoreRefused. `Row` is what is written. */
export interface SessionRows<Row extends StoredSession> {
  /** The row of a key that ends after `now`; null when there is none. */
  findLive(sessionKey: string, now: Date, deadline: Deadline): Promise<StoredSession | null>

  /** Whether there is a row with the key, live or expired. */
  exists(sessionKey: string, deadline: Deadline): Promise<boolean>

  /** False when the key is taken. */
  insert(sessionKey: string, row: Row, columns: Columns, deadline: Deadline): Promise<boolean>

  /** Replaces a row that holds the text `snapshot`, or any with null. False when there is no such row. */
  update(sessionKey: string, row: Row, columns: Columns, snapshot: string | null, deadline: Deadline): Promise<boolean>

  /** Replaces the live row by the result of `merge`, under its lock. False when there is none. */
  updateLocked(sessionKey: string, now: Date, merge: (stored: StoredSession) => Merged<Row>, deadline: Deadline): Promise<boolean>

  /** Moves the end of a row that holds the text `snapshot`. False when there is no such row. */
  touch(sessionKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<boolean>

  /** Changes the key of a row, and its end while it holds the text `snapshot`. False when there is no such row. */
  cycleKey(sessionKey: string, newKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<boolean>

  /** False when there was no such row. */
  delete(sessionKey: string, deadline: Deadline): Promise<boolean>
}
