/**
 * A decorator of the table that settles writes of unknown outcome. When a connection
 * breaks, the statement that was under way may have been carried out. The signed text
 * alone cannot tell: two processes that make the same change in the same second write
 * the same text. So each write has microseconds of its own, which the row is read for.
 * Every statement but an update is idempotent and is simply sent again.
 */
import type { Deadline, StoredSession } from '../contract.js'
import type { Columns } from './columns.js'
import type { Merged, SessionRows, StoredRow } from './rows.js'
import type { FoundRow, SessionTable } from './session-table.js'
import { isOutcomeUnknown } from './statement-error.js'

/** The outcome of a write, as the row shows it. */
type Verdict = 'written' | 'not written' | 'unknown'

export class SettledTable {
  readonly #rows: SessionRows
  readonly #table: SessionTable

  /** @param rows sends the frequent statements, batched or not @param table sends all others */
  constructor(rows: SessionRows, table: SessionTable) {
    this.#rows = rows
    this.#table = table
  }

  findLive(sessionKey: string, now: Date, deadline: Deadline): Promise<StoredSession | null> {
    return this.#rows.findLive(sessionKey, now, deadline)
  }

  /** If the key is taken, the same statement may have taken it before its connection broke. */
  async insert(sessionKey: string, stored: StoredSession, columns: Columns, deadline: Deadline): Promise<boolean> {
    const row = new MarkedRow(stored)
    if (await this.#rows.insert(sessionKey, row, columns, deadline)) return true
    return judge(await this.#table.find(sessionKey, deadline), row, null) === 'written'
  }

  update(sessionKey: string, stored: StoredSession, columns: Columns, snapshot: string | null, deadline: Deadline): Promise<boolean> {
    const row = new MarkedRow(stored)
    return this.#rows
      .update(sessionKey, row, columns, snapshot, deadline)
      .catch((error) => this.#settle(error, sessionKey, (found) => judge(found, row, snapshot), deadline))
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
      const row = new MarkedRow(merged.row)
      judgeMerged = (found) => judge(found, row, null)
      return { row, columns: merged.columns }
    }
    return this.#table
      .updateLocked(sessionKey, now, mergeToRow, deadline)
      .catch((error) => this.#settle(error, sessionKey, judgeMerged, deadline))
  }

  /** As in `insert`: a row under the new key is the one that was moved, since the key is random, and nobody else has it. */
  async cycleKey(sessionKey: string, newKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<boolean> {
    if (await this.#table.cycleKey(sessionKey, newKey, expireDate, snapshot, deadline)) return true
    return this.#table.exists(newKey, deadline)
  }

  delete(sessionKey: string, deadline: Deadline): Promise<boolean> {
    return this.#rows.delete(sessionKey, deadline)
  }

  /** Whether a write that failed was carried out all the same. @throws its error if that stays unknown */
  async #settle(error: unknown, sessionKey: string, verdictOf: (found: FoundRow | null) => Verdict, deadline: Deadline): Promise<boolean> {
    if (!isOutcomeUnknown(error)) throw error
    const verdict = await this.#table.find(sessionKey, deadline).then(verdictOf, () => 'unknown')
    if (verdict === 'unknown') throw error
    return verdict === 'written'
  }
}

/** From 1 to 999. A 0 in the row means that the column stores no microseconds. */
const randomMicroseconds = () => 1 + Math.floor(Math.random() * 999)

/** A row to write. A class, as the items of `BatchedTable` are. */
class MarkedRow implements StoredRow {
  readonly sessionData: string
  readonly expireDate: Date
  readonly early = randomMicroseconds()

  constructor({ sessionData, expireDate }: StoredSession) {
    this.sessionData = sessionData
    this.expireDate = expireDate
  }
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
