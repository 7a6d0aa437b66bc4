/**
 * `npm run bench:instructions`: instructions per request, which neither other processes nor
 * the speed of the machine change: of the server's main thread in user space, garbage
 * collection included. V8 compiles in other threads, at times that differ from run to run:
 * what those cost is printed apart.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { countedInstructions, hasCallgrind, type Instructions, startCounting, underCallgrind, untilQuiet } from './callgrind.ts'
import { openClosedLoop } from './closed-loop.ts'
import { commandLine, count as countOption, folder as folderOption, names, refuse } from './command-line.ts'
import { compileContenders } from './compiled.ts'
import { type Contender, contenders } from './contenders.ts'
import { type Postgres, startPostgres } from './postgres.ts'
import { decimal, table } from './report.ts'
import { checkBehaviour, createSessions, startServer } from './server.ts'
import { median } from './statistics.ts'
import type { Cell, Route } from './suites.ts'

const WARM_UP = 9000
/** Counting slows the server down, so that more requests meet in a batch: code is compiled for that too before the figures begin. */
const SETTLE = 1000
const COUNTED = 1000
/** As often are so many requests counted: code that is optimised anew, or a collection of the whole heap, falls into one of the counts. */
const COUNTS = 3
const REQUESTS = WARM_UP + SETTLE + COUNTS * COUNTED
/** A server that is slowed down looks idle to V8, which would then shrink its heap and collect more often than under load. */
const NODE_OPTIONS = ['--single-threaded-gc', '--no-memory-reducer', '--min-semi-space-size=16']
/** So many that no session is in two requests at once. */
const SESSIONS = 1000
/** Bytes of a session's JSON. */
const PAYLOAD = 190
const ROUTES: readonly Route[] = ['read', 'write', 'new', 'logout', 'untouched']
const CONNECTIONS = [1, 50]

interface Group {
  name: string
  title: string
  ours: string
  /** The least that a server can spend. */
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
  command: 'npm run bench:instructions -- [options]',
  about: 'Counts the instructions of a request, with valgrind.',
  options: {
    database: names(
      groups.map(({ name }) => name),
      'Databases'
    ),
    only: names([...new Set(groups.flatMap(contendersOf))], 'Contenders'),
    route: names(ROUTES, 'Routes'),
    connections: names(CONNECTIONS.map(String), 'Requests at a time'),
    repeat: countOption(1, 1, 'Processes that measure each figure'),
    dist: folderOption('Another build of this package (default: dist)')
  }
}
const values = commandLine(program)
const cells = ROUTES.flatMap((route) => CONNECTIONS.map((connections): Cell => ({ route, connections }))).filter(
  ({ route, connections }) => values.route.has(route) && values.connections.has(String(connections))
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
    const results = new Map<string, Figures[]>()
    for (const name of names) {
      results.set(name, await measure(contenders.get(name) as Contender, postgres, compile))
    }
    console.log(`\n${report(group, results)}`)
  }
} finally {
  await postgres?.stop()
  await rm(folder, { recursive: true })
}

type Compile = Awaited<ReturnType<typeof compileContenders>>

async function measure(contender: Contender, postgres: Postgres, compile: Compile): Promise<Figures[]> {
  const { name } = contender
  const database = contender.database === 'postgres' ? await postgres.createDatabase(name) : join(folder, `${name}.sqlite3`)
  const make = (sessions: number) => makeSessions(compile(contender), database, sessions)
  const sessions = await make(SESSIONS)
  const results: Figures[] = []
  for (const cell of cells) {
    const figures: number[] = []
    const processes = does(name, cell) ? values.repeat : 0
    for (let process = 0; process < processes; process++) {
      const cookies = cell.route === 'logout' ? await make(REQUESTS) : sessions
      const counts = await count(compile(contender, ...NODE_OPTIONS), database, cell, cookies)
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

/** Makes sessions with a server that is not measured, and returns their cookies. */
async function makeSessions(contender: Contender, database: string, count: number): Promise<string[]> {
  const server = await startServer(contender, { database, payload: PAYLOAD })
  try {
    await checkBehaviour(server)
    return await createSessions(server, count)
  } finally {
    await server.stop()
  }
}

async function count(
  contender: Contender,
  database: string,
  { route, connections }: Cell,
  sessions: readonly string[]
): Promise<Instructions[]> {
  // Its speed does not matter, so it may use any processor and much time.
  const command = underCallgrind(folder, contender.command)
  const counted: Contender = { ...contender, command, spread: true, env: { STORE_TIMEOUT: '60' } }
  const server = await startServer(counted, { database, payload: PAYLOAD })
  const loop = await openClosedLoop(`${server.origin}/${route}`, connections)
  let sent = 0
  const send = (requests: number) =>
    loop.send(Array.from({ length: requests }, () => (route === 'new' ? null : (sessions[sent++ % sessions.length] as string))))
  try {
    await send(WARM_UP)
    await untilQuiet(server.pid)
    await startCounting(server.pid)
    await send(SETTLE)
    await untilQuiet(server.pid)
    const counts: Instructions[] = []
    while (counts.length < COUNTS) {
      await startCounting(server.pid)
      await send(COUNTED)
      await untilQuiet(server.pid)
      counts.push(await countedInstructions(server.pid))
    }
    return counts
  } finally {
    loop.close()
    await server.stop()
  }
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
