/**
 * Sends statements over connections from Knex's pool and returns the driver's own
 * answer, so that no setting of the Knex instance (mappers, post-processing) can
 * change what we read. Bounds the time that anything takes, sends again what met a
 * busy database, and turns every failure into an error without SQL or data.
 */
import type { Knex } from 'knex'
import { deadlineIn, withDeadline } from '../deadline.js'
import { StoreUnavailable } from '../errors.js'
import { monotonicNow, pause } from '../timers.js'
import { Batcher } from './batcher.js'
import type { Binding, Dialect } from './dialect.js'
import type { DriverError, ErrorKind } from './driver-errors.js'
import { type Connection, type ConnectionPool, poolOf } from './pool.js'
import { Semaphore } from './semaphore.js'
import { failure, isRefused, kindOfFailure, masked, notSent } from './statement-error.js'

interface Statement {
  sql: string
  bindings: readonly Binding[]
}

/** Sends one statement, with `?` for bindings. Returns the driver's answer, or a promise of it where the database is another process. */
export type Send = (sql: string, bindings: readonly Binding[]) => unknown

export interface DatabaseOptions {
  knex: Knex
  dialect: Dialect
  /** Seconds until an operation fails that has no answer, waiting for a connection included. */
  timeout: number
  /** Whether statements are prepared on the server, once for each connection. */
  preparedStatements: boolean
}

/** How many of the connections may wait for locks: a fifth is left for all else. */
const lockingOf = (connections: number) => Math.max(1, Math.floor(connections * 0.8))

/** Statements in a turn of a database that works in our own process: others wait meanwhile. */
const MAX_PER_TURN = 100

export class Database {
  readonly knex: Knex
  readonly dialect: Dialect
  readonly #pool: ConnectionPool
  readonly #timeout: number
  readonly #prepares: boolean
  readonly #locking: Semaphore
  readonly #reads: Batcher<Statement, unknown>
  readonly #writes: Batcher<Statement, unknown>

  constructor({ knex, dialect, timeout, preparedStatements }: DatabaseOptions) {
    this.knex = knex
    this.dialect = dialect
    this.#pool = poolOf(knex)
    this.#timeout = timeout
    this.#prepares = preparedStatements
    this.#locking = new Semaphore(lockingOf(this.#pool.max))
    // Apart, since a writer that waits for a lock must hold up no reader.
    const alone = ({ sql, bindings }: Statement, since: number) => this.#bounded((send) => send(sql, bindings), { since })
    const isOverdue = (since: number) => this.isOverdue(since)
    const options = { maxSize: MAX_PER_TURN, maxUnderWay: 1, alone, isRefused, isOverdue }
    // All of a turn in one transaction, which costs one lock and one commit. In our own process statements are
    // answered at once: none follows one that failed.
    const inTransaction = (begin: readonly string[]) => (statements: readonly Statement[], since: number) =>
      this.#transaction(begin, async (send) => statements.map(({ sql, bindings }) => send(sql, bindings)), { since })
    this.#reads = new Batcher({ ...options, together: inTransaction(['BEGIN']) })
    this.#writes = new Batcher({ ...options, together: inTransaction(dialect.begin) })
  }

