/**
 * A decorator of the table that finds out the outcome of a write whose connection broke.
 * The signed text of the row alone cannot tell, because two processes that make the same
 * change in the same second write the same text. Therefore each write has its own random
 * microseconds in `expire_date`, and the row is read to compare them.
 */
import type { Deadline, StoredSession } from '../contract.js'
import type { Columns } from './columns.js'
import type { Merged, SessionRows, StoredRow } from './rows.js'
import type { FoundRow, SessionTable } from './session-table.js'
import { isOutcomeUnknown } from './statement-error.js'

/** The outcome of a write, as the row shows it. */
type Verdict = 'written' | 'not written' | 'unknown'

export class SettledTable implements SessionRows<StoredSession> {
  readonly #rows: SessionRows<StoredRow>
  readonly #table: SessionTable

  /** @param rows sends the statements, batched or not @param table reads rows after a broken connection */
  constructor(rows: SessionRows<StoredRow>, table: SessionTable) {
    this.#rows = rows
    this.#table = table
  }

  findLive(sessionKey: string, now: Date, deadline: Deadline): Promise<StoredSession | null> {
    return this.#rows.findLive(sessionKey, now, deadline)
  }

  exists(sessionKey: string, deadline: Deadline): Promise<boolean> {
    return this.#rows.exists(sessionKey, deadline)
  }

  /** If the key has a row, it was written: the key is random, so that nobody else used it. */
  insert(sessionKey: string, stored: StoredSession, columns: Columns, deadline: Deadline): Promise<boolean> {
    const insert = () => this.#rows.insert(sessionKey, toRow(stored), columns, deadline)
    return this.#settle(insert, sessionKey, (found) => (found === null ? 'unknown' : 'written'), deadline)
  }

  update(sessionKey: string, stored: StoredSession, columns: Columns, snapshot: string | null, deadline: Deadline): Promise<boolean> {
    const row = toRow(stored)
    const update = () => this.#rows.update(sessionKey, row, columns, snapshot, deadline)
    return this.#settle(update, sessionKey, (found) => judge(found, row, snapshot), deadline)
  }

  updateLocked(
    sessionKey: string,
    now: Date,
    merge: (stored: StoredSession) => Merged<StoredSession>,
    deadline: Deadline
  ): Promise<boolean> {
    let judgeMerged = (_found: FoundRow | null): Verdict => 'unknown'
    const mergeToRow = (stored: StoredSession): Merged<StoredRow> => {
      const merged = merge(stored)
      const row = toRow(merged.row)
      judgeMerged = (found) => judge(found, row, null)
      return { row, columns: merged.columns }
    }
    const update = () => this.#rows.updateLocked(sessionKey, now, mergeToRow, deadline)
    return this.#settle(update, sessionKey, (found) => judgeMerged(found), deadline)
  }

  touch(sessionKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<boolean> {
    return this.#rows.touch(sessionKey, expireDate, snapshot, deadline)
  }

  /** As in `insert`: if the new key has a row, it is the moved one. */
  cycleKey(sessionKey: string, newKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<boolean> {
    const cycleKey = () => this.#rows.cycleKey(sessionKey, newKey, expireDate, snapshot, deadline)
    return this.#settle(cycleKey, newKey, (found) => (found === null ? 'unknown' : 'written'), deadline)
  }

  delete(sessionKey: string, deadline: Deadline): Promise<boolean> {
    return this.#rows.delete(sessionKey, deadline)
  }

  /** @throws the error of the write if its outcome stays unknown */
  async #settle(
    write: () => Promise<boolean>,
    sessionKey: string,
    verdictOf: (found: FoundRow | null) => Verdict,
    deadline: Deadline
  ): Promise<boolean> {
    try {
      return await write()
    } catch (error) {
      if (!isOutcomeUnknown(error)) throw error
      const verdict = await this.#table.find(sessionKey, deadline).then(verdictOf, () => 'unknown')
      if (verdict === 'unknown') throw error
      return verdict === 'written'
    }
  }
}

/** From 1 to 999. A 0 in the row means that the column stores no microseconds. */
const randomMicroseconds = () => 1 + Math.floor(Math.random() * 999)

function toRow({ sessionData, expireDate }: StoredSession): StoredRow {
  return { sessionData, expireDate, early: randomMicroseconds() }
}

/**
 * Compares the row with a write. The date is not compared, because another request may have renewed the row. Any third
 * text may have been written after ours, so that the outcome is unknown.
 *
 * @param snapshot the text that the write was to replace. Null for any text: then a row with another text tells nothing
 */
function judge(found: FoundRow | null, { sessionData, early }: StoredRow, snapshot: string | null): Verdict {
  if (found === null) return 'not written'
  const isOurs = found.sessionData === sessionData
  if (isOurs && found.microseconds === 1000 - early) return 'written'
  if (snapshot === null || (isOurs && found.microseconds === 0)) return 'unknown'
  return isOurs || found.sessionData === snapshot ? 'not written' : 'unknown'
}
