/** The engine `db`: sessions in the table of django.contrib.sessions.models.Session. */
import type { ClearExpiredOptions, ClearExpiredReport, Deadline, SaveResult, SessionRecord, StoredSession } from '../contract.js'
import { clearExpired } from '../database/cleanup.js'
import { type Columns, checkColumns } from '../database/columns.js'
import { deleteKeys } from '../database/delete-keys.js'
import type { ExpiredSessions } from '../database/expired-sessions.js'
import type { SessionTable } from '../database/session-table.js'
import type { SettledTable } from '../database/settled-table.js'
import { newSessionKey } from '../django/keys.js'
import type { BulkEngine } from './bulk.js'
import { claimNewKey } from './claim-key.js'

export interface DbEngineOptions {
  /** The table, for statements that are neither batched nor settled. */
  table: SessionTable
  /** The same table with its other statements, batched or not, and with writes whose outcome is settled. */
  rows: SettledTable
  /** The expired sessions of the same table, for the cleanup. */
  expired: ExpiredSessions
  clock: () => Date
  /** Returns values of additional columns, at each create and save, as Django's `create_model_instance` does. */
  columns?: ((data: Record<string, unknown>, sessionKey: string) => Columns) | undefined
}

export class DbEngine implements BulkEngine {
  readonly #table: SessionTable
  readonly #rows: SettledTable
  readonly #expired: ExpiredSessions
  readonly #clock: () => Date
  readonly #columns: DbEngineOptions['columns']

  constructor({ table, rows, expired, clock, columns }: DbEngineOptions) {
    this.#table = table
    this.#rows = rows
    this.#expired = expired
    this.#clock = clock
    this.#columns = columns
  }

  load(sessionKey: string, deadline: Deadline): Promise<StoredSession | null> {
    return this.#rows.findLive(sessionKey, this.#clock(), deadline)
  }

  create(record: SessionRecord, deadline: Deadline): Promise<string> {
    const insert = (sessionKey: string) => this.#rows.insert(sessionKey, record, this.#columnsOf(record, sessionKey), deadline)
    return claimNewKey(insert)
  }

  save(sessionKey: string, record: SessionRecord, snapshot: string | null, deadline: Deadline): Promise<SaveResult> {
    return this.#rows
      .update(sessionKey, record, this.#columnsOf(record, sessionKey), snapshot, deadline)
      .then((saved) => (saved ? { outcome: 'saved', sessionKey } : this.#unsaved(sessionKey, snapshot, deadline)))
  }

  async #unsaved(sessionKey: string, snapshot: string | null, deadline: Deadline): Promise<SaveResult> {
    const stored = snapshot === null ? null : await this.load(sessionKey, deadline)
    return stored === null ? { outcome: 'gone' } : { outcome: 'changed', stored }
  }

  async saveLocked(sessionKey: string, merge: (stored: StoredSession) => SessionRecord, deadline: Deadline) {
    const mergeWithColumns = (stored: StoredSession) => {
      const row = merge(stored)
      return { row, columns: this.#columnsOf(row, sessionKey) }
    }
    const saved = await this.#rows.updateLocked(sessionKey, this.#clock(), mergeWithColumns, deadline)
    return saved ? { outcome: 'saved' as const, sessionKey } : { outcome: 'gone' as const }
  }

  async touch(sessionKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<boolean> {
    return (await this.#table.touch(sessionKey, expireDate, snapshot, deadline)) || (await this.load(sessionKey, deadline)) !== null
  }

  async cycleKey(sessionKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<string | null> {
    const newKey = newSessionKey()
    return (await this.#rows.cycleKey(sessionKey, newKey, expireDate, snapshot, deadline)) ? newKey : null
  }

  async delete(sessionKey: string, deadline: Deadline): Promise<void> {
    await this.#rows.delete(sessionKey, deadline)
  }

  deleteAll(sessionKeys: readonly string[], deadline: Deadline): Promise<string[]> {
    return deleteKeys(this.#table.connections, { table: this.#table.table, sessionKeys }, deadline)
  }

  exists(sessionKey: string, deadline: Deadline): Promise<boolean> {
    return this.#table.exists(sessionKey, deadline)
  }

  clearExpired(options: ClearExpiredOptions = {}): Promise<ClearExpiredReport> {
    return clearExpired(this.#expired, this.#clock(), options)
  }

  #columnsOf(record: SessionRecord, sessionKey: string): Columns {
    return this.#columns === undefined ? NO_COLUMNS : checkColumns(this.#columns(record.data(), sessionKey))
  }
}

const NO_COLUMNS: Columns = {}
