/**
 * The model's most frequent statements, for many sessions at once. Under load this costs
 * the server and the database a fraction of one statement each; a lone call goes out as
 * the single statement. Only the model uses it, and nothing above it knows.
 */
import type { StoredSession } from '../contract.js'
import { Batcher, leftOut } from './batcher.js'
import type { Database } from './connections.js'
import { isRefused } from './statement-error.js'

/** A key to look up at a moment. */
export interface Read {
  sessionKey: string
  now: Date
}

export interface Create {
  sessionKey: string
  stored: StoredSession
}

/** A session to write, and the text that must be there (null: any text). */
export interface Save extends Create {
  snapshot: string | null
}

/** The statements for one session. `since` is when its caller began to wait. */
export interface SingleStatements {
  findLive(item: Read, since: number): Promise<StoredSession | null>
  update(item: Save, since: number): Promise<boolean>
  insert(item: Create, since: number): Promise<boolean>
  delete(item: { sessionKey: string }, since: number): Promise<boolean>
}

export interface BatchesOptions {
  database: Database
  /** Quoted. */
  table: string
  read: (row: Record<string, unknown>) => StoredSession
  single: SingleStatements
}

/** Others wait for a batch: it must not take long. */
const MAX_SIZE = 64

/** For each kind of statement. Measured: while one is answered and one is handed out, another is on its way; more of them are smaller. */
const MAX_UNDER_WAY = 3

/** Measured: so few that those who waited for one batch do not stay together; of up to so many, nobody waits a turn longer. */
const RESULTS_PER_TURN = 12

type Item = { sessionKey: string }

export class Batches {
  readonly #options: BatchesOptions
  readonly #sql: ReturnType<typeof statementsOf>
  readonly #reads: Batcher<Read, StoredSession | null>
  readonly #saves: Batcher<Save, boolean>
  readonly #creates: Batcher<Create, boolean>
  readonly #deletes: Batcher<Item, boolean>

  constructor(options: BatchesOptions) {
    this.#options = options
    this.#sql = statementsOf(options)
    const { findLive, update, insert, delete: remove } = options.single
    const { database } = options
    const isOverdue = (since: number) => database.isOverdue(since)
    const common = { maxSize: MAX_SIZE, maxUnderWay: MAX_UNDER_WAY, resultsPerTurn: RESULTS_PER_TURN, isRefused, isOverdue }
    const mayWait = () => database.mayWait
    // The outcome of a statement for a row would be the result of all that have its key.
    const writes = { ...common, mayWait, keyOf: ({ sessionKey }: Item) => sessionKey }
    this.#reads = new Batcher({ ...common, alone: findLive, together: (items, since) => this.#findLive(items, since) })
    this.#saves = new Batcher({ ...writes, alone: update, together: (items, since) => this.#update(items, since) })
    this.#creates = new Batcher({ ...writes, alone: insert, together: (items, since) => this.#insert(items, since) })
    this.#deletes = new Batcher({ ...writes, alone: remove, together: (items, since) => this.#delete(items, since) })
  }

  findLive(sessionKey: string, now: Date): Promise<StoredSession | null> {
    return this.#reads.add({ sessionKey, now })
  }

  update(item: Save): Promise<boolean> {
    return this.#saves.add(item)
  }

  insert(item: Create): Promise<boolean> {
    return this.#creates.add(item)
  }

  delete(sessionKey: string): Promise<boolean> {
    return this.#deletes.add({ sessionKey })
  }

  async #findLive(items: readonly Read[], since: number): Promise<(StoredSession | null)[]> {
    const now = new Date(Math.max(...items.map(({ now }) => now.getTime())))
    const keys = items.map(({ sessionKey }) => sessionKey)
    const rows = await this.#send(since, this.#sql.findLive, [keys, this.#options.database.dialect.bindDate(now)])
    const found = new Map(rows.map((row) => [row.session_key, this.#options.read(row)]))
    return items.map(({ sessionKey }) => found.get(sessionKey) ?? null)
  }

  async #update(items: readonly Save[], since: number) {
    const written = await this.#written(since, this.#sql.update, [...this.#columns(items), items.map(({ snapshot }) => snapshot)])
    return this.#results(items, written, since)
  }

  async #insert(items: readonly Create[], since: number): Promise<boolean[]> {
    const written = await this.#written(since, this.#sql.insert, this.#columns(items))
    return items.map(({ sessionKey }) => written.has(sessionKey))
  }

