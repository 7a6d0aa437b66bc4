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

t.test("the README's row of requests per second", async (t) => {
  const [, ours, theirs] = table('README.md', 'Why this, and not @fastify/session?').at(-1) ?? []
  const readAndWrite = (contender: string) => `${requestsPerSecond(contender, 'read')}, ${requestsPerSecond(contender, 'write')}`
  t.strictSame([ours, theirs], [readAndWrite('ours'), readAndWrite('fs-pg-simple')])
})

/** The title of a row of the scoreboard, and its cells in the words of the README. */
const FACTS: [title: string, ours: string, theirs: string][] = [
  ['Of twenty requests that count at once all are counted', '✓ exact', '✗ 1 of 20'],
  ['A logout stays one, though a slow request writes after it', '✓ stays signed out, 400', '✗ signed in again'],
  ['The connection is cut in a rotation: one id is alive', '✓ 1 alive', '✗ 2 alive'],
  ['A route that does not use the session works without the database', '200 with one', '500 with one'],
  ['The database does not answer: the reply ends within 8 seconds', '✓ 503 after 5 s', '✗ no reply']
]

t.test('the scoreboard says what the README tells of it', async (t) => {
  const rows = readFileSync(join(root, 'bench/scoreboard.md'), 'utf8')
    .split('\n')
    .map((line) => line.split('|').map((cell) => cell.trim()))
  const theirs = rows.find((cells) => cells.length > 8)?.indexOf('@fastify/session, connect-pg-simple, tuned') as number
  t.ok(theirs > 2)
  for (const [title, ourFact, theirFact] of FACTS) {
    const cells = rows.find(([, cell]) => cell === title)
    t.ok(cells?.[2]?.endsWith(ourFact), `${title}: ${ourFact}`)
    t.ok(cells?.[theirs]?.endsWith(theirFact), `${title}: ${theirFact}`)
  }
  t.equal(table('README.md', 'Why this, and not @fastify/session?').length, FACTS.length + 1)
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
