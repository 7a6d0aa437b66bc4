/** What the package wants to reach, as ratios to others in the same run. */
import { type CellResult, type Figure, oursOf, pairedRatio, type Ratio } from './statistics.ts'
import type { Route } from './suites.ts'

interface Goal {
  suite: string
  route: Route
  connections: number
  figure: Figure
  against: string
  /** At least for requests per second, at most for costs. */
  target: number
}

export interface GoalResult extends Goal {
  ratio: Ratio
  reached: boolean
}

type Target = [route: Route, connections: number, against: string, target: number]
const goal =
  (suite: string, figure: Figure) =>
  ([route, connections, against, target]: Target): Goal => ({ suite, route, connections, figure, against, target })

const throughput: Target[] = [
  ['read', 50, 'fs-pg-simple', 2.2],
  ['read', 50, 'fs-knex', 3.2],
  ['read', 50, 'django', 15],
  ['write', 50, 'fs-pg-simple', 2.7],
  ['write', 50, 'fs-knex', 4.5],
  ['write', 50, 'django-sync', 12],
  ['new', 50, 'fs-pg-simple', 2.2],
  ['logout', 50, 'fs-pg-simple', 5]
]
const close: Target[] = [
  ['untouched', 50, 'bare', 0.95],
  ['read', 1, 'fs-pg-simple', 1.2],
  ['write', 1, 'fs-pg-simple', 1.3],
  ['read', 1, 'prepared', 0.95],
  ['write', 1, 'prepared', 0.95]
]
const serverCpu: Target[] = [
  ['read', 50, 'fs-pg-simple', 0.45],
  ['write', 50, 'fs-pg-simple', 0.38]
]
const databaseCpu: Target[] = [
  ['read', 50, 'fs-pg-simple', 0.18],
  ['write', 50, 'fs-pg-simple', 0.22]
]
const delayed: Target[] = [
  ['read', 50, 'fs-pg-simple', 3.3],
  ['write', 50, 'fs-pg-simple', 3.5]
]
const sqlite: Target[] = [
  ['write', 50, 'fs-knex-sqlite', 25],
  ['write', 50, 'fs-knex-sqlite-wal', 4.5],
  ['read', 50, 'fs-knex-sqlite-wal', 3.7]
]

const goals: readonly Goal[] = [
  ...throughput.map(goal('postgres', 'requestsPerSecond')),
  ...close.map(goal('close', 'requestsPerSecond')),
  ...serverCpu.map(goal('postgres', 'serverCpu')),
  ...databaseCpu.map(goal('postgres', 'databaseCpu')),
  ...delayed.map(goal('delay', 'requestsPerSecond')),
  ...sqlite.map(goal('sqlite', 'requestsPerSecond'))
]

/** The goals for which everything was measured. */
export function compareWithGoals(cells: readonly CellResult[]): GoalResult[] {
  return goals.flatMap((goal) => {
    const cell = cells.find(
      ({ suite, route, connections }) => suite === goal.suite && route === goal.route && connections === goal.connections
    )
    const ours = cell && oursOf(cell)
    const theirs = cell?.results.find(({ contender }) => contender === goal.against)
    if (ours === undefined || theirs === undefined) return []
    const ratio = pairedRatio(ours, theirs, goal.figure)
    const reached = goal.figure === 'requestsPerSecond' ? ratio.median >= goal.target : ratio.median <= goal.target
    return [{ ...goal, ratio, reached }]
  })
}
