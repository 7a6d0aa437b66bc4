/** Knex's connection pool, without outdated connections. */
import type { Knex } from 'knex'
import type { Dialect } from './dialect.js'

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
  /** A pool of the driver's own (Knex's option `connectionPool`) may lack `max` and `on`. */
  pool?: { max?: number; on?(event: PoolEvent, listener: (id: number, connection: Connection) => void): void }
  config: { connectionPool?: { options?: { max?: number } } }
}

/** The default size of a pool in Knex, and in pg. */
const DEFAULT_CONNECTIONS = 10

/** One per client, because several registrations may share a Knex instance. */
const pools = new WeakMap<Client, ConnectionPool>()

export function poolOf(knex: Knex, dialect: Dialect): ConnectionPool {
  const client: Client = knex.client
  const pool = pools.get(client) ?? new ConnectionPool(client, dialect)
  pools.set(client, pool)
  return pool
}

export class ConnectionPool {
  readonly client: Client
  /** Counts how often all open connections were declared outdated. `#generations` has the count at which each connection was opened. */
  #generation = 0
  readonly #generations = new WeakMap<Connection, number>()
  readonly #dialect: Dialect
  #observed: Client['pool']

  constructor(client: Client, dialect: Dialect) {
    this.client = client
    this.#dialect = dialect
    this.#observe()
  }

  /** The largest number of connections. */
  get max(): number {
    const { pool, config } = this.client
    return pool?.max ?? config.connectionPool?.options?.max ?? DEFAULT_CONNECTIONS
  }

  /** Replaces outdated connections. At most `max` times, since a client in a transaction has a single connection, which it returns again. */
  async acquire(): Promise<Connection> {
    this.#observe()
    let connection = await this.client.acquireConnection()
    for (let round = 0; round < this.max && this.#generationOf(connection) !== this.#generation; round++) {
      this.discard(connection, 'it was outdated')
      await this.release(connection)
      connection = await this.client.acquireConnection()
    }
    return connection
  }

  async release(connection: Connection): Promise<void> {
    await this.client.releaseConnection(connection)
  }

  /** Marks a connection to be closed after its release instead of being reused. */
  discard(connection: Connection, reason: string): void {
    connection.__knex__disposed = reason
  }

  /** Discards a connection, and all that are as old or older before their next use. */
  discardAsOldAs(connection: Connection, reason: string): void {
    // Otherwise the connections of its age are marked already.
    if (this.#generationOf(connection) === this.#generation) this.#generation++
    this.discard(connection, reason)
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
