/** Knex's pool, which hands out only connections that are still fit for use. */
import type { Knex } from 'knex'
import type { Dialect } from './dialect.js'

/** A driver's connection, with what Knex notes on it. */
export interface Connection {
  __knexUid?: unknown
  /** Set on a connection that Knex's pool must not hand out again. */
  __knex__disposed?: unknown
}

type PoolEvent = 'createSuccess' | 'destroySuccess' | 'destroyFail'

/** The part of Knex's client that its own runner uses, and transaction libraries on top of it. */
export interface Client {
  acquireConnection(): Promise<Connection>
  releaseConnection(connection: Connection): Promise<void>
  listenerCount(event: string): number
  emit(event: 'query', query: { sql: string; bindings: readonly unknown[]; __knexUid: unknown }): void
  /** `max` and `on` are not known of a pool of the driver's own, which is Knex's option `connectionPool`. */
  pool?: { max?: number; on?(event: PoolEvent, listener: (id: number, connection: Connection) => void): void }
  config: { connectionPool?: { options?: { max?: number } } }
}

/** Of Knex, and of pg. */
const DEFAULT_CONNECTIONS = 10

/** One for each client, since several registrations may share a Knex instance. */
const pools = new WeakMap<Client, ConnectionPool>()

export function poolOf(knex: Knex, dialect: Dialect): ConnectionPool {
  const client: Client = knex.client
  const pool = pools.get(client) ?? new ConnectionPool(client, dialect)
  pools.set(client, pool)
  return pool
}

export class ConnectionPool {
  readonly client: Client
  /** How often all connections were found to be outdated, and how often they had been when each one was opened. */
  #generation = 0
  readonly #generations = new WeakMap<Connection, number>()
  readonly #dialect: Dialect
  #observed: Client['pool']

  constructor(client: Client, dialect: Dialect) {
    this.client = client
    this.#dialect = dialect
    this.#observe()
  }

  /** The number of connections that there may be. */
  get max(): number {
    const { pool, config } = this.client
    return pool?.max ?? config.connectionPool?.options?.max ?? DEFAULT_CONNECTIONS
  }

  /** Replaces outdated connections, at most as many as there may be: a client in a transaction has one, and gives it again. */
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

  /** Closes the connection after its release, instead of handing it out again. */
  discard(connection: Connection, reason: string): void {
    connection.__knex__disposed = reason
  }

  /** Closes the connection and all that are as old or older, each before its next use. */
  discardAsOldAs(connection: Connection, reason: string): void {
    // Otherwise a newer one has been opened since, and the older ones are marked already.
    if (this.#generationOf(connection) === this.#generation) this.#generation++
    this.discard(connection, reason)
  }

  /** Knex makes a new pool when it is initialised again after `destroy()`. */
  #observe(): void {
    const { pool } = this.client
    if (pool === this.#observed) return
    this.#observed = pool
    pool?.on?.('createSuccess', (_id, connection) => this.#generations.set(connection, this.#generation))
    // pg waits for the server to close the socket, mysql2 does not: where the server is silent, it would keep the process alive.
    for (const event of ['destroySuccess', 'destroyFail'] as const)
      pool?.on?.(event, (_id, connection) => this.#dialect.disconnect(connection))
  }

  #generationOf(connection: Connection): number {
    // A connection that was not seen being opened is older than the pool is observed; without events it counts as new.
    const generation = this.#generations.get(connection) ?? (this.client.pool?.on === undefined ? this.#generation : 0)
    this.#generations.set(connection, generation)
    return generation
  }
}