  /**
   * @param since when the wait for the answer began, in milliseconds of `performance.now()`
   * @throws StoreUnavailable, StoreRefused
   */
  send(sql: string, bindings: readonly Binding[], since = monotonicNow()): Promise<unknown> {
    if (this.dialect.isInProcess) return (sql.startsWith('SELECT') ? this.#reads : this.#writes).add({ sql, bindings })
    return this.#sendBounded(sql, bindings, since)
  }

  /**
   * As `send()`, for a statement that may wait for a row's lock: no more of these are under
   * way than leave connections for all others.
   *
   * @throws StoreUnavailable, StoreRefused
   */
  sendLocking(sql: string, bindings: readonly Binding[], since = monotonicNow()): Promise<unknown> {
    return this.dialect.isInProcess ? this.send(sql, bindings) : this.#sendBounded(sql, bindings, since, this.#locking)
  }

  /** Whether who began to wait then has done so for as long as anything may take. */
  isOverdue(since: number): boolean {
    return monotonicNow() - since >= this.#timeout * 1000
  }

  /** Whether `sendLocking()` would send at once. */
  get mayWait(): boolean {
    return this.#locking.isFree
  }

  /**
   * Runs `work` in a transaction that may write, from its start again when the
   * database was busy. Rolls back when `work` throws.
   *
   * @param options `locking`: whether it may wait for a row's lock, as in `sendLocking()`
   * @throws StoreUnavailable, StoreRefused, or what `work` throws
   */
  transaction<T>(work: (send: Send) => Promise<T>, { locking = false } = {}): Promise<T> {
    return this.#transaction(this.dialect.begin, work, locking ? { turns: this.#locking } : {})
  }

  #transaction<T>(begin: readonly string[], work: (send: Send) => Promise<T>, options: UseOptions): Promise<T> {
    const run = async (send: Send): Promise<T> => {
      for (const statement of begin) await send(statement, [])
      try {
        const result = await work(send)
        await send('COMMIT', [])
        return result
      } catch (error) {
        await undo(send, 'ROLLBACK')
        throw error
      }
    }
    // Too rare to be prepared, and partly of a kind that cannot be.
    return this.#bounded(run, options)
  }

