/** The command that runs failovers: what it is asked to run and cannot is no success. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'
import { root } from './fixtures/pages.ts'

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
