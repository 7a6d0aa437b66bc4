/** MariaDB with a replica, Galera, and MySQL. */
import { setTimeout as pause } from 'node:timers/promises'
import createKnex, { type Knex } from 'knex'
import { createAddress } from '../fixtures/address.ts'
import type { SiteOptions } from '../fixtures/site-app.ts'
import type { Verdict } from './history.ts'
import { type MariadbNode, startGalera, startReplicas } from './mariadb.ts'
import { type Cell, kept, observe, pool, type Trial, unnoticed } from './observe.ts'
import type { Scope } from './scope.ts'

const mariadbSite = (connection: string): SiteOptions => ({ knex: { client: 'mysql2', connection, pool }, storeTimeout: 10 })

/** 0, 1 and 2 are the nodes of the cluster; application 0 is on the first, application 1 on the second, each by an address of its own. */
async function onGalera(
  scope: Scope,
  fault: (nodes: MariadbNode[], moveTo: (site: number, node: number) => void) => Promise<void>,
  { after = 6000, visitors }: Partial<Pick<Trial, 'after' | 'visitors'>> = {}
): Promise<Verdict> {
  const nodes = await startGalera(scope)
  const addresses = await Promise.all([0, 1].map((index) => createAddress(scope.test, nodes[index]?.port as number)))
  const sites = addresses.map(({ port }) => mariadbSite(nodes[0]?.urlAt(port) as string))
  const moveTo = (site: number, node: number) => addresses[site]?.moveTo(nodes[node]?.port as number)
  return observe(scope, { migrate: sites[0]?.knex, sites, fault: () => fault(nodes, moveTo), after, ...(visitors && { visitors }) })
}

/** How many writes of a node lost against those of another one. */
async function conflicts(node: MariadbNode | undefined): Promise<number> {
  const lost = ['wsrep_local_cert_failures', 'wsrep_local_bf_aborts'].map(async (name) => Number(await node?.variable(name, 'STATUS')))
  return (await Promise.all(lost)).reduce((sum, each) => sum + each)
}

/** A primary whose commits wait until its replica has them, and what is done when it is gone. */
async function onSemiSync(scope: Scope, end: (first: MariadbNode) => Promise<void>, storeTimeout: number): Promise<Verdict> {
  const { first, second, replayAll } = await startReplicas(scope, true)
  const address = await createAddress(scope.test, first.port)
  const site = { ...mariadbSite(first.urlAt(address.port)), storeTimeout }
  const fault = async () => {
    await end(first)
    await replayAll()
    address.moveTo(second.port)
  }
  return observe(scope, { migrate: site.knex, sites: [site, site], fault, after: 4000 })
}

const mariadbOnly: Cell[] = [
  {
    name: 'MariaDB: primary becomes read_only, address moves, connections stay',
    isShort: true,
    goals: unnoticed(2),
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
      return observe(scope, { migrate: site.knex, sites: [site, site], fault, after: 4000 })
    }
  },
  {
    name: 'MariaDB: kill -9 of the primary, semi-synchronous replica, address moves',
    isShort: false,
    goals: unnoticed(3),
    run: (scope) => onSemiSync(scope, (first) => first.crash(), 10)
  },
  {
    name: 'MariaDB: primary hangs, semi-synchronous replica, address moves (storeTimeout 2)',
    isShort: false,
    goals: kept(4, 24),
    run: (scope) => onSemiSync(scope, async (first) => first.signal('SIGSTOP'), 2)
  },
  {
    name: 'Galera: two writers of each session at the same time, each on a node of its own',
    isShort: false,
    goals: unnoticed(2),
    run: (scope) =>
      onGalera(
        scope,
        async (nodes) => {
          // Otherwise nothing was tried.
          while ((await conflicts(nodes[0])) + (await conflicts(nodes[1])) < 20) await pause(100)
        },
        { visitors: { tabs: 2 } }
      )
  },
  {
    name: 'Galera: an application on each of two nodes, of which one lags',
    isShort: true,
    goals: unnoticed(2),
    run: (scope) =>
      onGalera(scope, async ([first]) => {
        await first?.query(
          'CREATE TABLE bulk (id INT PRIMARY KEY, text VARCHAR(100), INDEX (text)) AS SELECT seq AS id, UUID() AS text FROM seq_1_to_20000'
        )
        for (let round = 0; round < 4; round++) await first?.query('UPDATE bulk SET text = UUID()')
      })
  },
  {
    name: 'Galera: a node is cut off from its cluster, the address of its application moves 6 s later',
    isShort: false,
    goals: unnoticed(8),
    run: (scope) =>
      onGalera(
        scope,
        async ([first], moveTo) => {
          await first?.query("SET GLOBAL wsrep_provider_options = 'gmcast.isolate=1'")
          await pause(6000)
          moveTo(0, 2)
        },
        { after: 5000 }
      )
  },
  {
    name: 'Galera: kill -9 of a node, the address of its application moves',
    isShort: false,
    goals: unnoticed(8),
    run: (scope) =>
      onGalera(
        scope,
        async ([first], moveTo) => {
          await first?.crash()
          moveTo(0, 2)
        },
        { after: 9000 }
      )
  }
]

