/** An application of a cell: with a cache behind Sentinels, or with a `connection` that looks for the primary. */
import { Redis } from 'ioredis'
import createKnex, { type Knex } from 'knex'
import { createClient, createSentinel } from 'redis'
import { RedisCache } from '../../lib/caches/redis.ts'
import { createSiteApp, type SiteOptions, serveParent } from '../fixtures/site-app.ts'

export interface ProcessOptions extends SiteOptions {
  /** URLs of PostgreSQL servers, of which one is the primary. */
  hosts?: string[]
  /** Of a Redis that node-redis connects to. */
  nodeRedisUrl?: string
  /** Ports of Sentinels, and the client that asks them. */
  sentinels?: { ports: number[]; client: 'ioredis' | 'node-redis' }
}

const { hosts, nodeRedisUrl, sentinels, ...options } = JSON.parse(process.argv[2] as string) as ProcessOptions

/** Looks for the primary every half second, and calls the connections expired that lead elsewhere. */
async function followPrimary(urls: readonly string[]): Promise<Knex.Config['connection']> {
  const probes = urls.map((url) => ({
    url,
    knex: createKnex({ client: 'pg', connection: url, pool: { min: 0, max: 1 }, log: { warn() {} } })
  }))
  let primary = urls[0] as string
  const look = async () => {
    for (const { url, knex } of probes) {
      const answer = await knex
        .raw('SELECT pg_is_in_recovery() AS is_standby')
        .timeout(400)
        .catch(() => null)
      if (answer?.rows[0].is_standby === false) primary = url
    }
  }
  await look()
  setInterval(look, 500).unref()
  return () => {
    const connectionString = primary
    return { connectionString, expirationChecker: () => connectionString !== primary }
  }
}

async function cacheBehind({ ports, client }: NonNullable<ProcessOptions['sentinels']>): Promise<RedisCache> {
  const nodes = ports.map((port) => ({ host: '127.0.0.1', port }))
  if (client === 'ioredis') {
    const redis = new Redis({
      sentinels: nodes,
      name: 'main',
      failoverDetector: true,
      reconnectOnError: (error) => (error.message.startsWith('READONLY') ? 2 : false)
    })
    redis.on('error', () => {})
    return new RedisCache(redis)
  }
  const redis = createSentinel({ name: 'main', sentinelRootNodes: nodes })
  redis.on('error', () => {})
  await redis.connect()
  return new RedisCache(redis as unknown as ConstructorParameters<typeof RedisCache>[0])
}

async function cacheAt(url: string): Promise<RedisCache> {
  const redis = createClient({ url })
  redis.on('error', () => {})
  await redis.connect()
  return new RedisCache(redis as unknown as ConstructorParameters<typeof RedisCache>[0])
}

const app = await createSiteApp({
  ...options,
  ...(hosts === undefined
    ? {}
    : { knex: { client: 'pg', connection: await followPrimary(hosts), pool: { min: 0, max: 10 } } as Knex.Config }),
  ...(nodeRedisUrl === undefined ? {} : { cache: await cacheAt(nodeRedisUrl) }),
  ...(sentinels === undefined ? {} : { cache: await cacheBehind(sentinels) })
})
await serveParent(app)
// Clients of Redis and the search for the primary.
process.exit(0)
