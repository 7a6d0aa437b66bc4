/**
 * Failovers on real servers: `.ci/ha` runs all cells, `.ci/run ha` the short ones, and `node --import tsx test/ha/run.ts
 * NAME...` those whose names contain one of the texts. Prints a table, and fails where a cell misses its goals.
 */

import type { Verdict } from './history.ts'
import { mysqlCells } from './mysql-cells.ts'
import type { Cell, Goals } from './observe.ts'
import { postgresCells } from './postgres-cells.ts'
import { redisCells } from './redis-cells.ts'
import { Scope } from './scope.ts'

const cells: readonly Cell[] = [...postgresCells, ...mysqlCells, ...redisCells]

const [which = 'short', ...more] = process.argv.slice(2)

const isChosen = ({ name, isShort }: Cell) =>
  which === 'all' || (which === 'short' ? isShort : [which, ...more].some((text) => name.includes(text)))

function missed(verdict: Verdict, goals: Goals): string[] {
  return Object.entries(goals)
    .filter(([name, goal]) => verdict[name as keyof Goals] > goal)
    .map(([name]) => name)
}

let failed = 0
console.log(
  '| Set-up and fault | Answers | Errors | Seconds without | Lost | Undone | Anonymous | Stale | |\n|---|---|---|---|---|---|---|---|---|'
)
for (const cell of cells.filter(isChosen)) {
  const scope = new Scope()
  try {
    const verdict = await cell.run(scope)
    const bad = missed(verdict, cell.goals)
    if (bad.length > 0) failed++
    const { answers, errors, gap, lost, undone, anonymous, stale } = verdict
    const columns = [
      cell.name,
      answers,
      errors,
      gap.toFixed(1),
      lost,
      undone,
      anonymous,
      stale,
      bad.length > 0 ? `too many: ${bad.join(', ')}` : 'ok'
    ]
    console.log(`| ${columns.join(' | ')} |`)
  } catch (error) {
    failed++
    console.log(`| ${cell.name} | failed |`)
    console.error(error)
  } finally {
    await scope.end()
  }
}
process.exit(failed > 0 ? 1 : 0)
