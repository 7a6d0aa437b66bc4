/**
 * `npm run bench`: measures this package and its peers side by side on this machine,
 * prints a table, compares with the goals, and writes results.json and chart.svg.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import { chart } from './chart.ts'
import { commandLine, count, flag, folder, names, refuse } from './command-line.ts'
import { contenders } from './contenders.ts'
import { compareWithGoals } from './goals.ts'
import { generator } from './load.ts'
import { measureSuite } from './measure.ts'
import { startPostgres } from './postgres.ts'
import { pin, pinning } from './processes.ts'
import { goalTable, resultTable } from './report.ts'
import type { CellResult } from './statistics.ts'
import { quickSuites, ROUTES, type Suite, suites } from './suites.ts'

const CONNECTIONS = ['1', '10', '50', '200']
const program = {
  command: 'npm run bench --',
  about: 'Measures this package and its peers side by side, and compares with the goals.',
  settings: {
    quick: flag('What two minutes are enough for, instead of an hour'),
    suite: names(
      suites.map(({ name }) => name),
      'Suites'
    ),
    only: names([...contenders.keys()], 'Contenders'),
    route: names(ROUTES, 'Routes'),
    connections: names(CONNECTIONS, 'Requests at a time'),
    rounds: count(1, undefined, 'Rounds, instead of what the suite has'),
    seconds: count(1, 1, 'Of each contender in each round'),
    out: folder('Where results.json and chart.svg are written (default: bench, or bench/partial if they are a part)')
  }
}
const values = commandLine(program)
const { quick } = values

const chosen: Suite[] = (quick ? quickSuites : suites)
  .filter(({ name }) => values.suite.has(name))
  .map((suite) => ({
    ...suite,
    rounds: values.rounds ?? suite.rounds,
    contenders: suite.contenders.filter((name) => values.only.has(name)),
    cells: suite.cells.filter(({ route, connections }) => values.route.has(route) && values.connections.has(String(connections)))
  }))
  .filter(({ contenders, cells }) => contenders.length > 0 && cells.length > 0)
if (chosen.length === 0) refuse(program, `expected options that some suite fits, got ${process.argv.slice(2).join(' ')}`)
const rounds = Math.min(...chosen.map((suite) => suite.rounds))

function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`)
}

// What this process itself does must not slow the server down.
pin('load', process.pid)
const [busy = 0] = loadavg()
if (busy > 0.5) console.error(`Others keep ${busy.toFixed(1)} processors busy: the figures will be wide of the mark, the ratios less so.`)
const postgres = await startPostgres()
const machine = {
  processor: `${cpus().length} x ${cpus()[0]?.model}`,
  node: process.version,
  postgres: postgres.version,
  generator,
  pinning,
  loadBefore: busy
}
// A part of the figures must not take the place of all.
const partial = join(import.meta.dirname, 'partial')
const isWhole =
  !quick &&
  values.suite.size === suites.length &&
  values.only.size === contenders.size &&
  values.route.size === ROUTES.length &&
  values.connections.size === CONNECTIONS.length
const out = values.out ?? (isWhole ? import.meta.dirname : partial)

const cells: CellResult[] = []
try {
  for (const suite of chosen) {
    try {
      cells.push(...(await measureSuite(suite, { postgres, seconds: values.seconds, progress })))
    } catch (error) {
      console.error(`\n${suite.title} was not measured:`, error)
      process.exitCode = 1
    }
    // What took long to measure is not lost with what comes after it.
    await write(partial)
  }
} finally {
  progress('')
  await postgres.stop()
}

console.log(
  `${machine.processor}, Node.js ${machine.node}, PostgreSQL ${machine.postgres} (fsync on), load by ${generator}, ${pinning}; medians of ${rounds} rounds or more\n`
)
console.log(resultTable(chosen, cells))
const goals = compareWithGoals(cells)
if (goals.length > 0) console.log(`\n${goalTable(goals)}`)
if (rounds < 5) console.log('\nToo few rounds to decide on goals: differences of a tenth are noise.')
if (out !== partial) await write(out)
console.log(`\nWritten in ${out}`)

/** The figures so far, and their chart where it has something to show. */
async function write(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true })
  const results = { date: new Date(), machine, rounds, cells, goals: compareWithGoals(cells) }
  await writeFile(join(folder, 'results.json'), `${JSON.stringify(results, null, 1)}\n`)
  const svg = chart(cells)
  if (svg !== null) await writeFile(join(folder, 'chart.svg'), svg)
}
