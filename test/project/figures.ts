/** The figures on the pages are those in bench/results.json. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { GoalResult } from '../../bench/goals.ts'
import { type CellResult, medianOf } from '../../bench/statistics.ts'
import { root, table } from '../fixtures/pages.ts'

const results: { cells: CellResult[]; goals: GoalResult[] } = JSON.parse(readFileSync(join(root, 'bench/results.json'), 'utf8'))

/** To three digits at most: the fourth is noise. */
function requestsPerSecond(contender: string, route: string): string {
  const cell = results.cells.find((one) => one.suite === 'postgres' && one.route === route && one.connections === 50)
  const result = cell?.results.find((one) => one.contender === contender)
  if (result === undefined) throw new Error(`bench/results.json has no ${contender} at /${route}`)
  const value = medianOf(result, 'requestsPerSecond')
  const step = value < 1000 ? 10 : 100
  return (Math.round(value / step) * step).toLocaleString('en-US').replace(',', ' ')
}

t.test('the table of requests per second', async (t) => {
  const contenders = ['ours', 'prepared-plain', 'fs-pg-simple', 'django']
  const routes = { 'Session untouched': 'untouched', Read: 'read', Write: 'write', New: 'new', Logout: 'logout' }
  t.same(
    table('bench/README.md', 'Performance'),
    Object.entries(routes).map(([name, route]) => [name, ...contenders.map((contender) => requestsPerSecond(contender, route))])
  )
})

const CONTENDERS: Record<string, string> = {
  bare: 'Fastify without sessions',
  prepared: 'by hand, prepared statements',
  'fs-pg-simple': '@fastify/session, connect-pg-simple',
  'fs-knex': '@fastify/session, connect-session-knex',
  'fs-knex-sqlite': '@fastify/session, connect-session-knex, as it comes',
  'fs-knex-sqlite-wal': 'the same with WAL',
  django: 'Django, gunicorn, 8 threads',
  'django-sync': 'Django, gunicorn, 2 workers'
}
const SUITES: Record<string, string> = { delay: ', PostgreSQL 1 ms away', sqlite: ' on SQLite' }
const COSTS: Record<string, string> = { serverCpu: ': CPU of the server', databaseCpu: ': CPU of PostgreSQL' }

function nameOf({ suite, route, connections, figure }: GoalResult): string {
  const load = `${connections === 1 ? 'one' : connections} at a time`
  return `${route.charAt(0).toUpperCase()}${route.slice(1)}, ${load}${SUITES[suite] ?? ''}${COSTS[figure] ?? ''}`
}

t.test('the goals in bench/README.md, the missed ones bold', async (t) => {
  t.same(
    table('bench/README.md', 'Goals'),
    results.goals.map((goal) => {
      const { median, min, max } = goal.ratio
      return [
        nameOf(goal),
        CONTENDERS[goal.against],
        `${goal.figure === 'requestsPerSecond' ? '≥' : '≤'} ${goal.target}`,
        `${goal.reached ? median.toFixed(2) : `**${median.toFixed(2)}**`} (${min.toFixed(2)} to ${max.toFixed(2)})`
      ]
    })
  )
})
