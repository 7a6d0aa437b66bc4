/** The set-ups and faults. Each cell starts servers of its own, and returns the histories' verdict. */
import { setTimeout as pause } from 'node:timers/promises'
import { Redis } from 'ioredis'
import createKnex from 'knex'
import { migrationSource } from '../../lib/migrations.ts'
import { createAddress } from '../fixtures/address.ts'
import { RedisServer } from '../fixtures/redis.ts'
import { type Site, startSite } from '../fixtures/site.ts'
import type { SiteOptions } from '../fixtures/site-app.ts'
import { judge, type Verdict } from './history.ts'
import { startGalera, startReplicas } from './mariadb.ts'
import { type Pair, type PostgresNode, startPair } from './postgres.ts'
import type { ProcessOptions } from './process.ts'
import { reconnect, startHaproxy, startPgBouncer } from './proxies.ts'
import { type Sentinels, startSentinels } from './redis.ts'
import type { Scope } from './scope.ts'
import { RecordedVisitors } from './visitors.ts'

/** What a cell must not exceed; what is not named may be anything, and is printed. */
export type Goals = Partial<Record<Exclude<keyof Verdict, 'answers'>, number>>

export interface Cell {
  name: string
  /** Whether it is one of those that each commit runs. */
  isShort: boolean
  goals: Goals
  run(scope: Scope): Promise<Verdict>
}

/** Nothing that was promised is missing. */
const KEPT: Goals = { lost: 0, undone: 0, anonymous: 0, stale: 0, wrong: 0 }
/** Nobody notices more than a wait. */
const UNNOTICED: Goals = { ...KEPT, errors: 0 }

/** Milliseconds before the fault. */
const BEFORE = 2500
const PROGRAM = new URL('process.ts', import.meta.url)
const SEED = Number(process.env.SEED ?? 1)

interface Trial {
  /** The database as it is reached in the end, for the migration too. */
  migrate: SiteOptions['knex']
  sites: ProcessOptions[]
  /** What happens, and how many milliseconds the visitors go on after it. */
  fault(sites: Site[]): Promise<void>
  after: number
  /** Milliseconds before the sessions are read in the end. @default 0 */
  settle?: number
  visitors?: number
}

async function observe(scope: Scope, { migrate, sites: options, fault, after, settle = 0, visitors: count = 12 }: Trial): Promise<Verdict> {
  if (migrate !== undefined) {
    const knex = createKnex(migrate)
    await knex.migrate.latest({ migrationSource })
    await knex.destroy()
  }
  const sites = await Promise.all(options.map((each) => startSite(scope.test, each, PROGRAM)))
  const visitors = new RecordedVisitors(() => sites.map(({ origin }) => origin), { count, seed: SEED })
  await pause(BEFORE)
  await fault(sites)
  await pause(after)
  await visitors.stop()
  await pause(settle)
  const ends = await visitors.ends()
  for (const site of sites) await site.close()
  return judge(visitors.visits, ends)
}

// --- PostgreSQL --------------------------------------------------------------------

const pool = { min: 0, max: 10 }

const postgresSite = (connection: unknown, more: Partial<SiteOptions> = {}): SiteOptions => ({
  knex: { client: 'pg', connection: connection as string, pool },
  storeTimeout: 10,
  ...more
})

/** Two processes that reach the pair by one address. */
async function onPair(
  scope: Scope,
  fault: (pair: Pair, moveTo: (node: PostgresNode | null) => void, cut: () => void) => Promise<void>,
  { isSynchronous = true, after = 5000, storeTimeout = 10 } = {}
): Promise<Verdict> {
  const pair = await startPair(scope, isSynchronous)
  const address = await createAddress(scope.test, pair.first.port)
  const site = postgresSite(pair.first.urlAt(address.port), { storeTimeout })
  const moveTo = (node: PostgresNode | null) => address.moveTo(node?.port ?? null)
  return observe(scope, { migrate: site.knex, sites: [site, site], fault: () => fault(pair, moveTo, address.cut), after })
}

