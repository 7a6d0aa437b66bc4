/** `npm run release` in a repository whose scripts leave a mark instead of testing. */
import { execFile } from 'node:child_process'
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'

const script = fileURLToPath(new URL('../../.ci/release', import.meta.url))
// What a developer has set for Git, such as signing, is not asked.
const env = {
  ...process.env,
  NODE_OPTIONS: '',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_CONFIG_COUNT: '2',
  GIT_CONFIG_KEY_0: 'user.name',
  GIT_CONFIG_VALUE_0: 'Ada',
  GIT_CONFIG_KEY_1: 'user.email',
  GIT_CONFIG_VALUE_1: 'ada@example.org'
}

function run(cwd: string, program: string, ...args: string[]): Promise<{ status: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const child = execFile(program, args, { cwd, env }, (_error, stdout, stderr) =>
      resolve({ status: child.exitCode as number, stdout, stderr })
    )
  })
}

async function createRepository(t: Test, changelog: string): Promise<string> {
  const folder = t.testdir()
  const mark = (name: string) => `node -e "fs.appendFileSync('done', '${name} ')"`
  const manifest = {
    name: 'released',
    version: '1.0.0',
    scripts: { test: mark('test'), 'test:project': mark('project'), package: mark('package') }
  }
  writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest))
  writeFileSync(join(folder, 'package-lock.json'), JSON.stringify({ name: 'released', version: '1.0.0', lockfileVersion: 3, packages: {} }))
  writeFileSync(join(folder, 'CHANGELOG.md'), changelog)
  writeFileSync(join(folder, '.gitignore'), 'done\n')
  mkdirSync(join(folder, '.ci'))
  copyFileSync(script, join(folder, '.ci/release'))
  await run(folder, 'git', 'init', '--quiet', '--initial-branch', 'main')
  await run(folder, 'git', 'add', '.')
  await run(folder, 'git', 'commit', '--quiet', '--message', 'all')
  return folder
}

async function refuses(t: Test, folder: string, message: RegExp): Promise<void> {
  const { status, stdout, stderr } = await run(folder, 'bash', '.ci/release')
  t.match({ status, stdout, stderr }, { status: 1, stdout: /^$/, stderr: message })
}

t.test('what is not ready is refused before anything is run', async (t) => {
  await refuses(t, await createRepository(t, '# Changelog\n\n## Unreleased\n'), /first heading of CHANGELOG\.md, got '## Unreleased'/)

  const folder = await createRepository(t, '# Changelog\n\n## 1.1.0\n\n## 1.0.0\n')
  const manifest = readFileSync(join(folder, 'package.json'), 'utf8')
  writeFileSync(join(folder, 'package.json'), manifest.replace('{', `{"homepage":"https://github.com/${'OWNER'}/released",`))
  await run(folder, 'git', 'commit', '--quiet', '--all', '--message', 'placeholder')
  await refuses(t, folder, /address, got the placeholder OWNER/)
  await run(folder, 'git', 'reset', '--quiet', '--hard', 'HEAD~1')
  writeFileSync(join(folder, 'new.js'), '')
  await refuses(t, folder, /no uncommitted changes, got\n\?\? new\.js/)
  await run(folder, 'git', 'clean', '--force')
  await run(folder, 'git', 'tag', 'v1.1.0')
  await refuses(t, folder, /the tag v1\.1\.0 exists/)
  await run(folder, 'git', 'switch', '--quiet', '--create', 'other')
  await refuses(t, folder, /expected the branch main, got 'other'/)
})

t.test('what is ready is tested, and not published', async (t) => {
  const folder = await createRepository(t, '# Changelog\n\n## 1.1.0\n\n## 1.0.0\n')
  const { status, stdout } = await run(folder, 'bash', '.ci/release')
  t.equal(status, 0)
  t.match(stdout, /1\.1\.0 is ready.+\n {2}npm version 1\.1\.0/)
  t.equal(readFileSync(join(folder, 'done'), 'utf8'), 'test project package ')
  t.equal((await run(folder, 'git', 'tag')).stdout, '')
  t.match(readFileSync(join(folder, 'package.json'), 'utf8'), '"version":"1.0.0"')
})
