/** The command lines of the benchmarks: what is wrong with them is said before anything is measured. */
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import t, { type Test } from 'tap'
import { root } from './fixtures/pages.ts'

t.setTimeout(120_000)

/** The environment of a machine where valgrind does not run and MariaDB is not set up. */
function bareEnvironment(t: Test): NodeJS.ProcessEnv {
  const folder = t.testdir()
  writeFileSync(join(folder, 'callgrind_control'), '#!/bin/sh\nexit 1\n', { mode: 0o755 })
  return { ...process.env, NODE_OPTIONS: '', MARIADB_URL: undefined, PATH: `${folder}${delimiter}${process.env.PATH}` }
}

function run(env: NodeJS.ProcessEnv, program: string, ...args: string[]) {
  const file = join(root, 'bench', `${program}.ts`)
  return spawnSync(process.execPath, ['--import', 'tsx', file, ...args], { cwd: root, encoding: 'utf8', env })
}

const WRONG: [program: string, args: string[], problem: string][] = [
  ['instructions', ['--bogus'], "unknown option '--bogus'"],
  ['instructions', ['all'], 'too many arguments. Expected 0 arguments but got 1.'],
  [
    'instructions',
    ['--route', 'read,nosuch'],
    "option '--route <value>' argument 'read,nosuch' is invalid. Expected one of read, write, new, logout, untouched."
  ],
  ['instructions', ['--connections', '1,7'], "option '--connections <value>' argument '1,7' is invalid. Expected one of 1, 50."],
  ['instructions', ['--repeat', '0'], "option '--repeat <value>' argument '0' is invalid. Expected a whole number from 1."],
  ['instructions', ['--repeat=abc'], "option '--repeat <value>' argument 'abc' is invalid. Expected a whole number from 1."],
  ['instructions', ['--repeat'], "option '--repeat <value>' argument missing"],
  [
    'instructions',
    ['--only', 'bare', '--route', 'read'],
    'expected a contender that does what is to be measured, got --only bare --route read'
  ],
  ['instructions', ['--cold', '--route', 'read'], '--cold: expected no --route and no --connections, since it measures one read at a time'],
  ['run', ['--quick=yes'], "unknown option '--quick=yes'"],
  ['run', ['--quick', '--suite', 'sqlite'], 'expected options that some suite fits, got --quick --suite sqlite'],
  [
    'profile',
    ['lunch'],
    "command-argument value 'lunch' is invalid for argument 'route'. Expected one of untouched, read, write, new, logout."
  ],
  ['cleanup', ['--only', 'mariadb'], '--only: expected MARIADB_URL to be set, since mariadb is all that is wanted'],
  ['soak', ['--requests', '1e6'], "option '--requests <value>' argument '1e6' is invalid. Expected a whole number from 1."],
  ['codec', ['--rounds', '3'], "unknown option '--rounds'"]
]

for (const [program, args, problem] of WRONG) {
  t.test(`bench/${program}.ts ${args.join(' ')}`, async (t) => {
    const { status, stdout, stderr } = run(bareEnvironment(t), program, ...args)
    t.strictSame({ status, stdout, problem: stderr.split('\n')[0] }, { status: 2, stdout: '', problem: `error: ${problem}` })
    t.match(stderr, `\n\nUsage: npm run bench`)
  })
}

t.test('the scoreboard knows its contenders', async (t) => {
  const { status, stderr } = run(bareEnvironment(t), 'scoreboard/run', 'ours,theirs')
  t.equal(status, 2)
  t.match(stderr, /^error: .*'ours,theirs' is invalid for argument 'contenders'. Expected one of ours, .*\n\nUsage: npm run scoreboard/)
})

t.test('--help prints the usage', async (t) => {
  for (const option of ['--help', '-h']) {
    const { status, stdout, stderr } = run(bareEnvironment(t), 'instructions', option)
    t.strictSame({ status, stderr }, { status: 0, stderr: '' })
    t.match(stdout, /^Usage: npm run bench:instructions -- \[options\]\n(.*\n)* {2}--repeat <value> .*\n(.*\n)*$/)
  }
})

t.test('good options reach what they are for', async (t) => {
  const { status, stderr } = run(bareEnvironment(t), 'instructions', '--route', 'read,write', '--only', 'ours', '--repeat', '3')
  t.equal(status, 1)
  t.match(stderr, /^Instructions are counted by valgrind, which does not run here/)
})