/** `.ci/ha` starts a MySQL and its replica, which no package of the tests' Debian has. */
const { MYSQL_URL, MYSQL_REPLICA_URL } = process.env

/** An application's database on that MySQL, of a user whom read_only concerns. */
async function onMysql(scope: Scope): Promise<{ first: Knex; second: Knex; urlAt(port: number): string }> {
  const open = (connection: string | undefined) => {
    const admin = createKnex({ client: 'mysql2', connection: connection as string })
    scope.teardown(() => admin.destroy())
    return admin
  }
  const [first, second] = [open(MYSQL_URL), open(MYSQL_REPLICA_URL)]
  const url = new URL(MYSQL_URL as string)
  const database = 'site'
  await first.raw('CREATE DATABASE ??', [database])
  scope.teardown(() => first.raw('DROP DATABASE ??', [database]))
  await first.raw("CREATE USER IF NOT EXISTS site@'%' IDENTIFIED BY 'site'")
  await first.raw("GRANT ALL ON ??.* TO site@'%'", [database])
  Object.assign(url, { username: 'site', password: 'site', pathname: database })
  const urlAt = (port: number) => Object.assign(new URL(url), { port: String(port) }).href
  return { first, second, urlAt }
}

const portOf = (url: string | undefined) => Number(new URL(url as string).port)

const mysqlOnly: Cell[] = [
  {
    name: 'MySQL: read_only for 3 s, connections stay',
    isShort: false,
    needs: 'MYSQL_URL',
    goals: unnoticed(5.5),
    run: async (scope) => {
      const { first, urlAt } = await onMysql(scope)
      const site = mariadbSite(urlAt(portOf(MYSQL_URL)))
      const fault = async () => {
        await first.raw('SET GLOBAL read_only = 1')
        await pause(3000)
        await first.raw('SET GLOBAL read_only = 0')
      }
      return observe(scope, { migrate: site.knex, sites: [site, site], fault, after: 3000 })
    }
  },
  {
    name: 'MySQL with a replica: primary becomes read_only, address moves, connections stay',
    isShort: false,
    needs: 'MYSQL_URL',
    goals: unnoticed(2),
    run: async (scope) => {
      const { first, second, urlAt } = await onMysql(scope)
      const address = await createAddress(scope.test, portOf(MYSQL_URL))
      const site = mariadbSite(urlAt(address.port))
      const fault = async () => {
        await first.raw('SET GLOBAL read_only = 1')
        scope.teardown(() => first.raw('SET GLOBAL read_only = 0'))
        const [[{ position }]] = await first.raw('SELECT @@GLOBAL.gtid_executed AS position')
        await second.raw('SELECT WAIT_FOR_EXECUTED_GTID_SET(?, 30)', [position])
        await second.raw('STOP REPLICA')
        scope.teardown(() => second.raw('START REPLICA'))
        address.moveTo(portOf(MYSQL_REPLICA_URL))
      }
      return observe(scope, { migrate: site.knex, sites: [site, site], fault, after: 4000 })
    }
  }
]

export const mysqlCells: readonly Cell[] = [...mariadbOnly, ...mysqlOnly]
