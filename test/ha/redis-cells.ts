/** Redis behind Sentinels, as a cluster and behind an address that moves, and one that loads its file. */
import { setTimeout as pause } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { createAddress } from '../fixtures/address.ts'
import { RedisServer } from '../fixtures/redis.ts'
import type { Verdict } from './history.ts'
import { type Cell, type Goals, observe, unnoticed } from './observe.ts'
import { startPair } from './postgres.ts'
import { postgresSite } from './postgres-cells.ts'
import type { RedisPlace } from './process.ts'
import { startRedisPair, startReplicatedCluster, startSentinels } from './redis.ts'
import type { Scope } from './scope.ts'

/** Seconds. */
const CACHE_MAX_AGE = 2

type Engine = 'cache' | 'cached_db'

interface RedisTrial extends Omit<RedisPlace, 'client'> {
  fault(): Promise<void>
  /** As in `observe`. */
  after: number
}

async function observeCache(scope: Scope, engine: Engine, client: RedisPlace['client'], trial: RedisTrial): Promise<Verdict> {
  const { fault, after, ...place } = trial
  const more = { engine, storeTimeout: 10, redis: { client, ...place } }
  if (engine === 'cache') return observe(scope, { migrate: undefined, sites: [more, more], fault, after })
  const { first } = await startPair(scope, false)
  const site = { ...postgresSite(first.urlAt()), ...more, cacheMaxAge: CACHE_MAX_AGE }
  return observe(scope, {
    migrate: site.knex,
    sites: [site, site],
    fault,
    after,
    // What the new primary has not heard of is believed for so long.
    settle: CACHE_MAX_AGE * 1000 + 500
  })
}

async function behindAddress(scope: Scope, cuts: boolean): Promise<RedisTrial> {
  const { first, second, swap } = await startRedisPair(scope)
  const address = await createAddress(scope.test, first.port)
  const fault = async () => {
    await swap()
    await pause(1000)
    address.moveTo(second.port)
    if (cuts) address.cut()
  }
  return { kind: 'server', ports: [address.port], fault, after: 3000 }
}

interface RedisFault {
  what: string
  start(scope: Scope): Promise<RedisTrial>
  /** @default both */
  clients?: readonly RedisPlace['client'][]
  /** Of the engine `cache`. Replication is asynchronous: what is lost is printed. */
  goals: Goals
}

const faults: RedisFault[] = [
  {
    what: 'Sentinel: kill -9 of the primary',
    start: async (scope) => {
      const { first, ports } = await startSentinels(scope)
      return { kind: 'sentinels', ports, fault: () => first.stop(), after: 8000 }
    },
    goals: { gap: 6 }
  },
  {
    what: 'Sentinel: planned failover',
    start: async (scope) => {
      const { ports, failOver } = await startSentinels(scope)
      return { kind: 'sentinels', ports, fault: failOver, after: 8000 }
    },
    goals: { gap: 3.5 }
  },
  {
    what: 'cluster: kill -9 of a master',
    start: async (scope) => {
      const { first, ports } = await startReplicatedCluster(scope)
      return { kind: 'cluster', ports, fault: () => first.stop(), after: 8000 }
    },
    goals: { gap: 3, errors: 0 }
  },
  {
    what: 'cluster: 5000 slots move to another master',
    start: async (scope) => {
      const { ports, reshard } = await startReplicatedCluster(scope)
      return { kind: 'cluster', ports, fault: () => reshard(5000), after: 2000 }
    },
    goals: unnoticed(2)
  },
  {
    what: 'one address: FAILOVER, the address moves 1 s late, connections stay',
    start: (scope) => behindAddress(scope, false),
    // node-redis has no setting that ends connections to what is a replica now.
    clients: ['ioredis'],
    goals: unnoticed(3)
  },
  {
    what: 'one address: FAILOVER, the address moves 1 s late, connections are cut',
    start: (scope) => behindAddress(scope, true),
    clients: ['node-redis'],
    goals: unnoticed(3)
  }
]

/**
 * The database decides, so that nothing is lost. Writes that the new primary has not heard of are unseen for `cacheMaxAge`
 * seconds. Logouts are refused while there is no primary: a few, or more where the Sentinels have to vote again.
 */
const CACHED_DB_GOALS: Goals = { gap: 4, failures: 2, errors: 60, lost: 0, undone: 0, anonymous: 0, behind: CACHE_MAX_AGE + 0.5 }

const replicated = (['cache', 'cached_db'] as const).flatMap((engine) =>
  faults.flatMap(({ what, start, clients = ['ioredis', 'node-redis'], goals }) =>
    clients.map(
      (client): Cell => ({
        name: `Redis, ${engine}, ${client}, ${what}`,
        isShort: engine === 'cached_db' && client === 'ioredis' && what.startsWith('Sentinel: kill'),
        goals: engine === 'cache' ? goals : CACHED_DB_GOALS,
        run: async (scope) => observeCache(scope, engine, client, await start(scope))
      })
    )
  )
)

const loadingCell: Cell = {
  name: 'Redis, cache, node-redis, restarted: loads its file for ten seconds',
  isShort: false,
  goals: unnoticed(14),
  run: async (scope) => {
    // Microseconds for each key that is loaded; and after so many bytes it answers that it is loading.
    const server = await RedisServer.start(scope.test, '--key-load-delay', '500', '--loading-process-events-interval-bytes', '1024')
    // Without a retry, which would shut it down again.
    const admin = new Redis(server.port, { retryStrategy: () => null })
    admin.on('error', () => {})
    scope.teardown(() => admin.disconnect())
    await admin.eval("for number = 1, 17000 do redis.call('SET', 'filling ' .. number, 1) end", 0)
    const redis: RedisPlace = { client: 'node-redis', kind: 'server', ports: [server.port] }
    const site = { engine: 'cache' as const, storeTimeout: 20, redis }
    const fault = async () => {
      await admin.call('SHUTDOWN', 'SAVE').catch(() => {})
      await server.start()
    }
    return observe(scope, { migrate: undefined, sites: [site, site], fault, after: 3000 })
  }
}

export const redisCells: readonly Cell[] = [...replicated, loadingCell]
