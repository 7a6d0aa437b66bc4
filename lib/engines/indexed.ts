/**
 * A decorator of an engine that keeps the table of user sessions up with what happens to sessions. Each of its statements
 * comes after that of the session, and outside its transaction. One that fails is logged: what it leaves behind is stale, which
 * readers of the table find out.
 */
import type {
  ClearExpiredOptions,
  ClearExpiredReport,
  Deadline,
  SaveResult,
  SessionLog,
  SessionRecord,
  StoredSession
} from '../contract.js'
import type { UserSessionsTable } from '../database/user-sessions-table.js'
import { deadlineIn } from '../deadline.js'
import { untraced } from '../events.js'
import type { BulkEngine } from './bulk.js'

export interface IndexedEngineOptions {
  engine: BulkEngine
  index: UserSessionsTable
  log: SessionLog
}

/** Seconds that a visitor waits for the table of user sessions, at most: longer than a row is locked by another request. */
export const FOLLOW_TIMEOUT = 1

/** The deadline of a statement on the table of user sessions, of which a visitor waits for the outcome. @param latest that of the whole operation */
export function followDeadline(latest: Deadline): Deadline {
  return Math.min(latest, deadlineIn(FOLLOW_TIMEOUT))
}

export class IndexedEngine implements BulkEngine {
  readonly #engine: BulkEngine
  readonly #index: UserSessionsTable
  readonly #log: SessionLog

  constructor({ engine, index, log }: IndexedEngineOptions) {
    this.#engine = engine
    this.#index = index
    this.#log = log
  }

  load(sessionKey: string, deadline: Deadline): Promise<StoredSession | null> {
    return this.#engine.load(sessionKey, deadline)
  }

  create(record: SessionRecord, deadline: Deadline): Promise<string> {
    return this.#engine.create(record, deadline)
  }

  save(sessionKey: string, record: SessionRecord, snapshot: string | null, deadline: Deadline): Promise<SaveResult> {
    return this.#engine.save(sessionKey, record, snapshot, deadline)
  }

  saveLocked(sessionKey: string, merge: (stored: StoredSession) => SessionRecord, deadline: Deadline) {
    return this.#engine.saveLocked(sessionKey, merge, deadline)
  }

  touch(sessionKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<boolean> {
    return this.#engine.touch(sessionKey, expireDate, snapshot, deadline)
  }

  async cycleKey(sessionKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<string | null> {
    const newKey = await this.#engine.cycleKey(sessionKey, expireDate, snapshot, deadline)
    if (newKey !== null) await this.#follow((until) => this.#index.cycleKey(sessionKey, newKey, until), deadline)
    return newKey
  }

  async delete(sessionKey: string, deadline: Deadline): Promise<void> {
    await this.#engine.delete(sessionKey, deadline)
    await this.#follow((until) => this.#index.delete(sessionKey, until), deadline)
  }

  /** The entries go by the user that they belong to: `UserSessions` deletes them. */
  deleteAll(sessionKeys: readonly string[], deadline: Deadline): Promise<string[]> {
    return this.#engine.deleteAll(sessionKeys, deadline)
  }

  exists(sessionKey: string, deadline: Deadline): Promise<boolean> {
    return this.#engine.exists(sessionKey, deadline)
  }

  async clearExpired(options: ClearExpiredOptions = {}): Promise<ClearExpiredReport> {
    const report = await this.#engine.clearExpired(options)
    if (!report.skipped) await this.#index.deleteOrphans(options.signal).catch((error) => this.#warn(error))
    return report
  }

  async #follow(step: (deadline: Deadline) => Promise<void>, deadline: Deadline): Promise<void> {
    await untraced(() => step(followDeadline(deadline))).catch((error) => this.#warn(error))
  }

  #warn(error: unknown): void {
    this.#log.warn({ err: error }, 'The table of user sessions was not kept up with a session: its entry is passed over')
  }
}
