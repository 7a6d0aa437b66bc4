/** PostgreSQL with its standby: switchovers, crashes and hangs, behind addresses that move. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import createKnex, { type Knex } from 'knex'
import { type Address, createAddress } from '../fixtures/address.ts'
import { type Site, startSite } from '../fixtures/site.ts'
import type { SiteOptions } from '../fixtures/site-app.ts'
import type { Verdict } from './history.ts'
import { type Cell, kept, observe, PROGRAM, pool, unnoticed } from './observe.ts'
import { SITE_ENV, severalAddresses } from './page.ts'
import { type Pair, type PostgresNode, startPair } from './postgres.ts'
import type { Scope } from './scope.ts'

export const postgresSite = (connection: unknown, more: Partial<SiteOptions> = {}): SiteOptions => ({
  knex: { client: 'pg', connection: connection as string, pool },
  storeTimeout: 10,
  ...more
})

/** Two processes that reach the pair by one address. */
async function onPair(
  scope: Scope,
  fault: (pair: Pair, moveTo: (node: PostgresNode | null) => void, cut: () => void) => Promise<void>,
  { isSynchronous = true, storeTimeout = 10 } = {}
): Promise<Verdict> {
  const pair = await startPair(scope, isSynchronous)
  const address = await createAddress(scope.test, pair.first.port)
  const site = postgresSite(pair.first.urlAt(address.port), { storeTimeout })
  const moveTo = (node: PostgresNode | null) => address.moveTo(node?.port ?? null)
  return observe(scope, { migrate: site.knex, sites: [site, site], fault: () => fault(pair, moveTo, address.cut), after: 4000 })
}

async function makeReadOnly(node: PostgresNode, isReadOnly = true): Promise<void> {
  await node.query(`ALTER SYSTEM SET default_transaction_read_only = ${isReadOnly ? 'on' : 'off'}`)
  await node.query('SELECT pg_reload_conf()')
}

/** The primary is shut down and comes back as the standby of the other. */
export async function switchOver({ first, second }: Pair): Promise<void> {
  await first.stop()
  await second.promote()
  await first.follow(second)
  await first.start()
}

/** A planned switchover: the second address leads to the other server at once, which then replays nothing, and the first one 3 s later. */
export async function moveOneByOne(pair: Pair, [late, early]: readonly Address[]): Promise<void> {
  await switchOver(pair)
  await pair.first.query('SELECT pg_wal_replay_pause()')
  early?.moveTo(pair.second.port)
  await pause(3000)
  late?.moveTo(pair.second.port)
}

/** The standby receives nothing any more. It is stopped first, or it would connect again; what is sent to it then waits in a socket, and is read when it goes on. */
async function cutOff({ first, second }: Pair): Promise<void> {
  await second.signal('SIGSTOP')
  await first.query('SELECT pg_terminate_backend(pid) FROM pg_stat_replication')
  await until(first, 'SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM pg_stat_replication)')
}

/**
 * Until a batch of 64 writes waits for a standby that does not get it. The first lock lets calls gather behind the
 * statements that may be under way, and the second one holds up the batches that they leave in.
 */
async function gatherBatch(scope: Scope, { first, second }: Pair): Promise<void> {
  const knex = createKnex({ client: 'pg', connection: first.urlAt(), log: { warn() {}, error() {} } })
  scope.teardown(() => knex.destroy())
  await first.query('CREATE EXTENSION pgrowlocks')
  const [gather, hold] = [await knex.transaction(), await knex.transaction()]
  const lock = (transaction: Knex.Transaction) => transaction.raw('LOCK TABLE django_session IN EXCLUSIVE MODE')
  await lock(gather)
  await pause(1500)
  // Sent now, answered when the first one is released.
  const held = lock(hold).then(() => {})
  await until(first, "SELECT 1 FROM pg_locks WHERE mode = 'ExclusiveLock' AND locktype = 'relation' AND NOT granted")
  await gather.commit()
  await held
  await pause(500)
  await cutOff({ first, second })
  await hold.commit()
  await until(first, "SELECT locker FROM pgrowlocks('django_session') GROUP BY locker HAVING count(*) = 64")
}

/** Until a query has an answer. @throws after 5 s */
async function until(node: PostgresNode, sql: string): Promise<void> {
  for (let tries = 0; (await node.query(sql)).length === 0; tries++) {
    if (tries === 100) throw new Error(`There was no answer to ${sql}`)
    await pause(50)
  }
}

