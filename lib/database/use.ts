/** One use of a connection, from acquiring it to releasing it, which may be after the deadline. */
import { StoreUnavailable } from '../errors.js'
import { pause } from '../timers.js'
import type { Binding, Dialect } from './dialect.js'
import { type DriverError, type ErrorKind, hasLostStatements, READ_ONLY } from './driver-errors.js'
import type { Connection, ConnectionPool } from './pool.js'
import { type FailureKind, failure, kindOfFailure, masked, notSent, timedOut } from './statement-error.js'

/** Sends one statement, with `?` for bindings. Returns the driver's answer, or a promise of it unless the dialect is `isInProcess`. */
export type Send = (sql: string, bindings: readonly Binding[]) => unknown

/** When a statement, or a whole transaction, is tried again. */
export interface Retries {
  /** Whether to retry until the deadline if the database was busy. @default true */
  whenBusy?: boolean
  /** Whether to retry until the deadline if the connection broke, although the statement may have been carried out. @default false */
  whenLost?: boolean
}

/** The kinds of errors after which a connection is not reused. SQLite's connection is always kept: it may hold an in-memory database. */
const DISCARDING: readonly ErrorKind[] = ['tooLarge', 'outdated', 'closed', 'lost', 'unknown']

/** The longest pauses between two attempts, in milliseconds: on a server that answers, and while there is none. */
const LONGEST_PAUSE = 50
const LONGEST_PAUSE_WITHOUT_SERVER = 250

/** Behind a pooler a statement may be missing on one connection, and exist already on the next one. */
const MAX_OUTDATED = 2

/** The messages of Knex and of pg's pool when no connection became free within the pool's own time limit. */
const NONE_FREE = /^(?:Knex: Timeout acquiring a connection|timeout exceeded when trying to connect)/

export class Use {
  readonly #pool: ConnectionPool
  readonly #dialect: Dialect
  readonly #prepare: boolean
  readonly #retries: Retries
  #connection: Connection | null = null
  /** Whether a statement was sent over it. */
  #hasSent = false
  #hasExpired = false
  /** The error of the last attempt that was followed by another. */
  #lastError: Error | null = null
  #outdated = 0

  /** @param prepare whether statements are prepared */
  constructor(pool: ConnectionPool, dialect: Dialect, prepare: boolean, retries: Retries) {
    this.#pool = pool
    this.#dialect = dialect
    this.#prepare = prepare
    this.#retries = retries
  }

  async run<T>(work: (send: Send) => Promise<T> | T): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      let connection: Connection | undefined
      let longestPause = LONGEST_PAUSE
      try {
        connection = await this.#pool.acquire()
        const send = this.#senderOn(connection)
        const isNew = this.#pool.isNew(connection)
        if (isNew) await this.#welcome(connection)
        const result = await work(send)
        if (this.#retries.whenLost && this.#pool.wasDemoted(connection)) throw outOfDate()
        this.#pool.succeeded(isNew)
        return result
      } catch (thrown) {
        const error = connection === undefined ? this.#unreachable(thrown as DriverError) : thrown
        if (this.#hasExpired || !this.#mayTryAgain(error as Error)) throw error
        if (isWithoutServer(error)) longestPause = LONGEST_PAUSE_WITHOUT_SERVER
      } finally {
        this.#connection = null
        if (connection !== undefined) await this.#pool.release(connection)
      }
      // Waits without a connection, which others may need, and with jitter.
      await pause(Math.random() * Math.min(2 ** attempt, longestPause))
    }
  }

  /** Called at the deadline. Cuts off the statement under way, with its connection, and returns the error for the caller. */
  expire(): Error {
    this.#hasExpired = true
    const lastError = this.#lastError ?? this.#pool.failure
    if (this.#connection !== null) {
      // Connections of the same age may be dead too.
      this.#pool.discardAsOldAs(this.#connection, 'an answer was overdue')
      this.#dialect.abort(this.#connection)
      if (this.#hasSent || lastError === null) return timedOut(true)
    }
    if (lastError === null) return noneFree()
    if (kindOfFailure(lastError) !== 'busy') return lastError
    return new StoreUnavailable('the database was busy, or the row locked, until the deadline', { cause: lastError.cause })
  }

  #mayTryAgain(error: Error): boolean {
    if (isWithoutServer(error)) this.#pool.failed(error)
    const may = isWithoutServer(error) || this.#isWorthwhile(kindOfFailure(error))
    if (may) this.#lastError = error
    return may
  }

