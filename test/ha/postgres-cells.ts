/** PostgreSQL with its standby: switchovers, crashes and hangs, behind addresses, HAProxy and PgBouncer. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { type Address, createAddress } from '../fixtures/address.ts'
import { type Site, startSite } from '../fixtures/site.ts'
import type { SiteOptions } from '../fixtures/site-app.ts'
import type { Verdict } from './history.ts'
import { type Cell, kept, observe, PROGRAM, pool, unnoticed } from './observe.ts'
import { SITE_ENV, severalAddresses } from './page.ts'
import { type Pair, type PostgresNode, startPair } from './postgres.ts'
import { reconnect, startHaproxy, startPgBouncer } from './proxies.ts'
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

/** A planned switchover: the second address leads to the other server at once, which then replays nothing, and the first one 3 s later. */
async function moveOneByOne(pair: Pair, [late, early]: readonly Address[]): Promise<void> {
  await switchOver(pair)
  await pair.first.query('SELECT pg_wal_replay_pause()')
  early?.moveTo(pair.second.port)
  await pause(3000)
  late?.moveTo(pair.second.port)
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
  ...[true, false].map(
    (isReceived): Cell => ({
      name: `PostgreSQL: kill -9 during COMMITs that the synchronous standby ${isReceived ? 'has received' : 'never receives'}`,
      isShort: !isReceived,
      goals: unnoticed(3),
      run: (scope) =>
        onPair(scope, async ({ first, second }, moveTo) => {
          // Otherwise what is sent waits in a socket, which the standby reads to its end when it goes on.
          if (!isReceived) await first.query('SELECT pg_terminate_backend(pid) FROM pg_stat_replication')
          await second.signal('SIGSTOP')
          while ((await first.query("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'")).length === 0) await pause(50)
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
    goals: kept(4, 24),
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
    name: 'HAProxy without shutdown-sessions: planned switchover',
    isShort: true,
    goals: unnoticed(2.5),
    run: (scope) => behindHaproxy(scope, false)
  },
  {
    name: 'HAProxy with shutdown-sessions: planned switchover',
    isShort: false,
    goals: unnoticed(2.5),
    run: (scope) => behindHaproxy(scope, true)
  },
  {
    name: 'PgBouncer, transactions: prepared statements left on',
    isShort: true,
    // They are given up at the second loss.
    goals: kept(2, 10),
    run: (scope) => behindPgBouncer(scope, 'transaction', {}, async () => {})
  },
  {
    name: 'PgBouncer, transactions: planned switchover, address follows 1 s late, RECONNECT',
    isShort: true,
    goals: unnoticed(3),
    run: (scope) =>
      behindPgBouncer(scope, 'transaction', { preparedStatements: false }, async (pair, moveTo, pooler) => {
        await switchOver(pair)
        await pause(1000)
        moveTo(pair.second)
        await reconnect(pooler)
      })
  },
  {
    name: 'PgBouncer, transactions: that of one of two applications leads to a standby that lags, for 3 s',
    isShort: false,
    // PgBouncer keeps the news that a server is a standby to itself: what is read before the first refused write may be old.
    goals: { gap: 4, errors: 0, lost: 0, undone: 0 },
    run: async (scope) => {
      const pair = await startPair(scope, true)
      const addresses = await Promise.all([0, 1].map(() => createAddress(scope.test, pair.first.port)))
      const ports = await Promise.all(addresses.map(({ port }) => startPgBouncer(scope, port, 'transaction')))
      const sites = ports.map((port) => postgresSite(pair.first.urlAt(port), { preparedStatements: false }))
      const fault = async () => {
        await moveOneByOne(pair, addresses)
        await reconnect(ports[0] as number)
      }
      return observe(scope, { migrate: { client: 'pg', connection: pair.first.urlAt() }, sites, fault, after: 4000 })
    }
  },
  {
    name: 'PgBouncer, sessions: kill -9 of the primary',
    isShort: false,
    goals: unnoticed(3.5),
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
    goals: kept(4, 24),
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

export const postgresCells: readonly Cell[] = [...onAddresses, nameCell, ...functionCells]