async function makeReadOnly(node: PostgresNode, isReadOnly = true): Promise<void> {
  await node.query(`ALTER SYSTEM SET default_transaction_read_only = ${isReadOnly ? 'on' : 'off'}`)
  await node.query('SELECT pg_reload_conf()')
}

/** The primary is shut down and comes back as the standby of the other. */
async function switchOver({ first, second }: Pair): Promise<void> {
  await first.stop()
  await second.promote()
  await first.follow(second)
  await first.start()
}

const postgresCells: Cell[] = [
  {
    name: 'PostgreSQL: primary becomes read-only, address moves, connections stay',
    isShort: true,
    goals: UNNOTICED,
    run: (scope) =>
      onPair(scope, async ({ first, second }, moveTo) => {
        await makeReadOnly(first)
        await second.promote()
        moveTo(second)
      })
  },
  {
    name: 'PostgreSQL: planned switchover, address follows 3 s late',
    isShort: true,
    goals: UNNOTICED,
    run: (scope) =>
      onPair(scope, async (pair, moveTo) => {
        await switchOver(pair)
        await pause(3000)
        moveTo(pair.second)
      })
  },
  {
    name: 'PostgreSQL: one of two applications is led to a standby that lags, for 3 s',
    isShort: true,
    goals: UNNOTICED,
    run: async (scope) => {
      const pair = await startPair(scope, true)
      const addresses = await Promise.all([0, 1].map(() => createAddress(scope.test, pair.first.port)))
      const sites = addresses.map(({ port }) => postgresSite(pair.first.urlAt(port)))
      const fault = async () => {
        await switchOver(pair)
        await pair.first.query('SELECT pg_wal_replay_pause()')
        addresses[1]?.moveTo(pair.second.port)
        await pause(3000)
        addresses[0]?.moveTo(pair.second.port)
      }
      return observe(scope, { migrate: sites[0]?.knex, sites, fault, after: 4000 })
    }
  },
  {
    name: 'PostgreSQL: kill -9 of the primary, synchronous standby',
    isShort: true,
    goals: UNNOTICED,
    run: (scope) =>
      onPair(scope, async ({ first, second }, moveTo) => {
        await first.crash()
        await second.promote()
        moveTo(second)
      })
  },
  {
    name: 'PostgreSQL: kill -9 of the primary, asynchronous standby that lags 1.5 s',
    isShort: false,
    goals: { wrong: 0 },
    run: (scope) =>
      onPair(
        scope,
        async ({ first, second }, moveTo) => {
          await second.query('SELECT pg_wal_replay_pause()')
          await first.query('SELECT pg_terminate_backend(pid) FROM pg_stat_replication')
          await second.signal('SIGSTOP')
          await pause(1500)
          await first.crash()
          await second.signal('SIGCONT')
          await second.query('SELECT pg_wal_replay_resume()')
          await second.promote()
          moveTo(second)
        },
        { isSynchronous: false }
      )
  },
  {
    name: 'PostgreSQL: primary hangs, standby promoted, connections stay (storeTimeout 2)',
    isShort: true,
    goals: KEPT,
    run: (scope) =>
      onPair(
        scope,
        async ({ first, second }, moveTo) => {
          await first.signal('SIGSTOP')
          await second.promote()
          moveTo(second)
        },
        { storeTimeout: 2 }
      )
  },
  {
    name: 'PostgreSQL: both read-only for 4 s, longer than storeTimeout (2 s)',
    isShort: true,
    goals: KEPT,
    run: (scope) =>
      onPair(
        scope,
        async ({ first }) => {
          await makeReadOnly(first)
          await pause(4000)
          await makeReadOnly(first, false)
        },
        { storeTimeout: 2 }
      )
  },
  {
    name: 'PostgreSQL: address leads to the standby and back, five times',
    isShort: false,
    goals: UNNOTICED,
    run: (scope) =>
      onPair(scope, async ({ first, second }, moveTo, cut) => {
        for (let round = 0; round < 5; round++) {
          moveTo(second)
          cut()
          await pause(300)
          moveTo(first)
          await pause(300)
        }
      })
  },
  {
    name: 'PostgreSQL: standby that is promoted while the primary dies under 64 visitors',
    isShort: false,
    goals: UNNOTICED,
    run: async (scope) => {
      const pair = await startPair(scope, true)
      const address = await createAddress(scope.test, pair.first.port)
      const site = postgresSite(pair.first.urlAt(address.port))
      const fault = async () => {
        await pair.first.crash()
        await pair.second.promote()
        address.moveTo(pair.second.port)
      }
      return observe(scope, { migrate: site.knex, sites: [site, site], fault, after: 4000, visitors: 64 })
    }
  },
  {
    name: 'HAProxy without shutdown-sessions: planned switchover',
    isShort: true,
    goals: UNNOTICED,
    run: (scope) => behindHaproxy(scope, false)
  },
  {
    name: 'HAProxy with shutdown-sessions: planned switchover',
    isShort: false,
    goals: UNNOTICED,
    run: (scope) => behindHaproxy(scope, true)
  },
  {
    name: 'PgBouncer, transactions: prepared statements left on',
    isShort: true,
    // They are given up at the second loss.
    goals: { ...KEPT, errors: 10 },
    run: (scope) => behindPgBouncer(scope, 'transaction', {}, async () => {})
  },
  {
    name: 'PgBouncer, transactions: planned switchover, address follows 1 s late, RECONNECT',
    isShort: true,
    goals: UNNOTICED,
    run: (scope) =>
      behindPgBouncer(scope, 'transaction', { preparedStatements: false }, async (pair, moveTo, pooler) => {
        await switchOver(pair)
        await pause(1000)
        moveTo(pair.second)
        await reconnect(pooler)
      })
  },
  {
    name: 'PgBouncer, sessions: kill -9 of the primary',
    isShort: false,
    goals: UNNOTICED,
    run: (scope) =>
      behindPgBouncer(scope, 'session', {}, async ({ first, second }, moveTo) => {
        await first.crash()
        await second.promote()
        moveTo(second)
      })
  },
  {
    name: 'PostgreSQL: rolling deployment of two processes, each drained before it ends',
    isShort: false,
    goals: UNNOTICED,
    run: async (scope) => {
      const { first } = await startPair(scope, false)
      const site = postgresSite(first.urlAt())
      const fault = async (sites: Site[]) => {
        for (let round = 0; round < 4; round++) {
          sites.push(await startSite(scope.test, site, PROGRAM))
          const old = sites.shift()
          await pause(500)
          await old?.close()
        }
      }
      return observe(scope, { migrate: site.knex, sites: [site, site], fault, after: 2000 })
    }
  },
  {
    name: 'PostgreSQL: 8 processes with 10 connections each, 13 allowed',
    isShort: false,
    goals: UNNOTICED,
    run: async (scope) => {
      const { first } = await startPair(scope, false, ['max_connections=14', 'superuser_reserved_connections=1', 'max_wal_senders=3'])
      const site = postgresSite(first.urlAt())
      const sites = Array.from({ length: 8 }, () => site)
      return observe(scope, { migrate: site.knex, sites, fault: async () => {}, after: 5000, visitors: 40 })
    }
  }
]

