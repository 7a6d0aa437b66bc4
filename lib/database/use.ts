/** One use of a connection, from acquiring it to releasing it, which may be after the deadline. */
import type { Deadline } from '../deadline.js'
import { StoreUnavailable } from '../errors.js'
import { pause } from '../timers.js'
import type { Binding, Dialect } from './dialect.js'
import type { DriverError, ErrorKind } from './driver-errors.js'
import type { Connection, ConnectionPool } from './pool.js'
import { failure, kindOfFailure, masked, notSent, overdue } from './statement-error.js'

/** Sends one statement, with `?` for bindings. Returns the driver's answer, or a promise of it unless the dialect is `isInProcess`. */
export type Send = (sql: string, bindings: readonly Binding[]) => unknown

export interface UseOptions {
  deadline: Deadline
  /** Whether statements are prepared. @default false */
  prepare?: boolean
  /** Whether to retry until the deadline if the database was busy. @default true */
  retriesBusy?: boolean
}

/** The kinds of errors after which a connection is not reused. SQLite's connection is always kept: it may hold an in-memory database. */
const DISCARDING: readonly ErrorKind[] = ['tooLarge', 'outdated', 'lost', 'unknown']

/** The longest pause between two attempts on a busy database, in milliseconds. */
const LONGEST_PAUSE = 50

export class Use {
  readonly #pool: ConnectionPool
  readonly #dialect: Dialect
  readonly #prepare: boolean
  readonly #retriesBusy: boolean
  #connection: Connection | null = null
  #hasExpired = false
  /** The error of the last attempt, if the database was busy. */
  #busy: unknown = null
  #wasOutdated = false

  constructor(pool: ConnectionPool, dialect: Dialect, { prepare = false, retriesBusy = true }: UseOptions) {
    this.#pool = pool
    this.#dialect = dialect
    this.#prepare = prepare
    this.#retriesBusy = retriesBusy
  }

  async run<T>(work: (send: Send) => Promise<T> | T): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      let connection: Connection | undefined
      try {
        connection = await this.#pool.acquire()
        return await work(this.#senderOn(connection))
      } catch (thrown) {
        const error = connection === undefined ? this.#unreachable(thrown as DriverError) : thrown
        if (this.#hasExpired || !this.#mayTryAgain(error)) throw error
      } finally {
        this.#connection = null
        if (connection !== undefined) await this.#pool.release(connection)
      }
      // Waits without a connection, which others may need, and with jitter.
      await pause(Math.random() * Math.min(2 ** attempt, LONGEST_PAUSE))
    }
  }

  /** Called at the deadline. Cuts off the statement under way, with its connection, and returns the error for the caller. */
  expire(): Error {
    this.#hasExpired = true
    if (this.#connection !== null) {
      // Connections of the same age may be dead too.
      this.#pool.discardAsOldAs(this.#connection, 'an answer was overdue')
      this.#dialect.abort(this.#connection)
      return overdue('the database gave no answer in time')
    }
    if (this.#busy !== null)
      return new StoreUnavailable('the database was busy, or the row locked, until the deadline', { cause: this.#busy })
    return notSent('no connection became free in time. Is a session operation awaited inside an open transaction, or the pool too small?')
  }

  /** Whether to try again: always if the database was busy, and once, on a new connection, if this one was outdated. */
  #mayTryAgain(error: unknown): boolean {
    const kind = kindOfFailure(error)
    if (kind === 'busy') this.#busy = (error as Error).cause
    const isFirst = kind === 'outdated' && !this.#wasOutdated
    if (isFirst) this.#wasOutdated = true
    return (kind === 'busy' && this.#retriesBusy) || isFirst
  }

  #senderOn(connection: Connection): Send {
    if (this.#hasExpired) throw new StoreUnavailable('the connection came too late')
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
      // Emitted for applications that log or count the queries of their Knex instance.
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
    // If one of these fails, the connection still has its transaction or its lock.
    const keeps = sql === 'ROLLBACK' || sql === this.#dialect.unlock
    if (kind === 'outdated') this.#pool.discardAsOldAs(connection, 'it was outdated')
    else if (keeps || DISCARDING.includes(kind)) this.#pool.discard(connection, `after an error of the kind "${kind}"`)
  }
}
