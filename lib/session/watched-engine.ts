/** A decorator of the engine that tells the watches about sessions that end, move or are saved in this process. */
import type { ClearExpiredOptions, ClearExpiredReport, Deadline, Engine, SaveResult, SessionRecord, StoredSession } from '../contract.js'
import type { Codec } from '../django/codec.js'
import type { Watches } from './watches.js'

export class WatchedEngine implements Engine {
  readonly salt: Engine['salt']
  readonly keyIsData: Engine['keyIsData']
  readonly #engine: Engine
  readonly #watches: Watches
  readonly #codec: Codec

  constructor(engine: Engine, watches: Watches, codec: Codec) {
    this.#engine = engine
    this.#watches = watches
    this.#codec = codec
    this.salt = engine.salt
    this.keyIsData = engine.keyIsData
  }

  load(sessionKey: string, deadline: Deadline): Promise<StoredSession | null> {
    return this.#engine.load(sessionKey, deadline)
  }

  create(record: SessionRecord, deadline: Deadline): Promise<string> {
    return this.#engine.create(record, deadline)
  }

  async save(sessionKey: string, record: SessionRecord, snapshot: string | null, deadline: Deadline): Promise<SaveResult> {
    const result = await this.#engine.save(sessionKey, record, snapshot, deadline)
    if (result.outcome === 'saved') this.#saved(sessionKey, record)
    return result
  }

  async saveLocked(sessionKey: string, merge: (stored: StoredSession) => SessionRecord, deadline: Deadline) {
    let record: SessionRecord | null = null
    const merged = (stored: StoredSession) => {
      record = merge(stored)
      return record
    }
    const result = await this.#engine.saveLocked(sessionKey, merged, deadline)
    if (result.outcome === 'saved' && record !== null) this.#saved(sessionKey, record)
    return result
  }

  touch(sessionKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<boolean> {
    return this.#engine.touch(sessionKey, expireDate, snapshot, deadline)
  }

  async cycleKey(sessionKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<string | null> {
    const newKey = await this.#engine.cycleKey(sessionKey, expireDate, snapshot, deadline)
    if (newKey !== sessionKey) this.#watches.ended(sessionKey)
    return newKey
  }

  async delete(sessionKey: string, deadline: Deadline): Promise<void> {
    await this.#engine.delete(sessionKey, deadline)
    this.#watches.ended(sessionKey)
  }

  exists(sessionKey: string, deadline: Deadline): Promise<boolean> {
    return this.#engine.exists(sessionKey, deadline)
  }

  clearExpired(options?: ClearExpiredOptions): Promise<ClearExpiredReport> {
    return this.#engine.clearExpired(options)
  }

  #saved(sessionKey: string, { sessionData }: SessionRecord): void {
    if (this.#watches.has(sessionKey)) this.#watches.changed(sessionKey, this.#codec.decode(sessionData))
  }
}
