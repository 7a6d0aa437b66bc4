/** PostgreSQL with its standby behind HAProxy and PgBouncer. */
import { setTimeout as pause } from 'node:timers/promises'
import { createAddress } from '../fixtures/address.ts'
import type { SiteOptions } from '../fixtures/site-app.ts'
import type { Verdict } from './history.ts'
import { type Cell, kept, observe, unnoticed } from './observe.ts'
import { type Pair, type PostgresNode, startPair } from './postgres.ts'
import { moveOneByOne, postgresSite, switchOver } from './postgres-cells.ts'
import { reconnect, startHaproxy, startPgBouncer } from './proxies.ts'
import type { Scope } from './scope.ts'

/** Two processes that reach the pair through HAProxy. */
async function behindHaproxy(
  scope: Scope,
  shutsSessions: boolean,
  fault: (pair: Pair) => Promise<void>,
  storeTimeout = 10
): Promise<Verdict> {
  const pair = await startPair(scope, true)
  const port = await startHaproxy(scope, pair, shutsSessions)
  const site = postgresSite(pair.first.urlAt(port), { storeTimeout })
  return observe(scope, { migrate: site.knex, sites: [site, site], fault: () => fault(pair), after: 4000 })
}

function haproxyCells(shutsSessions: boolean): Cell[] {
  const what = `HAProxy ${shutsSessions ? 'with' : 'without'} shutdown-sessions`
  const crash = async ({ first, second }: Pair) => {
    await first.crash()
    await second.promote()
  }
  const hang = async ({ first, second }: Pair) => {
    await first.signal('SIGSTOP')
    await second.promote()
  }
  return [
    {
      name: `${what}: planned switchover`,
      isShort: !shutsSessions,
      goals: unnoticed(2.5),
      run: (scope) => behindHaproxy(scope, shutsSessions, switchOver)
    },
    {
      name: `${what}: kill -9 of the primary`,
      isShort: false,
      goals: unnoticed(3),
      run: (scope) => behindHaproxy(scope, shutsSessions, crash)
    },
    {
      name: `${what}: primary hangs, standby promoted${shutsSessions ? '' : ' (storeTimeout 2)'}`,
      isShort: false,
      goals: shutsSessions ? unnoticed(3) : kept(3.5, 16),
      run: (scope) => behindHaproxy(scope, shutsSessions, hang, shutsSessions ? 10 : 2)
    }
  ]
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
    after: 4000
  })
}

const pgBouncerCells: Cell[] = [
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
  }
]

export const proxyCells: readonly Cell[] = [...[false, true].flatMap(haproxyCells), ...pgBouncerCells]
