/** An application of a cell, with or without a cache on Redis. */
import { Cluster, Redis } from 'ioredis'
import { createClient, createCluster, createSentinel } from 'redis'
import { RedisCache } from '../../lib/caches/redis.ts'
import { createSiteApp, type SiteOptions, serveParent } from '../fixtures/site-app.ts'

export interface RedisPlace {
  client: 'ioredis' | 'node-redis'
  kind: 'server' | 'sentinels' | 'cluster'
  /** Of the server, of the Sentinels, or of the cluster's masters. */
  ports: number[]
}

export interface ProcessOptions extends SiteOptions {
  /** What the cache is on. */
  redis?: RedisPlace
}

const { redis, ...options } = JSON.parse(process.argv[2] as string) as ProcessOptions

const nodesAt = (ports: readonly number[]) => ports.map((port) => ({ host: '127.0.0.1', port }))
const rootNodesAt = (ports: readonly number[]) => ports.map((port) => ({ url: `redis://127.0.0.1:${port}` }))
/** A connection to what is a replica now is made anew. */
const reconnectOnError = ({ message }: Error) => (message.startsWith('READONLY') ? 2 : false)

/** With the settings that the documentation names. Those of node-redis wait to be connected. */
const clients = {
  ioredis: {
    server: ([port]: readonly number[]) => new Redis(port as number, { reconnectOnError }),
    sentinels: (ports: readonly number[]) =>
      new Redis({ sentinels: nodesAt(ports), name: 'main', failoverDetector: true, reconnectOnError }),
    // By default it gives up before a cluster has made a replica the master.
    cluster: (ports: readonly number[]) => new Cluster(nodesAt(ports), { maxRedirections: 100 })
  },
  'node-redis': {
    server: (ports: readonly number[]) => createClient(rootNodesAt(ports)[0]),
    sentinels: (ports: readonly number[]) => createSentinel({ name: 'main', sentinelRootNodes: nodesAt(ports) }),
    cluster: (ports: readonly number[]) =>
      createCluster({ rootNodes: rootNodesAt(ports), topologyRefreshOnReconnectionAttemptStrategy: 500 })
  }
}

async function cacheOn({ client, kind, ports }: RedisPlace): Promise<RedisCache> {
  const redis = clients[client][kind](ports)
  redis.on('error', () => {})
  if (client === 'node-redis') await redis.connect()
  return new RedisCache(redis as unknown as ConstructorParameters<typeof RedisCache>[0])
}

const app = await createSiteApp({
  ...options,
  ...(redis === undefined ? {} : { cache: await cacheOn(redis) })
})
await serveParent(app)
// Clients of Redis go on.
process.exit(0)
