/**
 * A decorator of the table that settles writes of unknown outcome. When a connection
 * breaks, the statement that was under way may have been carried out. The signed text
 * alone cannot tell: two processes that make the same change in the same second write
 * the same text. So each write has microseconds of its own, which the row is read for.
 */
import type { Deadline, StoredSession } from '../contract.js'
import type { Columns } from './columns.js'
import type { Merged, SessionRows, StoredRow } from './rows.js'
import type { FoundRow, SessionTable } from './session-table.js'
import { isOutcomeUnknown } from './statement-error.js'

/** What a row says of a write. */
type Verdict = 'written' | 'not written' | 'unknown'

export class SettledTable implements SessionRows<StoredSession> {
  readonly #rows: SessionRows<StoredRow>
  readonly #table: SessionTable

  /** @param rows where statements are sent, which may be batched @param table where rows are read */
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

  /** A row under the key is this one: the key was random, and nobody else has it. */
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

  /** As in `insert`: a row under the new key is the one that was moved. */
  cycleKey(sessionKey: string, newKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<boolean> {
    const cycleKey = () => this.#rows.cycleKey(sessionKey, newKey, expireDate, snapshot, deadline)
    return this.#settle(cycleKey, newKey, (found) => (found === null ? 'unknown' : 'written'), deadline)
  }

  delete(sessionKey: string, deadline: Deadline): Promise<boolean> {
    return this.#rows.delete(sessionKey, deadline)
  }

  /** @throws the error of the write where its outcome stays unknown */
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

/** From 1 to 999, so that 0 shows a column that keeps no microseconds. */
const randomMicroseconds = () => 1 + Math.floor(Math.random() * 999)

function toRow({ sessionData, expireDate }: StoredSession): StoredRow {
  return { sessionData, expireDate, early: randomMicroseconds() }
}

/**
 * The date is not compared, since another request may have renewed the row. A third text may be on top of the one
 * that was sent.
 *
 * @param snapshot the text that the write replaces. Null for any text: then a row that is there and was not written
 * cannot be told from none, so it is unknown
 */
function judge(found: FoundRow | null, { sessionData, early }: StoredRow, snapshot: string | null): Verdict {
  if (found === null) return 'not written'
  const isOurs = found.sessionData === sessionData
  if (isOurs && found.microseconds === 1000 - early) return 'written'
  if (snapshot === null || (isOurs && found.microseconds === 0)) return 'unknown'
  return isOurs || found.sessionData === snapshot ? 'not written' : 'unknown'
}
