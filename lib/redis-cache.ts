/** A cache on Redis or Valkey, alone or as a cluster, through the client that the application has. */
import type { Cache } from './cache.js'

/** What ioredis and iovalkey have, as Redis and as Cluster. */
export interface IoRedisClient {
  get(key: string): Promise<string | null>
  set(key: string, value: string, seconds: 'EX', ttl: number, condition: 'NX'): Promise<string | null>
  eval(script: string, numberOfKeys: number, ...keysAndArguments: (string | number)[]): Promise<unknown>
  del(key: string): Promise<number>
  defineCommand: unknown
}

/** What node-redis has, as client and as cluster. */
export interface NodeRedisClient {
  get(key: string): Promise<unknown>
  set(key: string, value: string, options: { EX: number; NX: true }): Promise<unknown>
  eval(script: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>
  del(key: string): Promise<unknown>
}

/** One key each, so that a cluster finds its node. */
const REPLACE = `
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
  return 1
end
return 0`

/** The client stays the caller's to connect and to end. */
export class RedisCache implements Cache {
  readonly #client: Pick<IoRedisClient, 'get' | 'del'> | Pick<NodeRedisClient, 'get' | 'del'>
  readonly #add: (key: string, value: string, ttl: number) => Promise<unknown>
  readonly #evaluate: (key: string, expected: string, value: string, ttl: number) => Promise<unknown>

  constructor(client: IoRedisClient | NodeRedisClient) {
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
    const value = await this.#client.get(key)
    return typeof value === 'string' ? value : null
  }

  async add(key: string, value: string, ttl: number): Promise<boolean> {
    return (await this.#add(key, value, ttl)) === 'OK'
  }

  async replace(key: string, expected: string, value: string, ttl: number): Promise<boolean> {
    return Number(await this.#evaluate(key, expected, value, ttl)) === 1
  }

  async delete(key: string): Promise<void> {
    await this.#client.del(key)
  }
}