/** Found by Knex's `connection` as a function. */
const functionCell: Cell = {
  name: 'PostgreSQL: a connection function that finds the primary, kill -9',
  isShort: false,
  goals: UNNOTICED,
  run: async (scope) => {
    const pair = await startPair(scope, true)
    const site = { hosts: [pair.first.urlAt(), pair.second.urlAt()], storeTimeout: 10 }
    const fault = async () => {
      await pair.first.crash()
      await pair.second.promote()
    }
    return observe(scope, { migrate: { client: 'pg', connection: pair.first.urlAt() }, sites: [site, site], fault, after: 5000 })
  }
}

async function behindHaproxy(scope: Scope, shutsSessions: boolean): Promise<Verdict> {
  const pair = await startPair(scope, true)
  const port = await startHaproxy(scope, pair, shutsSessions)
  const site = postgresSite(pair.first.urlAt(port))
  return observe(scope, { migrate: site.knex, sites: [site, site], fault: () => switchOver(pair), after: 5000 })
}

async function behindPgBouncer(
  scope: Scope,
  mode: 'transaction' | 'session',
  more: Partial<SiteOptions>,
  fault: (pair: Pair, moveTo: (node: PostgresNode) => void, pooler: number) => Promise<void>
): Promise<Verdict> {
  const pair = await startPair(scope, true)
  const address = await createAddress(scope.test, pair.first.port)
  const port = await startPgBouncer(scope, address.port, mode)
  const site = postgresSite(pair.first.urlAt(port), more)
  const moveTo = (node: PostgresNode) => address.moveTo(node.port)
  return observe(scope, {
    migrate: { client: 'pg', connection: pair.first.urlAt() },
    sites: [site, site],
    fault: () => fault(pair, moveTo, port),
    after: 5000
  })
}

