/** The engine `db`: sessions in the table of django.contrib.sessions.models.Session. */
import type { ClearExpiredOptions, ClearExpiredReport, Engine, SaveResult, SessionRecord, StoredSession } from '../contract.js'
import { clearExpired } from '../database/cleanup.js'
import { type Columns, checkColumns } from '../database/columns.js'
import { isOutcomeUnknown } from '../database/statement-error.js'
import type { Model } from '../database/table.js'
import { newSessionKey } from '../django/keys.js'
import { claimNewKey } from './claim-key.js'

export interface DbEngineOptions {
  model: Model
  clock: () => Date
  /** Returns values of additional columns, at each create and save, as Django's `create_model_instance` does. */
  columns?: ((data: Record<string, unknown>, sessionKey: string) => Columns) | undefined
}

export class DbEngine implements Engine {
  readonly #model: Model
  readonly #clock: () => Date
  readonly #columns: DbEngineOptions['columns']

  constructor({ model, clock, columns }: DbEngineOptions) {
    this.#model = model
    this.#clock = clock
    this.#columns = columns
  }

  load(sessionKey: string): Promise<StoredSession | null> {
    return this.#model.findLive(sessionKey, this.#clock())
  }

  async create(record: SessionRecord): Promise<string> {
    const [sessionKey] = await claimNewKey((sessionKey) => {
      const insert = () => this.#model.insert(sessionKey, record, this.#columnsOf(record, sessionKey))
      return this.#settle(sessionKey, record.sessionData, insert)
    })
    return sessionKey
  }

  async save(sessionKey: string, record: SessionRecord, snapshot: string | null): Promise<SaveResult> {
    const update = () => this.#model.update(sessionKey, record, this.#columnsOf(record, sessionKey), snapshot)
    if (await this.#settle(sessionKey, record.sessionData, update)) return { outcome: 'saved', sessionKey }
    const stored = snapshot === null ? null : await this.load(sessionKey)
    return stored === null ? { outcome: 'gone' } : { outcome: 'changed', stored }
  }

  async saveLocked(sessionKey: string, merge: (stored: StoredSession) => SessionRecord) {
    let written: SessionRecord | undefined
    const update = () =>
      this.#model.updateLocked(sessionKey, this.#clock(), (stored) => {
        written = merge(stored)
        return { record: written, columns: this.#columnsOf(written, sessionKey) }
      })
    const saved = await this.#settle(sessionKey, () => written?.sessionData, update)
    return saved ? { outcome: 'saved' as const, sessionKey } : { outcome: 'gone' as const }
  }

  async touch(sessionKey: string, expireDate: Date, snapshot: string): Promise<boolean> {
    return (await this.#model.updateExpireDate(sessionKey, expireDate, snapshot)) || (await this.load(sessionKey)) !== null
  }

  async cycleKey(sessionKey: string, expireDate: Date, snapshot: string): Promise<string | null> {
    const newKey = newSessionKey()
    const move = () => this.#model.updateSessionKey(sessionKey, newKey, expireDate, snapshot)
    // The new key is ours alone: a row under it is the row that was moved, whatever it holds.
    return (await this.#settle(newKey, null, move)) ? newKey : null
  }

  async delete(sessionKey: string): Promise<void> {
    await this.#model.delete(sessionKey)
  }

  exists(sessionKey: string): Promise<boolean> {
    return this.#model.exists(sessionKey)
  }

  clearExpired(options: ClearExpiredOptions = {}): Promise<ClearExpiredReport> {
    return clearExpired(this.#model, this.#clock(), options)
  }

  #columnsOf(record: SessionRecord, sessionKey: string): Columns {
    return this.#columns === undefined ? {} : checkColumns(this.#columns(record.data(), sessionKey))
  }

  /**
   * When the connection breaks after a statement was sent, nobody knows whether it
   * was carried out. The row is read once: holding the text that was sent (null:
   * any text), it was.
   */
  async #settle(sessionKey: string, text: string | null | (() => string | undefined), write: () => Promise<boolean>): Promise<boolean> {
    try {
      return await write()
    } catch (error) {
      if (!isOutcomeUnknown(error)) throw error
      const stored = await this.load(sessionKey).catch(() => null)
      const sent = typeof text === 'function' ? text() : text
      if (stored !== null && (sent === null || stored.sessionData === sent)) return true
      throw error
    }
  }
}
