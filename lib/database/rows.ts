/** The most frequent statements on a table of sessions, which are sent one by one or in batches, and the rows that they write. */
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

/** All methods throw StoreUnavailable and StoreRefused. */
export interface SessionRows {
  /** The row of a key, if it ends after `now`. Otherwise null. */
  findLive(sessionKey: string, now: Date, deadline: Deadline): Promise<StoredSession | null>

  /** Inserts a row. Returns false if the key is taken. */
  insert(sessionKey: string, row: StoredRow, columns: Columns, deadline: Deadline): Promise<boolean>

  /** Replaces a row whose text is `snapshot`, or any text if that is null. Returns false if there is no such row. */
  update(sessionKey: string, row: StoredRow, columns: Columns, snapshot: string | null, deadline: Deadline): Promise<boolean>

  /** Deletes a row. Returns false if there was none. */
  delete(sessionKey: string, deadline: Deadline): Promise<boolean>
}
