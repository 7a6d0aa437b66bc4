/** MariaDB with a replica, Galera, and MySQL. */
import { setTimeout as pause } from 'node:timers/promises'
import createKnex from 'knex'
import { createAddress } from '../fixtures/address.ts'
import type { SiteOptions } from '../fixtures/site-app.ts'
import type { Verdict } from './history.ts'
import { startGalera, startReplicas } from './mariadb.ts'
import { type Cell, KEPT, observe, pool, UNNOTICED } from './observe.ts'
import type { Scope } from './scope.ts'

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

const mariadbOnly: Cell[] = [
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

/** `.ci/ha` starts a MySQL, which no package of the tests' Debian has. */
const { MYSQL_URL } = process.env

const mysqlOnly: Cell[] = [
  {
    name: 'MySQL: read_only for 3 s, connections stay',
    isShort: false,
    goals: UNNOTICED,
    run: async (scope) => {
      const admin = createKnex({ client: 'mysql2', connection: MYSQL_URL as string })
      scope.teardown(() => admin.destroy())
      const url = new URL(MYSQL_URL as string)
      // Of a user whom read_only concerns.
      const database = `site_${url.port}`
      await admin.raw('CREATE DATABASE ??', [database])
      scope.teardown(() => admin.raw('DROP DATABASE ??', [database]))
      await admin.raw("CREATE USER IF NOT EXISTS site@'%' IDENTIFIED BY 'site'")
      await admin.raw("GRANT ALL ON ??.* TO site@'%'", [database])
      Object.assign(url, { username: 'site', password: 'site', pathname: database })
      const site = mariadbSite(url.href)
      const fault = async () => {
        await admin.raw('SET GLOBAL read_only = 1')
        await pause(3000)
        await admin.raw('SET GLOBAL read_only = 0')
      }
      return observe(scope, { migrate: site.knex, sites: [site, site], fault, after: 3000 })
    }
  }
]

export const mysqlCells: readonly Cell[] = [...mariadbOnly, ...(MYSQL_URL === undefined ? [] : mysqlOnly)]
