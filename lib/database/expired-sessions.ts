/** The expired rows of the table of sessions: counts them, and deletes them in batches, by their ends or page by page. */
import { monotonicNow } from '../timers.js'
import { undo } from './connections.js'
import type { Binding, Dialect, PageStatements } from './dialect.js'
import type { SessionTable } from './session-table.js'
import type { Retries } from './use.js'

/** The number of sessions that a batch deleted, and the milliseconds for which they were locked. */
export interface DeletedBatch {
  readonly deleted: number
  readonly milliseconds: number
}

/** Idempotent statements are sent again if the connection breaks. */
const REPEATED: Retries = { whenLost: true }

/** The rows of a smaller table are in memory, so that the order in which they are deleted does not matter. */
const FEWEST_PAGES = 1000

const SAMPLED_PAGES = 100

/** With fewer expired sessions in a page, most pages would be read in vain. */
const EXPIRED_PER_PAGE = 0.5

/** All methods throw StoreUnavailable and StoreRefused. */
export class ExpiredSessions {
  readonly #table: SessionTable
  readonly #dialect: Dialect

  constructor(table: SessionTable) {
    this.#table = table
    this.#dialect = table.connections.dialect
  }

  /** The batch sizes for `delete` on this database. */
  get cleanup(): Dialect['cleanup'] {
    return this.#dialect.cleanup
  }

  /**
   * The end of the oldest session that ended before the date. Null if there is none.
   *
   * @param from ignores sessions that ended earlier
   */
  async oldest(before: Date, from: Date | null = null): Promise<Date | null> {
    return (await this.#summary('NULL', before, from)).oldest
  }

  /** The number of sessions that ended before the date, and the end of the oldest. */
  count(before: Date): Promise<{ count: number; oldest: Date | null }> {
    return this.#summary('count(*)', before, null)
  }

  /**
   * Deletes at most `limit` sessions that ended from `from` on and before `before`, the oldest
   * first.
   *
   * @returns their number, and for how many milliseconds they were locked; null if another cleanup is running
   */
  delete(from: Date, before: Date, limit: number): Promise<DeletedBatch | null> {
    return this.#deleteBatch(this.#dialect.deleteExpired(this.#table.table, this.#bindLimit(from), this.#bindLimit(before), limit))
  }

  /**
   * The number of the table's pages, if it is best to delete what ended before the date page by page, in the order in which
   * rows lie on the disk. That is faster if many have expired. Otherwise 0.
   */
  async pagesToSweep(before: Date): Promise<number> {
    const { pages } = this.#dialect
    if (pages === null) return 0
    const count = await this.countPages()
    if (count < FEWEST_PAGES) return 0
    const share = (SAMPLED_PAGES / count) * 100
    const [sample] = await this.#table.connections.rows(...pages.sampleExpired(this.#table.table, share, this.#bindLimit(before)))
    return Number(sample?.total) >= SAMPLED_PAGES * EXPIRED_PER_PAGE ? count : 0
  }

  /** The number of the table's pages, on a database that deletes by them. */
  async countPages(): Promise<number> {
    const { count } = this.#dialect.pages as PageStatements
    const [row] = await this.#table.connections.rows(count, [this.#table.table])
    return Number(row?.pages)
  }

  /** As `delete`, for the sessions in the pages from `from` up to the one before `to`, in no order. */
  deleteIn(from: number, to: number, before: Date, limit: number): Promise<DeletedBatch | null> {
    const { deleteExpired } = this.#dialect.pages as PageStatements
    return this.#deleteBatch(deleteExpired(this.#table.table, from, to, this.#bindLimit(before), limit))
  }

  /** Deletes expired sessions by a statement, in a transaction of its own. Null if another cleanup run is at work. */
  async #deleteBatch(statement: [sql: string, bindings: Binding[]]): Promise<DeletedBatch | null> {
    const { tryLock, unlock } = this.#dialect
    const lockName = `clearsessions ${this.#table.tableName}`
    let started = 0
    const deleted = await this.#table.connections.transaction(async (send) => {
      started = monotonicNow()
      if (tryLock !== null) {
        const [lock] = this.#dialect.rows(await send(tryLock, [lockName]))
        if (!lock?.held) return null
      }
      try {
        return this.#dialect.affected(await send(...statement))
      } finally {
        if (unlock !== null) await undo(send, unlock, [lockName])
      }
    })
    return deleted === null ? null : { deleted, milliseconds: monotonicNow() - started }
  }

  /** @param count SQL for the number of sessions, where it is wanted */
  async #summary(count: string, before: Date, from: Date | null): Promise<{ count: number; oldest: Date | null }> {
    const [where, dates] = from === null ? ['expire_date < ?', [before]] : ['expire_date >= ? AND expire_date < ?', [from, before]]
    // The inner query finds the minimum by the index. Only that one is converted to the form that `readDate` reads.
    const expired = `SELECT ${count} AS total, min(expire_date) AS expire_date FROM ${this.#table.table} WHERE ${where}`
    const [row] = await this.#table.connections.rows(
      `SELECT CAST(total AS CHAR(20)) AS total, ${this.#dialect.selectDate('expire_date')} AS oldest FROM (${expired}) AS expired`,
      dates.map((date) => this.#bindLimit(date)),
      undefined,
      REPEATED
    )
    return { count: Number(row?.total), oldest: row?.oldest == null ? null : this.#dialect.readDate(row.oldest) }
  }

  /** Binds a limit so that the database compares dates as they are read: rounded up to the millisecond. */
  #bindLimit(date: Date): string {
    return this.#dialect.bindDate(date, 999)
  }
}
