/** Knex's connection pool, without outdated connections. */
import type { Knex } from 'knex'
import type { SessionLog } from '../contract.js'
import { events } from '../events.js'
import { monotonicNow } from '../timers.js'
import { Backoff } from './backoff.js'
import type { Dialect } from './dialect.js'
import { isOurs } from './open.js'

/** A driver's connection, with the properties that Knex sets on it. */
export interface Connection {
  __knexUid?: unknown
  /** Set on a connection that Knex's pool must not reuse. */
  __knex__disposed?: unknown
}

type PoolEvent = 'createSuccess' | 'destroySuccess' | 'destroyFail'

/** The part of Knex's client that its own runner uses, as transaction libraries on top of it do. */
export interface Client {
  acquireConnection(): Promise<Connection>
  releaseConnection(connection: Connection): Promise<void>
  listenerCount(event: string): number
  emit(event: 'query', query: { sql: string; bindings: readonly unknown[]; __knexUid: unknown }): void
  /** Only `destroyed` is known of a pool of the driver's own, which is Knex's option `connectionPool`. */
  pool?: {
    max?: number
    destroyed?: boolean
    free?: readonly { resource: Connection }[]
    on?(event: PoolEvent, listener: (id: number, connection: Connection) => void): void
  }
  config: { connectionPool?: { options?: { max?: number } } }
  /** Whether it is the client of a transaction, which has one connection and no pool. */
  transacting?: boolean
}

/** The default size of a pool in Knex, and in pg. */
const DEFAULT_CONNECTIONS = 10

/** Milliseconds between two losses of prepared statements that show a pooler. */
const POOLER_PERIOD = 60_000

/** A connection whose server has become read-only. */
const DEMOTED = 'its server has become read-only'

/** One for each client, since several registrations may share a Knex instance. */
const pools = new WeakMap<Client, ConnectionPool>()

export function poolOf(knex: Knex, dialect: Dialect, log: SessionLog | undefined): ConnectionPool {
  const client: Client = knex.client
  const pool = pools.get(client) ?? new ConnectionPool(client, dialect, log)
  pools.set(client, pool)
  return pool
}

export class ConnectionPool {
  readonly client: Client
  /** Counts how often all open connections were declared outdated. `#generations` has the count at which each connection was opened. */
  #generation = 0
  readonly #generations = new WeakMap<Connection, number>()
  /** Connections whose server was asked whether it takes writes. */
  readonly #welcome = new WeakSet<Connection>()
  readonly #backoff = new Backoff()
  #hasConnected = false
  #keepsStatements = true
  #lastLoss = Number.NEGATIVE_INFINITY
  readonly #dialect: Dialect
  readonly #log: SessionLog | undefined
  #observed: Client['pool']

  constructor(client: Client, dialect: Dialect, log: SessionLog | undefined) {
    this.client = client
    this.#dialect = dialect
    this.#log = log
    this.#observe()
  }

  /** The largest number of connections. */
  get max(): number {
    const { pool, config } = this.client
    return pool?.max ?? config.connectionPool?.options?.max ?? DEFAULT_CONNECTIONS
  }

  /** Whether this package created the Knex instance, so that nothing else uses its connections. */
  get isOurs(): boolean {
    return isOurs(this.client)
  }

  /** Whether a server that cannot be reached is worth waiting for: the address of one that never could may be wrong. */
  get canRecover(): boolean {
    return this.#hasConnected && this.client.pool !== undefined && !this.client.pool.destroyed
  }

  /** Why the last attempt to connect failed; null where it did not. */
  get failure(): Error | null {
    return this.#backoff.failure
  }

  /** Whether what is prepared on a connection stays there. */
  get keepsStatements(): boolean {
    return this.#keepsStatements
  }

  /**
   * Replaces outdated connections, at most as many as there may be: a client in a transaction has one, and gives it again.
   *
   * @throws the failure of the last attempt to connect, while the next one has to wait
   */
  async acquire(): Promise<Connection> {
    this.#observe()
    for (let round = 0; ; round++) {
      const { failure } = this.#backoff
      if (failure !== null && !this.#hasFree && !this.#backoff.claim()) throw failure
      const connection = await this.client.acquireConnection()
      this.#hasConnected = true
      if (round >= this.max || this.#generationOf(connection) === this.#generation) return connection
      this.discard(connection, 'it was outdated')
      await this.release(connection)
    }
  }

  release(connection: Connection): Promise<void> {
    return this.client.releaseConnection(connection)
  }

  /** Whether the connection has to be asked whether it takes writes. One in a transaction was chosen by the application. */
  isNew(connection: Connection): boolean {
    return !this.#welcome.has(connection) && !this.client.transacting
  }

  /** The server of the connection says that it takes writes. */
  welcome(connection: Connection): void {
    this.#welcome.add(connection)
  }

  /** A statement was carried out. */
  succeeded(isNewConnection: boolean): void {
    this.#backoff.succeeded(isNewConnection)
  }

  /** There is no connection that takes writes. */
  failed(error: Error): void {
    if (!this.#backoff.failed(error)) return
    this.#log?.warn({ err: error }, 'The database takes no writes, or no connections: trying again')
    if (events.failover.hasSubscribers) events.failover.publish({ error })
  }

  /** Closes the connection after its release, instead of handing it out again. */
  discard(connection: Connection, reason: string): void {
    connection.__knex__disposed = reason
  }

  /** Closes the connection and all that are as old or older, each before its next use. Returns whether that was not known yet. */
  discardAsOldAs(connection: Connection, reason: string): boolean {
    // Otherwise a newer one has been opened since, and the older ones are marked already.
    const isNews = this.#generationOf(connection) === this.#generation
    if (isNews) this.#generation++
    this.discard(connection, reason)
    return isNews
  }

  /** The server says that it takes no writes any more. */
  demote(connection: Connection): void {
    this.discardAsOldAs(connection, DEMOTED)
  }

  /** Whether the server has become read-only in the meantime, so that what it answered may be out of date. */
  wasDemoted(connection: Connection): boolean {
    return connection.__knex__disposed === DEMOTED
  }

  /** Twice within a minute, on connections that were opened one after the other: there is a pooler that shares them out. */
  loseStatements(): void {
    const now = monotonicNow()
    if (this.#keepsStatements && now - this.#lastLoss < POOLER_PERIOD) {
      this.#keepsStatements = false
      this.#log?.warn(
        {},
        'Prepared statements are void again and again, as behind a PgBouncer that pools transactions: no more are made. Set the option preparedStatements to false'
      )
    }
    this.#lastLoss = now
  }

  get #hasFree(): boolean {
    return this.client.pool?.free?.some(({ resource }) => resource.__knex__disposed === undefined) ?? false
  }

  /** Listens to the current pool. Knex creates a new one when it is initialised again after `destroy()`. */
  #observe(): void {
    const { pool } = this.client
    if (pool === this.#observed) return
    this.#observed = pool
    pool?.on?.('createSuccess', (_id, connection) => this.#generations.set(connection, this.#generation))
    // Neither pg nor mysql2 closes the socket itself: a silent server would keep it open, and the process alive.
    for (const event of ['destroySuccess', 'destroyFail'] as const)
      pool?.on?.(event, (_id, connection) => this.#dialect.disconnect(connection))
  }

  #generationOf(connection: Connection): number {
    // A connection from before the pool was observed is older. In a pool without events it counts as new.
    const generation = this.#generations.get(connection) ?? (this.client.pool?.on === undefined ? this.#generation : 0)
    this.#generations.set(connection, generation)
    return generation
  }
}
