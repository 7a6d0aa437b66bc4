/** What bench/scoreboard.md says of this package is asked again: the rest of the page is for `npm run scoreboard`. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { checks } from '../../bench/scoreboard/checks.ts'
import { ours } from '../../bench/scoreboard/contenders.ts'
import { cellOf } from '../../bench/scoreboard/page.ts'
import { type Column, runChecks } from '../../bench/scoreboard/scoreboard.ts'
import { missing } from '../fixtures/databases.ts'

/** What does not hold as the package comes, on purpose: docs/differences.md has the reason. */
const BY_DESIGN = ['nested change']

t.test('the scoreboard of this package', { skip: missing('postgres') }, async (t) => {
  const [column] = (await runChecks([ours], process.env.POSTGRES_URL as string)) as [Column]
  const page = readFileSync(new URL('../../bench/scoreboard.md', import.meta.url), 'utf8')

  t.test('every check applies, and holds', async (t) => {
    t.ok(checks.length > 30)
    for (const { name, title } of checks) {
      const cell = column.cells.get(name)
      t.not(cell?.passed, BY_DESIGN.includes(name), `${title}: ${cell?.fact}`)
      t.ok(cell !== undefined, name)
    }
  })

  t.test('the page says what was found', async (t) => {
    const rows = page.split('\n').filter((line) => line.startsWith('| '))
    for (const { name, title } of checks) {
      const start = `| ${title} | ${cellOf(column, name)} |`
      t.ok(
        rows.some((row) => row.startsWith(start)),
        `${start}: if this is meant to be so, run npm run scoreboard`
      )
    }
  })
})
