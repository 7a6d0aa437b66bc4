/** The command that runs failovers: what it is asked to run and cannot is no success. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { root } from './fixtures/pages.ts'
import { cells } from './ha/cells.ts'
import { parts } from './ha/parts.ts'

function run(...names: string[]) {
  const { MYSQL_URL, ...env } = process.env
  return spawnSync(process.execPath, ['--import', 'tsx', join(root, 'test/ha/run.ts'), ...names], { cwd: root, env, encoding: 'utf8' })
}

t.test('a name that no failover has', async (t) => {
  const { status, stdout, stderr } = run('Galerra')
  t.equal(status, 2)
  t.equal(stdout, '')
  t.match(stderr, /No name contains "Galerra"[\s\S]*\nGalera: an application on each of two nodes/)
})

t.test('a name that no failover has, beside one that some have', async (t) => {
  t.match(run('MySQL', 'Galerra'), { status: 2, stderr: /No name contains "Galerra"/ })
})

t.test('failovers of a server that is not there', async (t) => {
  t.match(run('MySQL: read_only'), {
    status: 2,
    stderr: /Left out, without MYSQL_URL: MySQL: read_only for 3 s[\s\S]*Nothing is left to run/
  })
})

t.test('each part that is taken out is there, and so is the failover that has to notice', async (t) => {
  for (const { cell, file, text } of parts) {
    t.equal(readFileSync(join(root, file), 'utf8').split(text).length, 2, `${text} in ${file}`)
    t.ok(
      cells.some(({ name }) => name === cell),
      cell
    )
  }
})