const onAddresses: Cell[] = [
  {
    name: 'PostgreSQL: primary becomes read-only, address moves, connections stay',
    isShort: true,
    goals: unnoticed(2),
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
    goals: unnoticed(5.5),
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
    goals: unnoticed(5),
    run: async (scope) => {
      const pair = await startPair(scope, true)
      const addresses = await Promise.all([0, 1].map(() => createAddress(scope.test, pair.first.port)))
      const sites = addresses.map(({ port }) => postgresSite(pair.first.urlAt(port)))
      const fault = () => moveOneByOne(pair, addresses)
      return observe(scope, { migrate: sites[0]?.knex, sites, fault, after: 4000 })
    }
  },
  {
    name: 'PostgreSQL: kill -9 of the primary, synchronous standby',
    isShort: false,
    goals: unnoticed(2.5),
    run: (scope) =>
      onPair(scope, async ({ first, second }, moveTo) => {
        await first.crash()
        await second.promote()
        moveTo(second)
      })
  },
  {
    name: 'PostgreSQL: kill -9 of the primary, synchronous standby, address follows 3 s late',
    isShort: false,
    goals: unnoticed(5.5),
    run: (scope) =>
      onPair(scope, async ({ first, second }, moveTo) => {
        await first.crash()
        await second.promote()
        await pause(3000)
        moveTo(second)
      })
  },
  ...[true, false].map(
    (isReceived): Cell => ({
      name: `PostgreSQL: kill -9 during COMMITs that the synchronous standby ${isReceived ? 'has received' : 'never receives'}`,
      isShort: !isReceived,
      goals: unnoticed(3),
      run: (scope) =>
        onPair(scope, async ({ first, second }, moveTo) => {
          if (isReceived) await second.signal('SIGSTOP')
          else await cutOff({ first, second })
          await until(first, "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
          await pause(500)
          await first.crash()
          await second.signal('SIGCONT')
          await second.promote()
          moveTo(second)
        })
    })
  ),
  {
    name: 'PostgreSQL: kill -9 of the primary, asynchronous standby that lags 1.5 s',
    isShort: false,
    goals: { gap: 2.5, errors: 2 },
    run: (scope) =>
      onPair(
        scope,
        async ({ first, second }, moveTo) => {
          await second.query('SELECT pg_wal_replay_pause()')
          await cutOff({ first, second })
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
  ...[0, 1].map(
    (late): Cell => ({
      name: `PostgreSQL: primary hangs, standby promoted, address follows ${late === 0 ? 'at once' : `${late} s late`} (storeTimeout 2)`,
      isShort: late === 0,
      goals: kept(3.5, 16),
      run: (scope) =>
        onPair(
          scope,
          async ({ first, second }, moveTo) => {
            await first.signal('SIGSTOP')
            await second.promote()
            await pause(late * 1000)
            moveTo(second)
          },
          { storeTimeout: 2 }
        )
    })
  ),
  {
    name: 'PostgreSQL: primary hangs, connections are cut, standby promoted, address follows 1 s late',
    isShort: false,
    goals: unnoticed(4.5),
    run: (scope) =>
      onPair(scope, async ({ first, second }, moveTo, cut) => {
        await first.signal('SIGSTOP')
        cut()
        await second.promote()
        await pause(1000)
        moveTo(second)
      })
  },
  ...[2, 10].map(
    (storeTimeout): Cell => ({
      name: `PostgreSQL: primary hangs for 4 s and goes on, address stays (storeTimeout ${storeTimeout})`,
      isShort: false,
      goals: storeTimeout < 4 ? kept(6.5, 48) : unnoticed(6.5),
      run: (scope) =>
        onPair(
          scope,
          async ({ first }) => {
            await first.signal('SIGSTOP')
            await pause(4000)
            await first.signal('SIGCONT')
          },
          { storeTimeout }
        )
    })
  ),
  {
    name: 'PostgreSQL: both read-only for 4 s, longer than storeTimeout (2 s)',
    isShort: true,
    goals: kept(6.5, 48),
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
    goals: unnoticed(2.5),
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
    name: 'PostgreSQL: kill -9 during the COMMIT of a batch of 64, which the synchronous standby never receives',
    isShort: false,
    goals: unnoticed(5),
    run: async (scope) => {
      const pair = await startPair(scope, true)
      const address = await createAddress(scope.test, pair.first.port)
      const site = postgresSite(pair.first.urlAt(address.port))
      const fault = async () => {
        await gatherBatch(scope, pair)
        await pair.first.crash()
        await pair.second.signal('SIGCONT')
        await pair.second.promote()
        address.moveTo(pair.second.port)
      }
      return observe(scope, { migrate: site.knex, sites: [site], fault, after: 4000, visitors: { count: 250, rest: 150 } })
    }
  },
  {
    name: 'PostgreSQL: standby that is promoted while the primary dies under 64 visitors',
    isShort: false,
    goals: unnoticed(2.5),
    run: async (scope) => {
      const pair = await startPair(scope, true)
      const address = await createAddress(scope.test, pair.first.port)
      const site = postgresSite(pair.first.urlAt(address.port))
      const fault = async () => {
        await pair.first.crash()
        await pair.second.promote()
        address.moveTo(pair.second.port)
      }
      return observe(scope, { migrate: site.knex, sites: [site, site], fault, after: 4000, visitors: { count: 64 } })
    }
  },
  {
    name: 'PostgreSQL: rolling deployment of two processes, each drained before it ends',
    isShort: false,
    goals: unnoticed(2),
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
    goals: unnoticed(2),
    run: async (scope) => {
      const { first } = await startPair(scope, false, ['max_connections=14', 'superuser_reserved_connections=1', 'max_wal_senders=3'])
      const site = postgresSite(first.urlAt())
      const sites = Array.from({ length: 8 }, () => site)
      return observe(scope, { migrate: site.knex, sites, fault: async () => {}, after: 5000, visitors: { count: 40 } })
    }
  }
]

/** Debian's libnss-wrapper, by which the applications read names from a file of the cell. */
const nameCell: Cell = {
  name: 'PostgreSQL: the name of the server cannot be resolved for 5 s, connections are cut',
  isShort: false,
  goals: unnoticed(7.5),
  run: async (scope) => {
    const hosts = join(await scope.folder(), 'hosts')
    const name = (host: string) => writeFile(hosts, `127.0.0.1 ${host}\n`)
    await name('database.invalid')
    const { first } = await startPair(scope, false)
    const address = await createAddress(scope.test, first.port)
    const site = postgresSite(`postgres://postgres@database.invalid:${address.port}/postgres`)
    const fault = async () => {
      await name('elsewhere.invalid')
      address.cut()
      await pause(5000)
      await name('database.invalid')
    }
    const env = { LD_PRELOAD: 'libnss_wrapper.so', NSS_WRAPPER_HOSTS: hosts }
    const migrate = { client: 'pg', connection: first.urlAt() }
    return observe(scope, { migrate, sites: [site, site], env, fault, after: 3000 })
  }
}

/** The program of the documentation, which finds the primary by Knex's `connection` as a function. */
async function byFunction(scope: Scope, fault: (pair: Pair) => Promise<void>, storeTimeout: number): Promise<Verdict> {
  const pair = await startPair(scope, true)
  const urls = [pair.first.urlAt(), pair.second.urlAt()] as const
  const program = await severalAddresses(scope, urls, storeTimeout)
  const migrate = { client: 'pg', connection: pair.first.urlAt() }
  return observe(scope, { migrate, sites: [{}, {}], program, env: SITE_ENV, fault: () => fault(pair), after: 5000 })
}

const functionCells: Cell[] = [
  {
    name: 'PostgreSQL: a connection function that finds the primary, kill -9',
    isShort: false,
    goals: unnoticed(2.5),
    run: (scope) =>
      byFunction(
        scope,
        async ({ first, second }) => {
          await first.crash()
          await second.promote()
        },
        10
      )
  },
  {
    name: 'PostgreSQL: a connection function that finds the primary, which hangs (storeTimeout 2)',
    isShort: false,
    goals: kept(3.5, 16),
    run: (scope) =>
      byFunction(
        scope,
        async ({ first, second }) => {
          await first.signal('SIGSTOP')
          await second.promote()
        },
        2
      )
  }
]

export const postgresCells: readonly Cell[] = [...onAddresses, nameCell, ...functionCells]