// --- MariaDB -----------------------------------------------------------------------

const mariadbSite = (connection: string): SiteOptions => ({ knex: { client: 'mysql2', connection, pool }, storeTimeout: 10 })

/** 0, 1 and 2 are the nodes of the cluster; application 0 is on the first, application 1 on the second, each by an address of its own. */
async function onGalera(
  scope: Scope,
  fault: (nodes: Awaited<ReturnType<typeof startGalera>>, moveTo: (site: number, node: number) => void) => Promise<void>,
  after = 6000
): Promise<Verdict> {
  const nodes = await startGalera(scope)
  const addresses = await Promise.all([0, 1].map((index) => createAddress(scope.test, nodes[index]?.port as number)))
  const sites = addresses.map(({ port }) => mariadbSite(nodes[0]?.urlAt(port) as string))
  const moveTo = (site: number, node: number) => addresses[site]?.moveTo(nodes[node]?.port as number)
  return observe(scope, { migrate: sites[0]?.knex, sites, fault: () => fault(nodes, moveTo), after })
}

const mariadbCells: Cell[] = [
  {
    name: 'MariaDB: primary becomes read_only, address moves, connections stay',
    isShort: true,
    goals: { ...KEPT, errors: 0 },
    run: async (scope) => {
      const { first, second, catchUp } = await startReplicas(scope)
      const address = await createAddress(scope.test, first.port)
      const site = mariadbSite(first.urlAt(address.port))
      const fault = async () => {
        await first.query('SET GLOBAL read_only = 1')
        await catchUp()
        await second.query('STOP SLAVE')
        address.moveTo(second.port)
      }
      return observe(scope, { migrate: site.knex, sites: [site, site], fault, after: 5000 })
    }
  },
  {
    name: 'Galera: an application on each of two nodes, of which one lags',
    isShort: true,
    goals: UNNOTICED,
    run: (scope) =>
      onGalera(scope, async ([first]) => {
        await first?.query(
          'CREATE TABLE bulk (id INT PRIMARY KEY, text VARCHAR(100), INDEX (text)) AS SELECT seq AS id, UUID() AS text FROM seq_1_to_20000'
        )
        for (let round = 0; round < 4; round++) await first?.query('UPDATE bulk SET text = UUID()')
      })
  },
  {
    name: 'Galera: kill -9 of a node, the address of its application moves',
    isShort: false,
    goals: KEPT,
    run: (scope) =>
      onGalera(
        scope,
        async ([first], moveTo) => {
          await first?.crash()
          moveTo(0, 2)
        },
        9000
      )
  }
]

// --- Redis -------------------------------------------------------------------------

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

const redisCells = (['cache', 'cached_db'] as const).flatMap((engine) =>
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

export const cells: readonly Cell[] = [...postgresCells, functionCell, ...mariadbCells, ...redisCells, loadingCell]
