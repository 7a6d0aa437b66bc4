/**
 * A decorator of the table that combines its most frequent statements for many sessions
 * into one. Under load, each then costs the server and the database a fraction of a
 * statement. A lone call is sent as the single-row statement.
 */
import type { Deadline, StoredSession } from '../contract.js'
import { Batcher, type BatcherOptions } from './batcher.js'
import type { Columns } from './columns.js'
import type { SessionRows, StoredRow } from './rows.js'
import { isPlain, type SessionTable } from './session-table.js'
import { isRefused, timedOut } from './statement-error.js'
import type { Retries } from './use.js'

// Classes, since V8 allocates literals that outlive a call to the database in the old generation, where they keep alive what they refer to.

class Keyed {
  readonly sessionKey: string

  constructor(sessionKey: string) {
    this.sessionKey = sessionKey
  }
}

class Read extends Keyed {
  readonly now: Date

  constructor(sessionKey: string, now: Date) {
    super(sessionKey)
    this.now = now
  }
}

class Create extends Keyed {
  readonly row: StoredRow

  constructor(sessionKey: string, row: StoredRow) {
    super(sessionKey)
    this.row = row
  }
}

class Save extends Create {
  readonly snapshot: string | null

  constructor(sessionKey: string, row: StoredRow, snapshot: string | null) {
    super(sessionKey, row)
    this.snapshot = snapshot
  }
}

/** As for single rows, but not sent again when a row is locked: then each call goes alone, and only the one of that row waits. */
const REPEATED: Retries = { whenBusy: false, whenLost: true }
const NOT_REPEATED: Retries = { whenBusy: false }

/** Others wait for a batch: it must not take long. */
const MAX_SIZE = 64

/** How many batches of each kind may be under way. Measured: with more, batches become smaller. */
const MAX_UNDER_WAY = 3

/** How many callers get their result in one turn of the event loop (see `BatcherOptions`). Measured. */
const RESULTS_PER_TURN = 12

export class BatchedTable implements SessionRows {
  readonly #table: SessionTable
  readonly #sql: ReturnType<typeof statementsOf>
  readonly #reads: Batcher<Read, StoredSession | null>
  readonly #saves: Batcher<Save, boolean>
  readonly #creates: Batcher<Create, boolean>
  readonly #deletes: Batcher<Keyed, boolean>