  async #delete(items: readonly Item[], since: number) {
    const deleted = await this.#written(since, this.#sql.delete, [items.map(({ sessionKey }) => sessionKey)])
    return this.#results(items, deleted, since)
  }

  /** Of the rows that were not written some are gone or have another text. The others are left out: somebody else had them locked. */
  #results(
    items: readonly (Item & { snapshot?: string | null })[],
    written: ReadonlySet<unknown>,
    since: number
  ): (boolean | Promise<boolean | typeof leftOut>)[] {
    const missed = items.filter(({ sessionKey }) => !written.has(sessionKey))
    if (missed.length === 0) return items.map(() => true)
    const texts = this.#texts(missed, since)
    return items.map(({ sessionKey, snapshot = null }) => {
      if (written.has(sessionKey)) return true
      const isAsExpected = (found: ReadonlyMap<unknown, unknown>) =>
        snapshot === null ? found.has(sessionKey) : found.get(sessionKey) === snapshot
      return texts.then(
        (found) => isAsExpected(found) && leftOut,
        () => leftOut
      )
    })
  }

  async #texts(items: readonly Item[], since: number): Promise<ReadonlyMap<unknown, unknown>> {
    const rows = await this.#send(since, this.#sql.find, [items.map(({ sessionKey }) => sessionKey)])
    return new Map(rows.map((row) => [row.session_key, row.session_data]))
  }

  #columns(items: readonly Create[]): (string | null)[][] {
    const { bindDate } = this.#options.database.dialect
    return [
      items.map(({ sessionKey }) => sessionKey),
      items.map(({ stored }) => stored.sessionData),
      items.map(({ stored }) => bindDate(stored.expireDate))
    ]
  }

  /** The keys of the rows that were written. */
  async #written(since: number, sql: string, bindings: (string | null)[][]): Promise<Set<unknown>> {
    return new Set((await this.#send(since, sql, bindings)).map((row) => row.session_key))
  }

  async #send(since: number, sql: string, bindings: (string | (string | null)[])[]): Promise<Record<string, unknown>[]> {
    const { database } = this.#options
    return database.dialect.rows(await database.send(sql, bindings, since))
  }
}

/** The statements for many sessions, each made once. */
function statementsOf({ database: { dialect }, table }: BatchesOptions) {
  return {
    find: `SELECT session_key, session_data FROM ${table} WHERE session_key = ANY(?)`,
    findLive: `SELECT session_key, session_data, ${dialect.selectDate} AS expire_date FROM ${table} WHERE session_key = ANY(?) AND expire_date > ?`,
    update: `WITH free AS (
         SELECT given.* FROM ${table} AS row
         JOIN unnest(?::text[], ?::text[], ?::timestamptz[], ?::text[]) AS given (session_key, text, expire_date, snapshot)
           ON row.session_key = given.session_key AND (given.snapshot IS NULL OR row.session_data = given.snapshot)
         FOR NO KEY UPDATE OF row SKIP LOCKED)
       UPDATE ${table} AS stored SET session_data = free.text, expire_date = free.expire_date
       FROM free WHERE stored.session_key = free.session_key RETURNING stored.session_key`,
    insert: `INSERT INTO ${table} (session_key, session_data, expire_date)
       SELECT * FROM unnest(?::text[], ?::text[], ?::timestamptz[])
       ON CONFLICT (session_key) DO NOTHING RETURNING session_key`,
    delete: `DELETE FROM ${table}
       WHERE session_key IN (SELECT session_key FROM ${table} WHERE session_key = ANY(?) FOR UPDATE SKIP LOCKED)
       RETURNING session_key`
  }
}
