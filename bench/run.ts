/**
 * `npm run bench`: measures this package and its peers side by side on this machine,
 * prints a table, compares with the goals, and writes results.json and chart.svg.
 *
 * `--quick` takes two minutes. To look at a part: `--suite sqlite,delay`, `--only ours,prepared`,
 * `--route read`, `--connections 1,50`, `--rounds 9`, `--seconds 2`, `--out folder`.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { chart } from './chart.ts'
import { compareWithGoals } from './goals.ts'
import { generator } from './load.ts'
import { measureSuite } from './measure.ts'
import { startPostgres } from './postgres.ts'
import { pin, pinning } from './processes.ts'
import { goalTable, resultTable } from './report.ts'
import type { CellResult } from './statistics.ts'
import { isWanted, quickSuites, type Suite, suites } from './suites.ts'

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    suite: { type: 'string' },
    only: { type: 'string' },
    route: { type: 'string' },
    connections: { type: 'string' },
    rounds: { type: 'string' },
    seconds: { type: 'string', default: '1' },
    out: { type: 'string' }
  }
})
const { quick } = values

const known = quick ? quickSuites : suites
const chosen: Suite[] = known
  .filter(({ name }) => isWanted(values.suite, name))
  .map((suite) => ({
    ...suite,
    rounds: Number(values.rounds ?? suite.rounds),
    contenders: suite.contenders.filter((name) => isWanted(values.only, name)),
    cells: suite.cells.filter(
      ({ route, connections }) => isWanted(values.route, route) && isWanted(values.connections, String(connections))
    )
  }))
if (chosen.length === 0) throw new Error(`Expected suites of ${known.map(({ name }) => name).join(', ')}, got ${values.suite}`)
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
const isWhole = !quick && [values.suite, values.only, values.route, values.connections].every((value) => value === undefined)
const out = values.out ?? (isWhole ? import.meta.dirname : partial)

const cells: CellResult[] = []
try {
  for (const suite of chosen) {
    try {
      cells.push(...(await measureSuite(suite, { postgres, seconds: Number(values.seconds), progress })))
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