  constructor(table: SessionTable) {
    this.#table = table
    this.#sql = statementsOf(table)
    // A statement reports one outcome per row, so that a batch has each key once.
    const keyOf = ({ sessionKey }: Keyed) => sessionKey
    this.#reads = createBatcher<Read, StoredSession | null>({
      alone: ({ sessionKey, now }, deadline) => table.findLive(sessionKey, now, deadline),
      together: (items, deadline) => this.#findLive(items, deadline)
    })
    this.#creates = createBatcher<Create, boolean>({
      alone: ({ sessionKey, row }, deadline) => table.insert(sessionKey, row, {}, deadline),
      together: (items, deadline) => this.#write(this.#sql.insert, items, this.#columnsOf(items), deadline),
      keyOf
    })
    this.#saves = createBatcher<Save, boolean>({
      alone: ({ sessionKey, row, snapshot }, deadline) => table.update(sessionKey, row, {}, snapshot, deadline),
      together: (items, deadline) => {
        const columns = [...this.#columnsOf(items), items.map(({ snapshot }) => snapshot)]
        return this.#write(this.#sql.update, items, columns, deadline, NOT_REPEATED)
      },
      keyOf
    })
    this.#deletes = createBatcher<Keyed, boolean>({
      alone: ({ sessionKey }, deadline) => table.delete(sessionKey, deadline),
      together: (items, deadline) => this.#write(this.#sql.delete, items, [items.map(keyOf)], deadline),
      keyOf
    })
  }

  findLive(sessionKey: string, now: Date, deadline: Deadline): Promise<StoredSession | null> {
    return this.#reads.add(new Read(sessionKey, now), deadline)
  }

  /** Batches rows without additional columns only. */
  insert(sessionKey: string, row: StoredRow, columns: Columns, deadline: Deadline): Promise<boolean> {
    return isPlain(columns)
      ? this.#creates.add(new Create(sessionKey, row), deadline)
      : this.#table.insert(sessionKey, row, columns, deadline)
  }

  update(sessionKey: string, row: StoredRow, columns: Columns, snapshot: string | null, deadline: Deadline): Promise<boolean> {
    if (isPlain(columns)) return this.#saves.add(new Save(sessionKey, row, snapshot), deadline)
    return this.#table.update(sessionKey, row, columns, snapshot, deadline)
  }

  delete(sessionKey: string, deadline: Deadline): Promise<boolean> {
    return this.#deletes.add(new Keyed(sessionKey), deadline)
  }

  async #findLive(items: readonly Read[], deadline: Deadline): Promise<(StoredSession | null)[]> {
    const { dialect } = this.#table.connections
    const now = new Date(Math.max(...items.map(({ now }) => now.getTime())))
    const bindings = [items.map(({ sessionKey }) => sessionKey), dialect.bindDate(now)]
    const rows = await this.#table.connections.rows(this.#sql.findLive, bindings, deadline, REPEATED)
    const found = new Map(rows.map((row) => [row.session_key, this.#table.read(row)]))
    return items.map(({ sessionKey }) => found.get(sessionKey) ?? null)
  }

  /** Whether the row of each item was written. */
  async #write(
    sql: string,
    items: readonly Keyed[],
    columns: (string | null)[][],
    deadline: Deadline,
    retries = REPEATED
  ): Promise<boolean[]> {
    const rows = await this.#table.connections.rows(sql, columns, deadline, retries)
    if (rows.length === items.length) return items.map(() => true)
    const written = new Set(rows.map((row) => row.session_key))
    return items.map(({ sessionKey }) => written.has(sessionKey))
  }

  #columnsOf(items: readonly Create[]): (string | null)[][] {
    const { bindDate } = this.#table.connections.dialect
    return [
      items.map(({ sessionKey }) => sessionKey),
      items.map(({ row }) => row.sessionData),
      items.map(({ row }) => bindDate(row.expireDate, row.early))
    ]
  }
}

function createBatcher<Item, Result>(options: Pick<BatcherOptions<Item, Result>, 'alone' | 'together' | 'keyOf'>): Batcher<Item, Result> {
  return new Batcher({
    maxSize: MAX_SIZE,
    maxUnderWay: MAX_UNDER_WAY,
    resultsPerTurn: RESULTS_PER_TURN,
    isRefused,
    timedOut,
    ...options
  })
}

/** The statements for many sessions. Those that write fail at once if a row is locked. */
function statementsOf({ table, connections: { dialect } }: SessionTable) {
  return {
    findLive: `SELECT session_key, session_data, ${dialect.selectDate('expire_date')} AS expire_date FROM ${table} WHERE session_key = ANY(?) AND expire_date > ?`,
    update: `WITH free AS (
         SELECT given.* FROM ${table} AS row
         JOIN unnest(?::text[], ?::text[], ?::timestamptz[], ?::text[]) AS given (session_key, text, expire_date, snapshot)
           ON row.session_key = given.session_key AND (given.snapshot IS NULL OR row.session_data = given.snapshot)
         FOR NO KEY UPDATE OF row NOWAIT)
       UPDATE ${table} AS stored SET session_data = free.text, expire_date = free.expire_date
       FROM free WHERE stored.session_key = free.session_key RETURNING stored.session_key`,
    insert: `INSERT INTO ${table} (session_key, session_data, expire_date)
       SELECT * FROM unnest(?::text[], ?::text[], ?::timestamptz[])
       ON CONFLICT (session_key) DO NOTHING RETURNING session_key`,
    delete: `DELETE FROM ${table}
       WHERE session_key IN (SELECT session_key FROM ${table} WHERE session_key = ANY(?) FOR UPDATE NOWAIT)
       RETURNING session_key`
  }
}
