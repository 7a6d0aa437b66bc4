/**
 * `npm run bench:instructions`: instructions per request, which neither other processes nor
 * the speed of the machine change: of the server's main thread in user space, garbage
 * collection included. V8 compiles in other threads, at times that differ from run to run:
 * what those cost is printed apart.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { hasCallgrind } from './callgrind.ts'
import { type Cold, coldReport, countCold } from './cold.ts'
import { commandLine, count as countOption, flag, folder as folderOption, names, refuse } from './command-line.ts'
import { compileContenders } from './compiled.ts'
import { type Contender, contenders } from './contenders.ts'
import { makeSessions, NODE_OPTIONS, SESSIONS } from './counted.ts'
import { type Postgres, startPostgres } from './postgres.ts'
import { decimal, table } from './report.ts'
import { median } from './statistics.ts'
import type { Cell, Route } from './suites.ts'
import { COUNTED, countWarm, REQUESTS } from './warm.ts'

const ROUTES: readonly Route[] = ['read', 'write', 'new', 'logout', 'untouched']
const CONNECTIONS = [1, 50]

interface Group {
  name: string
  title: string
  ours: string
  /** What the goals compare with. */
  limit: string
  others: readonly string[]
}

const groups: readonly Group[] = [
  { name: 'postgres', title: 'PostgreSQL', ours: 'ours', limit: 'batched', others: ['prepared', 'fs-pg-simple', 'bare'] },
  { name: 'sqlite', title: 'SQLite', ours: 'ours-sqlite', limit: 'batched-sqlite', others: ['fs-knex-sqlite-wal', 'bare'] }
]

const contendersOf = ({ ours, limit, others }: Group) => [ours, limit, ...others]

/** Thousands of instructions of one request: a figure for each count, none where a contender does not do what is measured. */
type Figures = readonly number[]
const thousands = (instructions: number) => instructions / COUNTED / 1000

const program = {
  command: 'npm run bench:instructions --',
  about: 'Counts the instructions of a request, with valgrind.',
  settings: {
    database: names(
      groups.map(({ name }) => name),
      'Databases'
    ),
    only: names([...new Set(groups.flatMap(contendersOf))], 'Contenders'),
    route: names(ROUTES, 'Routes'),
    connections: names(CONNECTIONS.map(String), 'Requests at a time'),
    repeat: countOption(1, 1, 'Processes that measure each figure'),
    cold: flag('Processes that have just started instead: until they listen, until their first reply, and over the first 1500 reads'),
    dist: folderOption('Another build of this package (default: dist)')
  }
}
const values = commandLine(program)
if (values.cold && (values.route.size < ROUTES.length || values.connections.size < CONNECTIONS.length)) {
  refuse(program, '--cold: expected no --route and no --connections, since it measures one read at a time')
}
const all = ROUTES.flatMap((route) => CONNECTIONS.map((connections): Cell => ({ route, connections })))
const cells = all.filter(({ route, connections }) =>
  values.cold ? route === 'read' && connections === 1 : values.route.has(route) && values.connections.has(String(connections))
)
/** Without sessions there is nothing else to measure. */
const does = (name: string, { route }: Cell) => name !== 'bare' || route === 'untouched'
const chosen = groups
  .map((group) => ({
    group,
    names: contendersOf(group).filter((name) => values.only.has(name) && cells.some((cell) => does(name, cell)))
  }))
  .filter(({ group, names }) => values.database.has(group.name) && names.length > 0)
if (chosen.length === 0) refuse(program, `expected a contender that does what is to be measured, got ${process.argv.slice(2).join(' ')}`)
if (!hasCallgrind) {
  console.error(
    'Instructions are counted by valgrind, which does not run here. To install it on Debian and Ubuntu: apt-get install valgrind'
  )
  process.exit(1)
}

const folder = await mkdtemp(join(tmpdir(), 'bench-instructions-'))
let postgres: Postgres | undefined
try {
  const compile = await compileContenders(folder, resolve(values.dist ?? join(import.meta.dirname, '../dist')))
  postgres = await startPostgres()
  for (const { group, names } of chosen) {
    const entrants = names.map((name) => contenders.get(name) as Contender)
    console.log(
      `\n${values.cold ? await measureCold(group, entrants, postgres, compile) : await measureWarm(group, entrants, postgres, compile)}`
    )
  }
} finally {
  await postgres?.stop()
  await rm(folder, { recursive: true })
}

type Compile = Awaited<ReturnType<typeof compileContenders>>

async function createDatabase({ name, database }: Contender, postgres: Postgres): Promise<string> {
  return database === 'postgres' ? await postgres.createDatabase(name) : join(folder, `${name}.sqlite3`)
}

async function measureWarm(group: Group, entrants: readonly Contender[], postgres: Postgres, compile: Compile): Promise<string> {
  const results = new Map<string, Figures[]>()
  for (const contender of entrants) results.set(contender.name, await measure(contender, postgres, compile))
  return report(group, results)
}

async function measureCold({ title }: Group, entrants: readonly Contender[], postgres: Postgres, compile: Compile): Promise<string> {
  const results = new Map<string, Cold[]>()
  for (const contender of entrants) {
    const database = await createDatabase(contender, postgres)
    const cookies = await makeSessions(compile(contender), database, SESSIONS)
    const counts: Cold[] = []
    while (counts.length < values.repeat) counts.push(await countCold(compile(contender, ...NODE_OPTIONS), folder, database, cookies))
    results.set(contender.title, counts)
  }
  return coldReport(title, results)
}

async function measure(contender: Contender, postgres: Postgres, compile: Compile): Promise<Figures[]> {
  const { name } = contender
  const database = await createDatabase(contender, postgres)
  const make = (sessions: number) => makeSessions(compile(contender), database, sessions)
  const sessions = await make(SESSIONS)
  const results: Figures[] = []
  for (const cell of cells) {
    const figures: number[] = []
    const processes = does(name, cell) ? values.repeat : 0
    for (let process = 0; process < processes; process++) {
      const cookies = cell.route === 'logout' ? await make(REQUESTS) : sessions
      const counts = await countWarm(compile(contender, ...NODE_OPTIONS), folder, database, cell, cookies)
      figures.push(...counts.map(({ main }) => thousands(main)))
      const [main, others] = [counts.map(({ main }) => main), counts.map(({ otherThreads }) => otherThreads)].map((instructions) =>
        instructions.map((number) => decimal(thousands(number), 0)).join(', ')
      )
      console.error(`${name} /${cell.route}, ${cell.connections} at a time: ${main} thousand; other threads ${others}`)
    }
    results.push(figures)
  }
  return results
}

function report({ title, ours, limit }: Group, results: ReadonlyMap<string, Figures[]>): string {
  const rows = [...results].map(([name, figures]) => [contenders.get(name)?.title ?? name, ...figures.map(figureText)])
  const [own, least] = [results.get(ours), results.get(limit)]
  const ratios = own?.map((figures, index) => decimal(median(figures) / median(least?.[index] ?? []), 2)) ?? []
  const header = [`${title}, thousands of instructions`, ...cells.map(({ route, connections }) => `${route}, ${connections}`)]
  return table(header, least === undefined ? rows : [...rows, ['ours / by hand, batched', ...ratios]])
}

/** The median and the spread. */
function figureText(figures: Figures): string {
  if (figures.length === 0) return ''
  const [middle, least, most] = [median(figures), Math.min(...figures), Math.max(...figures)].map((figure) => decimal(figure, 0))
  return `${middle} (${least}-${most})`
}
