/** A cache on Redis or Valkey, a single server or a cluster, through a client of the application. */
import { StoreUnavailable } from '../errors.js'
import { kindOf } from '../kind-of.js'
import { checkMethods } from './client.js'
import type { Cache } from './memory.js'

/** The part of ioredis and iovalkey in use, of their classes Redis and Cluster. */
export interface IoRedisClient {
  get(key: string): Promise<string | null>
  set(key: string, value: string, seconds: 'EX', ttl: number, condition: 'NX'): Promise<string | null>
  eval(script: string, numberOfKeys: number, ...keysAndArguments: (string | number)[]): Promise<unknown>
  del(key: string): Promise<number>
  defineCommand: unknown
}

/** The part of node-redis in use, of a client or a cluster. */
export interface NodeRedisClient {
  get(key: string): Promise<unknown>
  set(key: string, value: string, options: { EX: number; NX: true }): Promise<unknown>
  eval(script: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>
  del(key: string): Promise<unknown>
}

/** Uses one key only, so that a cluster knows its node. */
const REPLACE = `
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
  return 1
end
return 0`

/**
 * A cache on Redis or Valkey. The caller connects and closes the client.
 *
 * Methods throw StoreUnavailable for an answer of an unexpected type. If it counted as
 * "not found", it would log everybody out.
 */
export class RedisCache implements Cache {
  readonly #client: Pick<IoRedisClient, 'get' | 'del'> | Pick<NodeRedisClient, 'get' | 'del'>
  readonly #add: (key: string, value: string, ttl: number) => Promise<unknown>
  readonly #evaluate: (key: string, expected: string, value: string, ttl: number) => Promise<unknown>

  /** @throws TypeError if the client lacks one of the methods get, set, eval and del */
  constructor(client: IoRedisClient | NodeRedisClient) {
    checkMethods(client, ['get', 'set', 'eval', 'del'], 'RedisCache: expected a client of ioredis, iovalkey or redis')
    this.#client = client
    if ('defineCommand' in client) {
      this.#add = (key, value, ttl) => client.set(key, value, 'EX', ttl, 'NX')
      this.#evaluate = (key, expected, value, ttl) => client.eval(REPLACE, 1, key, expected, value, ttl)
    } else {
      this.#add = (key, value, ttl) => client.set(key, value, { EX: ttl, NX: true })
      this.#evaluate = (key, expected, value, ttl) => client.eval(REPLACE, { keys: [key], arguments: [expected, value, String(ttl)] })
    }
  }

  async get(key: string): Promise<string | null> {
    const value = toText(await this.#client.get(key))
    if (typeof value === 'string' || value === null) return value
    throw unexpected('GET', value)
  }

  async add(key: string, value: string, ttl: number): Promise<boolean> {
    const answer = toText(await this.#add(key, value, ttl))
    if (answer === 'OK' || answer === null) return answer === 'OK'
    throw unexpected('SET', answer)
  }

  async replace(key: string, expected: string, value: string, ttl: number): Promise<boolean> {
    const answer = toText(await this.#evaluate(key, expected, value, ttl))
    // A number, a bigint or a string, depending on what the client maps integers to.
    if (String(answer) === '1' || String(answer) === '0') return String(answer) === '1'
    throw unexpected('EVAL', answer)
  }

  async delete(key: string): Promise<void> {
    await this.#client.del(key)
  }
}

/** Also accepts replies as Buffers, to which clients can map strings. */
function toText(answer: unknown): unknown {
  return answer instanceof Uint8Array ? Buffer.from(answer).toString() : answer
}

function unexpected(command: string, answer: unknown): Error {
  return new StoreUnavailable(
    `the client of RedisCache answered ${command} with ${kindOf(answer)}. Give it a client with its default replies, and not one in legacy mode`
  )
}