  #sendBounded(sql: string, bindings: readonly Binding[], since: number, turns?: Semaphore): Promise<unknown> {
    // It would be cut off as soon as it was sent, with its connection.
    if (this.isOverdue(since)) return Promise.reject(notSent(`no turn to be sent within ${this.#timeout} seconds`))
    return this.#bounded((send) => send(sql, bindings), { prepare: this.#prepares, since, turns })
  }

  /** Gives `work` a connection, until the timeout has passed. */
  #bounded<T>(work: (send: Send) => Promise<T> | T, options: UseOptions): Promise<T> {
    const use = new Use(this.#pool, this.dialect, options)
    const deadline = options.since === undefined ? deadlineIn(this.#timeout) : options.since + this.#timeout * 1000
    return withDeadline(use.run(work), deadline, () => use.expire(this.#timeout))
  }
}

/** Ends what was begun on a connection: should that fail, the connection is disposed of, and an error before it is the one to report. */
export async function undo(send: Send, sql: string, bindings: readonly Binding[] = []): Promise<void> {
  try {
    await send(sql, bindings)
  } catch {}
}

interface UseOptions {
  /** When the wait for it began, in milliseconds of `performance.now()`. */
  since?: number
  prepare?: boolean
  /** Where it waits for its turn before it asks for a connection. */
  turns?: Semaphore | undefined
}

/** Kinds of errors after which a connection is not used again. On SQLite it is kept: it is in our own process, and may hold the database. */
const DISCARDING: readonly ErrorKind[] = ['tooLarge', 'outdated', 'lost', 'unknown']

/** One use of a connection: from waiting for it to giving it back, which may be after nobody waits any longer. */
class Use {
  readonly #pool: ConnectionPool
  readonly #dialect: Dialect
  #connection: Connection | null = null
  #expired = false
  /** Why it is tried again. */
  #busy: unknown = null
  #wasOutdated = false
  readonly #prepare: boolean
  readonly #turns: Semaphore | undefined
  #waitsForTurn = false

  constructor(pool: ConnectionPool, dialect: Dialect, { prepare = false, turns }: UseOptions) {
    this.#pool = pool
    this.#dialect = dialect
    this.#prepare = prepare
    this.#turns = turns
  }

  async run<T>(work: (send: Send) => Promise<T> | T): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      let connection: Connection | undefined
      if (this.#turns !== undefined) await this.#waitForTurn(this.#turns)
      try {
        if (this.#expired) throw new StoreUnavailable('its turn came too late')
        connection = await this.#pool.acquire()
        return await work(this.#senderOn(connection))
      } catch (thrown) {
        const error = connection === undefined ? this.#unreachable(thrown as DriverError) : thrown
        if (this.#expired || !this.#mayTryAgain(error)) throw error
      } finally {
        this.#connection = null
        this.#turns?.release()
        if (connection !== undefined) await this.#pool.release(connection)
      }
      // Without its connection, which others may need; not all at the same moment.
      await pause(Math.random() * Math.min(2 ** attempt, 50))
    }
  }

  async #waitForTurn(turns: Semaphore): Promise<void> {
    this.#waitsForTurn = true
    await turns.acquire()
    this.#waitsForTurn = false
  }

  /** Allows another try: to a busy statement until the time is over, and to one that met an outdated connection once, on a new one. */
  #mayTryAgain(error: unknown): boolean {
    const kind = kindOfFailure(error)
    if (kind === 'busy') this.#busy = (error as Error).cause
    const isFirst = kind === 'outdated' && !this.#wasOutdated
    if (isFirst) this.#wasOutdated = true
    return kind === 'busy' || isFirst
  }

  /** Nobody waits any longer. A statement under way is cut off with its connection. */
  expire(timeout: number): Error {
    this.#expired = true
    if (this.#connection !== null) {
      this.#pool.discard(this.#connection, 'its answer was overdue')
      this.#dialect.abort(this.#connection)
      return new StoreUnavailable(`no answer within ${timeout} seconds`)
    }
    if (this.#waitsForTurn) {
      return notSent(
        `no turn to write came within ${timeout} seconds: those before it wait for rows that somebody else has locked, or for a connection`
      )
    }
    if (this.#busy !== null) return new StoreUnavailable(`it was busy for ${timeout} seconds`, { cause: this.#busy })
    return notSent(
      `no connection became free within ${timeout} seconds. Is a session operation awaited inside an open transaction, or the pool too small?`
    )
  }

  #senderOn(connection: Connection): Send {
    if (this.#expired) throw new StoreUnavailable('the connection came too late')
    this.#connection = connection
    return (sql, bindings) => this.#send(connection, sql, bindings)
  }

  #unreachable(error: DriverError): Error {
    const kind = this.#dialect.meaning(error).kind === 'busy' ? 'busy' : 'unreachable'
    return failure({ kind, reason: 'it cannot be reached', error, message: error.message })
  }

  /** @throws StoreUnavailable, StoreRefused */
  #send(connection: Connection, sql: string, bindings: readonly Binding[]): unknown {
    try {
      const { client } = this.#pool
      // For whoever logs or counts what Knex sends.
      if (client.listenerCount('query') > 0) client.emit('query', { sql, bindings, __knexUid: connection.__knexUid })
      const answer = this.#dialect.execute(connection, sql, bindings, this.#prepare)
      return this.#dialect.isInProcess
        ? answer
        : (answer as Promise<unknown>).catch((error) => this.#fail(connection, sql, bindings, error))
    } catch (error) {
      return this.#fail(connection, sql, bindings, error as DriverError)
    }
  }

  #fail(connection: Connection, sql: string, bindings: readonly Binding[], error: DriverError): never {
    const { kind, reason } = this.#dialect.meaning(error)
    if (!this.#dialect.isInProcess) this.#discardAfter(kind, connection, sql)
    const message = masked(this.#dialect.describe(error), bindings)
    throw failure({ kind, reason, error, message, keyTaken: this.#dialect.isKeyTaken(error) })
  }

  #discardAfter(kind: ErrorKind, connection: Connection, sql: string): void {
    // The connection would keep the transaction or the lock.
    const keeps = sql === 'ROLLBACK' || sql === this.#dialect.unlock
    if (keeps || DISCARDING.includes(kind)) this.#pool.discard(connection, `after an error of the kind "${kind}"`)
    if (kind === 'outdated') this.#pool.discardAll()
  }
}
