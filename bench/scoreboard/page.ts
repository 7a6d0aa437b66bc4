/** The tables: one for the terminal, and the page of the documentation. */
import { table } from '../report.ts'
import { type Answer, checks } from './checks.ts'
import { REPLY_LIMIT } from './rig.ts'
import type { Column } from './scoreboard.ts'

const sections = [...new Set(checks.map(({ section }) => section))]

const MARKS = new Map([
  [true, '✓ '],
  [false, '✗ '],
  [null, '']
])

const text = (cell: Answer | undefined) => (cell === undefined ? 'n/a' : `${MARKS.get(cell.passed)}${cell.fact}`)

/** A cell of the page, with where its package says that it is meant to be so. */
export function cellOf({ contender, cells }: Column, name: string): string {
  const cell = cells.get(name)
  // One of the names is __proto__.
  const isDocumented = cell?.passed === false && Object.hasOwn(contender.documented, name)
  return isDocumented ? `${text(cell)} ([documented](${contender.documented[name]}))` : text(cell)
}

function score({ cells }: Column): string {
  const judged = [...cells.values()].filter(({ passed }) => passed !== null)
  return `${judged.filter(({ passed }) => passed).length} of ${judged.length}`
}

export function terminalTable(columns: readonly Column[]): string {
  const rows = sections.flatMap((section) => [
    [],
    [section],
    ...checks
      .filter((check) => check.section === section)
      .map(({ name }) => [`  ${name}`, ...columns.map(({ cells }) => text(cells.get(name)))])
  ])
  return table(['', ...columns.map(({ contender }) => contender.name)], [...rows, [], ['holds', ...columns.map(score)]])
}

const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`

function sectionTable(section: string, columns: readonly Column[]): string {
  const head = ['', ...columns.map(({ contender }) => contender.title)]
  const rows = checks
    .filter((check) => check.section === section)
    .map(({ name, title }) => [title, ...columns.map((column) => cellOf(column, name))])
  return [head, head.map(() => '---'), ...rows].map(line).join('\n')
}

export function page(columns: readonly Column[], versions: readonly string[]): string {
  const scores = columns.map((column) => `| ${column.contender.title} | ${score(column)} |`)
  return `# Scoreboard

What sessions do where it gets difficult, asked from outside of this package and of others: by requests, by the rows of the table, and by the statements between the process and PostgreSQL. All answer the same requests over the same PostgreSQL, and each is set up as its manual says. \`npm run scoreboard\` asks, and writes this page; nothing here is written by hand.

| | holds |
|---|---|
${scores.join('\n')}

## How to read it

- ✓ what the row says holds, ✗ it does not; rows without marks are facts. “n/a”: it does not apply. “documented”: the package says that it is meant to be so.
- An uncaught exception or an unhandled rejection ends a process of Node.js, unless the application handles it. Here it is counted, and what it happened in does not hold.
- The order of what happens at the same time is dictated by gates in the handlers and between the process and its database. Only a reply that does not come is a matter of time: ${REPLY_LIMIT / 1000} seconds.
- A browser keeps cookies as browsers do: none of more than 4096 bytes, and no secure one over http.
- “As it comes” has the defaults, “tuned” what the manuals advise: \`rolling: false, saveUninitialized: false\` for @fastify/session, \`resave: false, saveUninitialized: false\` for express-session. Where a check is about renewing, sessions are renewed by each request: \`rolling: true\`, \`touch()\`, \`saveEveryRequest: true\`.
- The stores clean up by timers; here they are told to, once. Nobody has set \`query_timeout\` of pg, whose [default](https://node-postgres.com/apis/client) is none: it would bound the wait for a database that does not answer.
- @fastify/secure-session keeps the data in the cookie. What it cannot do for that reason, our [engine](../docs/engines.md) \`signed_cookies\` cannot do either.

${sections.map((section) => `## ${section}\n\n${sectionTable(section, columns)}`).join('\n\n')}

## Versions

Node.js ${process.versions.node}, ${versions.join(', ')}.
`
}
