/** The tables in the terminal. */
import type { GoalResult } from './goals.ts'
import { type CellResult, type ContenderResult, type Figure, medianOf, oursOf, pairedRatio, type Ratio } from './statistics.ts'
import type { Suite } from './suites.ts'

/** Right-aligned, but for the first column. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((_title, column) => Math.max(...[header, ...rows].map((row) => row[column]?.length ?? 0)))
  const line = (row: readonly string[]) =>
    row.map((text, column) => (column === 0 ? text.padEnd(widths[column] ?? 0) : text.padStart(widths[column] ?? 0))).join('  ')
  return [line(header), widths.map((width) => '-'.repeat(width)).join('  '), ...rows.map(line)].map((text) => text.trimEnd()).join('\n')
}

export const decimal = (value: number, digits: number) => (Number.isFinite(value) ? value.toFixed(digits) : '-')
const ratioText = ({ median, min, max }: Ratio) => `${decimal(median, 2)} [${decimal(min, 2)}-${decimal(max, 2)}]`

const HEADER = ['', 'req/s', 'p50 ms', 'p90', 'p99', 'server us', 'db us', 'statements', 'failed', 'ours / it [min-max]']

export function resultTable(suites: readonly Suite[], cells: readonly CellResult[]): string {
  const rows = cells.flatMap((cell, index) => {
    const suite = suites.find(({ name }) => name === cell.suite)
    const isFirst = cells[index - 1]?.suite !== cell.suite
    const ours = oursOf(cell)
    return [
      ...(isFirst ? [[], [`${suite?.title}`]] : []),
      [],
      [`/${cell.route}, ${cell.connections} at a time`],
      ...cell.results.map((result) => resultRow(result, ours))
    ]
  })
  return table(HEADER, rows)
}

function resultRow(result: ContenderResult, ours: ContenderResult | undefined): string[] {
  const figure = (name: Figure, digits: number) => decimal(medianOf(result, name), digits)
  const failed = result.rounds.reduce((sum, { errors }) => sum + errors, 0)
  return [
    `  ${result.title}`,
    figure('requestsPerSecond', 0),
    figure('p50', 2),
    figure('p90', 2),
    figure('p99', 2),
    figure('serverCpu', 0),
    figure('databaseCpu', 0),
    decimal(result.statementsPerRequest ?? Number.NaN, 2),
    failed === 0 ? '' : String(failed),
    ours === undefined || result.contender.startsWith('ours') ? '' : ratioText(pairedRatio(ours, result, 'requestsPerSecond'))
  ]
}

const FIGURES: Partial<Record<Figure, string>> = {
  requestsPerSecond: 'requests/s',
  serverCpu: 'server CPU',
  databaseCpu: 'database CPU'
}

export function goalTable(goals: readonly GoalResult[]): string {
  const rows = goals.map(({ suite, route, connections, figure, against, target, ratio, reached }) => [
    `${suite} /${route} ${connections} at a time, ${FIGURES[figure]} against ${against}`,
    `${figure === 'requestsPerSecond' ? '>=' : '<='} ${target}`,
    ratioText(ratio),
    reached ? 'reached' : 'MISSED'
  ])
  return table(['goal', 'target', 'measured', ''], rows)
}
