/** A decorator of the engine that publishes each operation on its tracing channel, if that has subscribers. */
import type { ClearExpiredOptions, ClearExpiredReport, Deadline, Engine, SaveResult, SessionRecord, StoredSession } from '../contract.js'
import { engineName, type OperationName, operations, type SessionOperation, served, sessionRef, TracedOperation } from '../events.js'

export interface TracedEngineOptions {
  engine: Engine
  /** The option `engine`. */
  name: unknown
  secretKey: string
}

/** The properties of an operation that are known with its result. */
type End = Partial<Pick<SessionOperation, 'outcome' | 'sessionRef'>>

export class TracedEngine implements Engine {
  readonly salt: Engine['salt']
  readonly keyIsData: Engine['keyIsData']
  readonly #engine: Engine
  readonly #name: string
  readonly #ref: (sessionKey: string) => string

  constructor({ engine, name, secretKey }: TracedEngineOptions) {
    this.#engine = engine
    this.#name = engineName(name)
    this.#ref = (sessionKey) => sessionRef(secretKey, sessionKey)
    this.salt = engine.salt
    this.keyIsData = engine.keyIsData
  }

  load(sessionKey: string, deadline: Deadline): Promise<StoredSession | null> {
    if (!operations.load.hasSubscribers) return this.#engine.load(sessionKey, deadline)
    const work = () => this.#engine.load(sessionKey, deadline)
    return this.#trace('load', sessionKey, work, (stored) => ({ outcome: stored === null ? 'unknown' : 'found' }))
  }

  create(record: SessionRecord, deadline: Deadline): Promise<string> {
    if (!operations.create.hasSubscribers) return this.#engine.create(record, deadline)
    const work = () => this.#engine.create(record, deadline)
    return this.#trace('create', null, work, (sessionKey) => ({ outcome: 'created', sessionRef: this.#ref(sessionKey) }))
  }

  save(sessionKey: string, record: SessionRecord, snapshot: string | null, deadline: Deadline): Promise<SaveResult> {
    if (!operations.save.hasSubscribers) return this.#engine.save(sessionKey, record, snapshot, deadline)
    const work = () => this.#engine.save(sessionKey, record, snapshot, deadline)
    return this.#trace('save', sessionKey, work, ({ outcome }) => ({ outcome }))
  }

  saveLocked(sessionKey: string, merge: (stored: StoredSession) => SessionRecord, deadline: Deadline) {
    if (!operations.save.hasSubscribers) return this.#engine.saveLocked(sessionKey, merge, deadline)
    const work = () => this.#engine.saveLocked(sessionKey, merge, deadline)
    return this.#trace('save', sessionKey, work, ({ outcome }) => ({ outcome }))
  }

  touch(sessionKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<boolean> {
    if (!operations.touch.hasSubscribers) return this.#engine.touch(sessionKey, expireDate, snapshot, deadline)
    const work = () => this.#engine.touch(sessionKey, expireDate, snapshot, deadline)
    return this.#trace('touch', sessionKey, work, (isThere) => ({ outcome: isThere ? 'renewed' : 'gone' }))
  }

  cycleKey(sessionKey: string, expireDate: Date, snapshot: string, deadline: Deadline): Promise<string | null> {
    if (!operations.rotate.hasSubscribers) return this.#engine.cycleKey(sessionKey, expireDate, snapshot, deadline)
    const work = () => this.#engine.cycleKey(sessionKey, expireDate, snapshot, deadline)
    return this.#trace('rotate', sessionKey, work, (newKey) => ({ outcome: newKey === null ? 'gone' : 'rotated' }))
  }

  delete(sessionKey: string, deadline: Deadline): Promise<void> {
    if (!operations.delete.hasSubscribers) return this.#engine.delete(sessionKey, deadline)
    return this.#trace(
      'delete',
      sessionKey,
      () => this.#engine.delete(sessionKey, deadline),
      () => ({ outcome: 'deleted' })
    )
  }

  exists(sessionKey: string, deadline: Deadline): Promise<boolean> {
    return this.#engine.exists(sessionKey, deadline)
  }

  clearExpired(options?: ClearExpiredOptions): Promise<ClearExpiredReport> {
    return this.#engine.clearExpired(options)
  }

  /** Runs `work` in a trace. The traced function returns nothing, because the channel would put its result, with keys and data, into the payload. */
  async #trace<T>(name: OperationName, sessionKey: string | null, work: () => Promise<T>, end: (result: T) => End): Promise<T> {
    const operation = new TracedOperation(name, this.#name, sessionKey === null ? null : this.#ref(sessionKey))
    let result: T | undefined
    const traced = async () => {
      try {
        result = await served.run([operation], work)
        operation.end(end(result))
      } catch (error) {
        operation.end({ outcome: 'failed' })
        throw error
      }
    }
    await operations[name].tracePromise(traced, operation)
    return result as T
  }
}
