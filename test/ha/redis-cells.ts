/** Redis behind Sentinels, and one that loads its file. */
import { Redis } from 'ioredis'
import { RedisServer } from '../fixtures/redis.ts'
import type { Verdict } from './history.ts'
import { type Cell, type Goals, observe, UNNOTICED } from './observe.ts'
import { startPair } from './postgres.ts'
import { postgresSite } from './postgres-cells.ts'
import type { ProcessOptions } from './process.ts'
import { type Sentinels, startSentinels } from './redis.ts'
import type { Scope } from './scope.ts'

/** Seconds. */
const CACHE_MAX_AGE = 2

type Client = 'ioredis' | 'node-redis'

interface RedisTrial {
  engine: 'cache' | 'cached_db'
  client: Client
  fault: (sentinels: Sentinels) => Promise<void>
}

async function behindSentinels(scope: Scope, { engine, client, fault }: RedisTrial): Promise<Verdict> {
  const sentinels = await startSentinels(scope)
  const more = { engine, storeTimeout: 10, sentinels: { ports: sentinels.ports, client } }
  if (engine === 'cache') return observe(scope, { migrate: undefined, sites: [more, more], fault: () => fault(sentinels), after: 8000 })
  const { first } = await startPair(scope, false)
  const site = { ...postgresSite(first.urlAt()), ...more, cacheMaxAge: CACHE_MAX_AGE }
  return observe(scope, {
    migrate: site.knex,
    sites: [site, site],
    fault: () => fault(sentinels),
    after: 8000,
    // What the new primary has not heard of is believed for so long.
    settle: CACHE_MAX_AGE * 1000 + 500
  })
}

const redisFaults: Record<string, RedisTrial['fault']> = {
  'kill -9 of the primary': async ({ servers: [first] }) => first.stop(),
  'planned failover': async ({ failOver }) => failOver()
}

/** Replication is asynchronous: what is lost is printed. The database decides in `cached_db`, so that nothing is lost there. */
const redisGoals: Record<RedisTrial['engine'], Goals> = { cache: { wrong: 0 }, cached_db: { lost: 0, undone: 0, anonymous: 0, wrong: 0 } }

const loadingCell: Cell = {
  name: 'Redis, cache, node-redis: restarted, and loads its file for some seconds',
  isShort: false,
  goals: UNNOTICED,
  run: async (scope) => {
    // Microseconds for each key that is loaded.
    const server = await RedisServer.start(scope.test, '--key-load-delay', '500')
    // Without a retry, which would shut it down again.
    const admin = new Redis(server.port, { retryStrategy: () => null })
    admin.on('error', () => {})
    scope.teardown(() => admin.disconnect())
    await admin.eval("for number = 1, 8000 do redis.call('SET', 'filling ' .. number, 1) end", 0)
    const site: ProcessOptions = { engine: 'cache', storeTimeout: 15, nodeRedisUrl: `redis://127.0.0.1:${server.port}` }
    const fault = async () => {
      await admin.call('SHUTDOWN', 'SAVE').catch(() => {})
      await server.start()
    }
    return observe(scope, { migrate: undefined, sites: [site, site], fault, after: 3000 })
  }
}

const sentinelCells = (['cache', 'cached_db'] as const).flatMap((engine) =>
  (['ioredis', 'node-redis'] as const).flatMap((client) =>
    Object.entries(redisFaults).map(
      ([what, fault]): Cell => ({
        name: `Redis Sentinel, ${engine}, ${client}: ${what}`,
        isShort: engine === 'cached_db' && client === 'ioredis' && what.startsWith('kill'),
        goals: redisGoals[engine],
        run: (scope) => behindSentinels(scope, { engine, client, fault })
      })
    )
  )
)

export const redisCells: readonly Cell[] = [...sentinelCells, loadingCell]
