/**
 * Sends statements over connections from Knex's pool and returns the driver's own
 * answer, so that no setting of the Knex instance (mappers, post-processing) can
 * change what we read. Bounds the time that anything takes, sends again what met a
 * busy database, and turns every failure into StoreUnavailable without SQL or data.
 */
import { setTimeout as pause } from 'node:timers/promises'
import type { Knex } from 'knex'
import type { Dialect, DriverError } from './dialect.js'
import { StoreUnavailable } from './errors.js'

/** The part of Knex's client that its own runner uses, and transaction libraries on top of it. */
interface Client {
  acquireConnection(): Promise<Connection>
  releaseConnection(connection: Connection): Promise<void>
  query(connection: Connection, statement: { sql: string; bindings: readonly Binding[] }): Promise<{ response: unknown }>
}

interface Connection {
  /** Set on a connection that Knex's pool must not hand out again. */
  __knex__disposed?: unknown
}

export type Binding = string | number | boolean | null

/** Sends one statement, with `?` for bindings, and returns the driver's answer. */
export type Send = (sql: string, bindings: readonly Binding[]) => Promise<unknown>

/** What a driver reported, without SQL and without the values that were bound. */
class StatementError extends Error {
  override name = 'StatementError'
  readonly code: string | undefined
  readonly busy: boolean
  readonly outcomeUnknown: boolean

  constructor(error: DriverError, message: string, sent: { busy: boolean; outcomeUnknown: boolean }) {
    super(message)
    this.code = error.code
    this.busy = sent.busy
    this.outcomeUnknown = sent.outcomeUnknown
    // The frames say where it failed; the first lines repeat the driver's message.
    const frames = error.stack?.match(/^ {4}at .*$/gm) ?? []
    this.stack = [`${this.name}: ${message}`, ...frames].join('\n')
  }
}

/** Whether a failed write may have been carried out all the same. */
export function isOutcomeUnknown(error: Error): boolean {
  return error.cause instanceof StatementError && error.cause.outcomeUnknown
}

export interface DatabaseOptions {
  knex: Knex
  dialect: Dialect
  /** Seconds until an operation fails that has no answer, waiting for a connection included. */
  timeout: number
}

export class Database {
  readonly knex: Knex
  readonly dialect: Dialect
  readonly #client: Client
  readonly #timeout: number

  constructor({ knex, dialect, timeout }: DatabaseOptions) {
    this.knex = knex
    this.dialect = dialect
    this.#client = knex.client
    this.#timeout = timeout
  }

  /** @throws StoreUnavailable */
  send(sql: string, bindings: readonly Binding[]): Promise<unknown> {
    return this.#bounded((send) => send(sql, bindings))
  }

  /**
   * Runs `work` in a transaction that may write, from its start again when the
   * database was busy. Rolls back when `work` throws.
   *
   * @throws StoreUnavailable, or what `work` throws
   */
  transaction<T>(work: (send: Send) => Promise<T>): Promise<T> {
    return this.#bounded(async (send) => {
      await send(this.dialect.begin, [])
      try {
        const result = await work(send)
        await send('COMMIT', [])
        return result
      } catch (error) {
        // The first error is the one to report; a connection that cannot roll back is disposed of.
        await send('ROLLBACK', []).catch(() => {})
        throw error
      }
    })
  }

  /** Gives `work` a connection, for no longer than the timeout in all. */
  async #bounded<T>(work: (send: Send) => Promise<T>): Promise<T> {
    const use = new Use(this.#client, this.dialect)
    let timer: NodeJS.Timeout | undefined
    const overdue = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(use.expire(this.#timeout)), this.#timeout * 1000)
    })
    try {
      return await Promise.race([use.run(work), overdue])
    } finally {
      clearTimeout(timer)
    }
  }
}

/** One use of a connection: from waiting for it to giving it back, which may be after nobody waits any longer. */
class Use {
  readonly #client: Client
  readonly #dialect: Dialect
  #connection: Connection | null = null
  #expired = false

  constructor(client: Client, dialect: Dialect) {
    this.#client = client
    this.#dialect = dialect
  }

  async run<T>(work: (send: Send) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#runOnce(work)
      } catch (error) {
        const cause = error instanceof StoreUnavailable ? error.cause : undefined
        if (this.#expired || !(cause instanceof StatementError && cause.busy)) throw error
      }
      // Without its connection, which others may need; not all at the same moment.
      await pause(Math.random() * Math.min(2 ** attempt, 50))
    }
  }

  /** Nobody waits any longer. A statement under way is cut off with its connection. */
  expire(timeout: number): Error {
    this.#expired = true
    if (this.#connection === null) {
      return new StoreUnavailable(
        `no connection became free within ${timeout} seconds. Is a session operation awaited inside an open transaction, or the pool too small?`
      )
    }
    this.#connection.__knex__disposed = 'its answer was overdue'
    this.#dialect.abort(this.#connection)
    return new StoreUnavailable(`no answer within ${timeout} seconds`)
  }

  async #runOnce<T>(work: (send: Send) => Promise<T>): Promise<T> {
    const connection = await this.#acquire()
    try {
      if (this.#expired) throw new StoreUnavailable('the connection came too late')
      this.#connection = connection
      return await work((sql, bindings) => this.#send(connection, sql, bindings))
    } finally {
      this.#connection = null
      await this.#client.releaseConnection(connection)
    }
  }

  async #acquire(): Promise<Connection> {
    try {
      return await this.#client.acquireConnection()
    } catch (error) {
      throw unavailable(error as DriverError, 'it cannot be reached', [], { busy: false, outcomeUnknown: false })
    }
  }

  async #send(connection: Connection, sql: string, bindings: readonly Binding[]): Promise<unknown> {
    try {
      const { response } = await this.#client.query(connection, { sql, bindings })
      return response
    } catch (error) {
      const driverError = error as DriverError
      // Knex puts SQL and bindings before the driver's own message.
      driverError.message = driverError.message.slice(driverError.message.lastIndexOf(' - ') + 3)
      const lost = this.#dialect.isConnectionLost(driverError)
      if (lost || sql === 'ROLLBACK') connection.__knex__disposed = 'its connection was lost'
      const summary = this.#dialect.isMissingTable(driverError)
        ? 'its table is missing, run the migration first (fastify-django-sessions migrate)'
        : lost
          ? 'the connection was lost'
          : 'a statement failed'
      throw unavailable(driverError, summary, bindings, { busy: this.#dialect.isBusy(driverError), outcomeUnknown: lost })
    }
  }
}

function unavailable(error: DriverError, summary: string, bindings: readonly Binding[], sent: { busy: boolean; outcomeUnknown: boolean }) {
  let message = error.message
  for (const binding of bindings) {
    if (typeof binding === 'string' && binding !== '') message = message.replaceAll(binding, '?')
  }
  return new StoreUnavailable(summary, { cause: new StatementError(error, message, sent) })
}
