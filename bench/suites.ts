/** What is measured: which contenders, on which routes, how many requests at a time, and where the database is. */
export const ROUTES = ['untouched', 'read', 'write', 'new', 'logout'] as const
export type Route = (typeof ROUTES)[number]

/** What is measured at the same time, in turns. */
export interface Cell {
  route: Route
  connections: number
}

export interface Suite {
  name: string
  title: string
  contenders: readonly string[]
  cells: readonly Cell[]
  /** Bytes of a session's JSON. */
  payload: number
  rounds: number
  /** Milliseconds that each answer of PostgreSQL is held back, as if it came from another machine. */
  delay?: number
}

const cells = (routes: readonly Route[], connections: readonly number[]): Cell[] =>
  routes.flatMap((route) => connections.map((number) => ({ route, connections: number })))

const PAYLOAD = 190
const ROUNDS = 5

const close: Suite = {
  name: 'close',
  title: 'PostgreSQL, where little is between them',
  contenders: ['bare', 'ours', 'prepared', 'prepared-plain', 'fs-pg-simple'],
  cells: [...cells(['untouched'], [50]), ...cells(['read', 'write'], [1])],
  payload: PAYLOAD,
  // Some per cent decide.
  rounds: 15
}

export const suites: readonly Suite[] = [
  {
    name: 'postgres',
    title: 'PostgreSQL',
    contenders: [
      'bare',
      'ours',
      'prepared',
      'prepared-plain',
      'fs-pg-simple',
      'fs-pg-simple-defaults',
      'fs-knex',
      'express-pg-simple',
      'secure-session',
      'django-sync',
      'django'
    ],
    cells: cells(ROUTES, [1, 10, 50, 200]),
    payload: PAYLOAD,
    rounds: ROUNDS
  },
  close,
  {
    name: 'sqlite',
    title: 'SQLite',
    contenders: ['ours-sqlite', 'fs-knex-sqlite', 'fs-knex-sqlite-wal'],
    cells: cells(['read', 'write', 'new', 'logout'], [1, 50]),
    payload: PAYLOAD,
    rounds: ROUNDS
  },
  {
    name: 'delay',
    title: 'PostgreSQL, 1 ms away',
    contenders: ['ours', 'prepared', 'fs-pg-simple', 'fs-knex'],
    cells: cells(['read', 'write'], [50]),
    payload: PAYLOAD,
    rounds: ROUNDS,
    delay: 1
  },
  ...[2000, 20_000].map((payload) => ({
    name: `payload-${payload}`,
    title: `PostgreSQL, sessions of ${payload / 1000} kB`,
    contenders: ['ours', 'prepared', 'fs-pg-simple', 'fs-knex'],
    cells: cells(['read', 'write'], [50]),
    payload,
    rounds: ROUNDS
  })),
  {
    name: 'processes',
    title: 'Processes on one PostgreSQL, nothing pinned to a CPU',
    contenders: ['ours-1', 'ours-2', 'ours-4'],
    cells: cells(['read', 'write'], [50]),
    payload: PAYLOAD,
    rounds: ROUNDS
  }
]

/** What two minutes are enough for. */
export const quickSuites: readonly Suite[] = [
  {
    ...close,
    title: 'PostgreSQL',
    contenders: ['bare', 'ours', 'fs-pg-simple'],
    cells: [...cells(['untouched'], [50]), ...cells(['read', 'write'], [1, 50])],
    rounds: 3
  }
]
