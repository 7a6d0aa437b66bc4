/**
 * Sends statements over connections from Knex's pool. Returns the driver's own answer,
 * which no setting of the Knex instance (mappers, post-processing) can change.
 */
import type { Knex } from 'knex'
import type { SessionLog } from '../contract.js'
import { type Deadline, deadlineIn, hasPassed, withDeadline } from '../deadline.js'
import { served } from '../events.js'
import { Batcher } from './batcher.js'
import type { Binding, Dialect, Row } from './dialect.js'
import { type ConnectionPool, poolOf } from './pool.js'
import { isRefused, timedOut, tooLate } from './statement-error.js'
import { type Retries, type Send, Use } from './use.js'

/** A class, as the items of `BatchedTable` are. */
class Statement {
  readonly sql: string
  readonly bindings: readonly Binding[]
  readonly read: (answer: unknown) => unknown

  constructor(sql: string, bindings: readonly Binding[], read: (answer: unknown) => unknown) {
    this.sql = sql
    this.bindings = bindings
    this.read = read
  }
}

export interface ConnectionsOptions {
  knex: Knex
  dialect: Dialect
  /** The time for an operation without a deadline of its own, in seconds. */
  timeout: number
  /** Whether statements are prepared on the server, once per connection. */
  preparedStatements: boolean
  /** For what happens to connections. @default nothing is logged */
  log?: SessionLog | undefined
}

/** The largest number of statements in one turn on a database in our own process, which blocks the event loop. */
const MAX_PER_TURN = 100

export class Connections {
  readonly knex: Knex
  readonly dialect: Dialect
  readonly #pool: ConnectionPool
  readonly #timeout: number
  readonly #prepares: boolean
  readonly #reads: Batcher<Statement, unknown>
  readonly #writes: Batcher<Statement, unknown>

  constructor({ knex, dialect, timeout, preparedStatements, log }: ConnectionsOptions) {
    this.knex = knex
    this.dialect = dialect
    this.#pool = poolOf(knex, dialect, log)
    this.#timeout = timeout
    this.#prepares = preparedStatements
    // Separate, because a writer that waits for the file's lock must not delay readers.
    this.#reads = this.#createBatcher(['BEGIN'])
    this.#writes = this.#createBatcher(dialect.begin)
  }

  /** The deadline of an operation that begins now without one of its own. */
  get deadline(): Deadline {
    return deadlineIn(this.#timeout)
  }

  /**
   * Sends a statement, and returns what `read` makes of the driver's answer.
   *
   * @param read must not throw
   * @throws StoreUnavailable, StoreRefused
   */
  ask<T>(
    sql: string,
    bindings: readonly Binding[],
    read: (answer: unknown) => T,
    deadline = this.deadline,
    retries: Retries = {}
  ): Promise<T> {
    if (!this.dialect.isInProcess) {
      return this.#use((send) => (send(sql, bindings) as Promise<unknown>).then(read), deadline, this.#prepares, retries)
    }
    const batcher = sql.startsWith('SELECT') ? this.#reads : this.#writes
    return batcher.add(new Statement(sql, bindings, read), deadline) as Promise<T>
  }

  /** The rows of a statement. @throws StoreUnavailable, StoreRefused */
  rows(sql: string, bindings: readonly Binding[], deadline?: Deadline, retries?: Retries): Promise<Row[]> {
    return this.ask(sql, bindings, this.dialect.rows, deadline, retries)
  }

  /** The driver's answer to a statement. @throws StoreUnavailable, StoreRefused */
  send(sql: string, bindings: readonly Binding[], deadline?: Deadline): Promise<unknown> {
    return this.ask(sql, bindings, (answer) => answer, deadline)
  }

  /**
   * Runs `work` in a transaction that may write. Runs it again from the start if the
   * database was busy. Rolls back if `work` throws.
   *
   * @throws StoreUnavailable, StoreRefused, or what `work` throws
   */
  transaction<T>(work: (send: Send) => Promise<T>, deadline = this.deadline): Promise<T> {
    return this.#transaction(this.dialect.begin, work, deadline)
  }

  #transaction<T>(begin: readonly string[], work: (send: Send) => Promise<T>, deadline: Deadline): Promise<T> {
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
    return this.#use(run, deadline)
  }

  /** Combines the statements of one turn into one transaction, with one lock and one commit. */
  #createBatcher(begin: readonly string[]): Batcher<Statement, unknown> {
    return new Batcher<Statement, unknown>({
      maxSize: MAX_PER_TURN,
      maxUnderWay: 1,
      alone: ({ sql, bindings, read }, deadline) => this.#use((send) => read(send(sql, bindings)), deadline),
      // In our own process statements are answered at once: none follows one that failed.
      together: (statements, deadline) =>
        this.#transaction(begin, async (send) => statements.map(({ sql, bindings, read }) => read(send(sql, bindings))), deadline),
      isRefused,
      timedOut
    })
  }

  /** Runs `work` on a connection of the pool. At the deadline, cuts off its statement and rejects. */
  #use<T>(work: (send: Send) => Promise<T> | T, deadline: Deadline, prepare = false, retries: Retries = {}): Promise<T> {
    // The statement would be cut off as soon as it was sent, with its connection.
    if (hasPassed(deadline)) return Promise.reject(tooLate())
    const use = new Use(this.#pool, this.dialect, prepare, retries)
    return withDeadline(use.run(counted(work)), deadline, () => use.expire())
  }
}

/** Counts the attempts of `work` for the traced operations that it serves. */
function counted<T>(work: (send: Send) => T): (send: Send) => T {
  const operations = served.getStore()
  if (operations === undefined) return work
  return (send) => {
    for (const operation of operations) operation.countAttempt()
    return work(send)
  }
}

/** Ends a state of a connection, such as a transaction. If that fails, the connection is discarded (`Use`), and the caller reports its earlier error. */
export async function undo(send: Send, sql: string, bindings: readonly Binding[] = []): Promise<void> {
  try {
    await send(sql, bindings)
  } catch {}
}
