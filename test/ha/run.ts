/**
 * Failovers on real servers: `.ci/ha` runs all cells, `.ci/run ha` the short ones, and `node --import tsx test/ha/run.ts
 * NAME...` those whose names contain one of the texts. Prints a table, and fails where a cell misses its goals, and
 * where a text is in no name.
 */

import { cells } from './cells.ts'
import type { Verdict } from './history.ts'
import type { Cell, Goals } from './observe.ts'
import { Scope } from './scope.ts'

/** What a cell needs that is not here; null for nothing. */
const missingFor = ({ needs }: Cell) => (needs !== undefined && process.env[needs] === undefined ? needs : null)

/** @throws where there is nothing to run for one of the texts */
function chosen([which = 'short', ...more]: readonly string[]): readonly Cell[] {
  if (which === 'short') return cells.filter(({ isShort }) => isShort)
  const found = which === 'all' ? [...cells] : [which, ...more].flatMap((text) => named(text))
  for (const cell of found.filter(missingFor)) console.error(`Left out, without ${cell.needs}: ${cell.name}`)
  const runnable = found.filter((cell) => missingFor(cell) === null)
  if (runnable.length === 0) throw new Error('Nothing is left to run')
  return [...new Set(runnable)]
}

function named(text: string): readonly Cell[] {
  const found = cells.filter(({ name }) => name.includes(text))
  if (found.length > 0) return found
  throw new Error(`No name contains "${text}". Expected all, short, or parts of these names:\n${cells.map(({ name }) => name).join('\n')}`)
}

function missed(verdict: Verdict, goals: Goals): string[] {
  const reached = ([name, goal]: [string, number]) => ({ name, goal, value: verdict[name as Exclude<keyof Verdict, 'kinds'>] })
  return Object.entries({ ...goals, wrong: 0, down: 0 })
    .map(reached)
    .filter(({ goal, value }) => value > goal)
    .map(({ name, goal, value }) => `${name} ${Math.round(10 * value) / 10}, not ${goal}`)
}

async function run(cell: Cell): Promise<boolean> {
  const scope = new Scope()
  try {
    const verdict = await cell.run(scope)
    const bad = missed(verdict, cell.goals)
    const { answers, errors, kinds, gap, lost, undone, anonymous, stale, behind } = verdict
    const each = Object.entries(kinds).map(([kind, number]) => `${number} ${kind}`)
    const figures = [answers, [errors, ...each].join(', '), gap.toFixed(1), lost, undone, anonymous, stale, behind.toFixed(1)]
    console.log(`| ${[cell.name, ...figures, bad.length > 0 ? `too many: ${bad.join('; ')}` : 'ok'].join(' | ')} |`)
    return bad.length === 0
  } catch (error) {
    console.log(`| ${cell.name} | failed: ${(error as Error).message} |`)
    console.error(error)
    return false
  } finally {
    await scope.end()
  }
}

let toRun: readonly Cell[]
try {
  toRun = chosen(process.argv.slice(2))
} catch (error) {
  console.error((error as Error).message)
  process.exit(2)
}
const heads = ['Set-up and fault', 'Answers', 'Errors', 'Seconds without', 'Lost', 'Undone', 'Anonymous', 'Stale', 'Behind', '']
console.log(`| ${heads.join(' | ')} |\n|${'---|'.repeat(heads.length)}`)
let failed = 0
for (const cell of toRun) if (!(await run(cell))) failed++
process.exit(failed > 0 ? 1 : 0)