  #isWorthwhile(kind: FailureKind | null): boolean {
    if (kind === 'outdated') return ++this.#outdated <= MAX_OUTDATED
    if (kind === 'notSent') return true
    if (kind === 'lost') return this.#retries.whenLost === true && this.#pool.canRecover
    return kind === 'busy' && this.#retries.whenBusy !== false
  }

  #senderOn(connection: Connection): Send {
    if (this.#hasExpired) throw new StoreUnavailable('the connection came too late')
    this.#connection = connection
    this.#hasSent = false
    return (sql, bindings) => this.#send(connection, sql, bindings)
  }

  /** Checks, before the first use of a connection, that its server takes writes: a standby would answer reads with old rows. */
  async #welcome(connection: Connection): Promise<void> {
    try {
      await this.#dialect.greet(connection, { isOurs: this.#pool.isOurs, demoted: () => this.#pool.demote(connection) })
    } catch (thrown) {
      const error = thrown as DriverError
      const { kind, reason } = this.#dialect.meaning(error)
      this.#pool.discard(connection, 'it was refused')
      throw failure({ kind: kind === 'demoted' ? kind : 'closed', reason, error, message: this.#dialect.describe(error) })
    }
    this.#pool.welcome(connection)
  }

  /** Nothing was sent. It is worth waiting where the server said so, and where it could be reached before. */
  #unreachable(error: DriverError): Error {
    if (kindOfFailure(error) !== null) return error
    // Says nothing about the server: it must not slow down other requests, or count as a failover.
    if (NONE_FREE.test(error.message)) return noneFree()
    const { kind, reason } = this.#dialect.meaning(error)
    const reported = { reason: 'it cannot be reached', error, message: error.message }
    if (kind === 'busy') return failure({ ...reported, kind })
    // A limit of a user's connections is an error that statements have as well (MySQL's 1226).
    if (kind === 'closed' || kind === 'unable') return failure({ ...reported, kind: 'closed', reason })
    const isWaitedFor = !this.#dialect.isInProcess && kind === 'lost' && this.#pool.canRecover
    return failure({ ...reported, kind: isWaitedFor ? 'closed' : 'unreachable' })
  }

  /** @throws StoreUnavailable, StoreRefused */
  #send(connection: Connection, sql: string, bindings: readonly Binding[]): unknown {
    this.#hasSent = true
    try {
      const { client } = this.#pool
      // Emitted for applications that log or count the queries of their Knex instance.
      if (client.listenerCount('query') > 0) client.emit('query', { sql, bindings, __knexUid: connection.__knexUid })
      const answer = this.#dialect.execute(connection, sql, bindings, this.#prepare && this.#pool.keepsStatements)
      return this.#dialect.isInProcess
        ? answer
        : (answer as Promise<unknown>).catch((error) => this.#fail(connection, sql, bindings, error))
    } catch (error) {
      return this.#fail(connection, sql, bindings, error as DriverError)
    }
  }

  #fail(connection: Connection, sql: string, bindings: readonly Binding[], error: DriverError): never {
    const { kind, reason } = this.#dialect.meaning(error)
    if (!this.#dialect.isInProcess) this.#discardAfter(kind, connection, sql, error)
    const message = masked(this.#dialect.describe(error), bindings)
    throw failure({ kind, reason, error, message, keyTaken: this.#dialect.isKeyTaken(error) })
  }

  #discardAfter(kind: ErrorKind, connection: Connection, sql: string, error: DriverError): void {
    // If one of these fails, the connection still has its transaction or its lock.
    const keeps = sql === 'ROLLBACK' || sql === this.#dialect.unlock
    if (kind === 'demoted') this.#pool.demote(connection)
    else if (kind === 'outdated') {
      if (this.#pool.discardAsOldAs(connection, 'it was outdated') && hasLostStatements(error)) this.#pool.loseStatements()
    } else if (keeps || DISCARDING.includes(kind)) this.#pool.discard(connection, `after an error of the kind "${kind}"`)
  }
}

/** Whether nothing was done, since there is no server that takes writes and connections. */
function isWithoutServer(error: unknown): boolean {
  const kind = kindOfFailure(error)
  return kind === 'closed' || kind === 'demoted'
}

function noneFree(): Error {
  return notSent(
    'no connection became free in time, or could be made. Is a session operation awaited inside an open transaction, the pool too small, or the server down?'
  )
}

/** A read is carried out by a server that has just become read-only, and has perhaps missed a write by then. */
function outOfDate(): Error {
  return failure({ kind: 'demoted', reason: READ_ONLY, error: new Error(), message: 'it became read-only before it answered' })
}
