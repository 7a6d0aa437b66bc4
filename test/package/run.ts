/**
 * The package as people get it: packed, then installed into fresh projects. Not part of
 * `npm test`, since it needs a registry: `npm run package`.
 */
import { execFile } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { checkPackage, createPackageFromTarballData, type Problem } from '@arethetypeswrong/core'
import { build, type Format } from 'esbuild'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'
import t, { type Test } from 'tap'
import { fileBlock } from '../fixtures/pages.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

// Packages are fetched and installed.
t.setTimeout(600_000)

/** What a project of its own needs beside the package, in the versions that the tests run with. */
const NEEDED = ['fastify', 'knex', 'better-sqlite3', '@types/node']

/** What Node.js is typed by for those who start a project today. */
const NEWEST_NODE_TYPES = { '@types/node': '26' }

/** Plugins that type `request.session` as well, and whose types they import without asking for them. */
const PLUGINS = ['@fastify/flash', '@fastify/passport', '@fastify/secure-session', '@types/passport']

/** Former compilers that have `nodenext` and can require ES modules. */
const FORMER_TYPESCRIPT = ['5.9.3', '6.0.3']

/** The last compiler that has `node10` without a warning. */
const NODE10_TYPESCRIPT = '5.9.3'

/** NestJS on its adapter for Fastify, which brings Fastify itself. */
const NEST = { '@nestjs/common': '12', '@nestjs/core': '12', '@nestjs/platform-fastify': '12', 'reflect-metadata': '0.2', rxjs: '7' }

/** Each project is installed once: with one flat folder, and with a folder for each package that holds only what it names. */
const INSTALL = {
  npm: ['npm', 'install', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund'],
  pnpm: ['npx', '--yes', 'pnpm@12', 'install', '--ignore-scripts', '--prefer-offline', '--config.hoist=false']
}

/** Drivers that Knex asks for, and that nobody has installed. */
const DRIVERS = ['mariadb', 'mysql', 'mysql2', 'oracledb', 'pg', 'pg-query-stream', 'sqlite3', 'tedious'].flatMap((name) => [
  name,
  `${name}/*`
])

/** What comes along with the package, the dependencies of its dependencies included. */
const DEPENDENCIES = [
  '@fastify/cookie',
  '@fastify/error',
  'ansi-regex',
  'cli-progress',
  'cookie',
  'croner',
  'emoji-regex',
  'fastify-plugin',
  'is-fullwidth-code-point',
  'string-width',
  'strip-ansi'
]

/** Everything that may be published. */
const PUBLISHED = [
  /^(package\.json|README\.md|LICENSE|CHANGELOG\.md)$/,
  /^dist\/([a-z-]+\/)*[a-z-]+\.(js|d\.ts)$/,
  /^docs\/(README|[a-z-]+)\.md$/,
  /^migrations\/([a-z-]+\/)?(\d{14}_)?[\w-]+\.js$/
]

// Outside the repository, whose node_modules would be found.
const folder = mkdtempSync(join(tmpdir(), 'sessions-package-'))
t.teardown(() => rmSync(folder, { recursive: true }))
await run(folder, 'npm', 'pack', root, '--silent')
const tarball = join(folder, readdirSync(folder)[0] as string)
const contents = createPackageFromTarballData(readFileSync(tarball))
const base = `/node_modules/${manifest.name}/`
const files = contents.listFiles(base).map((path) => path.slice(base.length))

t.test('the package holds what belongs into it, and nothing else', async (t) => {
  const stray = files.filter((file) => !PUBLISHED.some((pattern) => pattern.test(file)))
  t.strictSame(stray, [], 'nothing else')

  const modules = readdirSync(join(root, 'lib'), { recursive: true, encoding: 'utf8' }).filter((file) => /(?<!\.d)\.ts$/.test(file))
  const expected = [
    ...modules.flatMap((file) => ['.js', '.d.ts'].map((end) => `dist/${file.replace(/\.ts$/, end)}`)),
    ...['docs', 'migrations'].flatMap((name) =>
      readdirSync(join(root, name), { recursive: true, encoding: 'utf8' }).map((file) => `${name}/${file}`)
    )
  ].filter((file) => PUBLISHED.some((pattern) => pattern.test(file)))
  const missing = expected.filter((file) => !files.includes(file))
  t.strictSame(missing, [], 'nothing is missing')

  const unpacked = files.reduce((sum, file) => sum + Buffer.byteLength(contents.readFile(base + file)), 0)
  t.comment(`${files.length} files, ${kilobytes(statSync(tarball).size)} packed, ${kilobytes(unpacked)} unpacked`)
})

t.test('publint and "Are the types wrong?" have nothing to say', async (t) => {
  const { messages, pkg } = await publint({ pack: { tarball: new Uint8Array(readFileSync(tarball)).buffer }, strict: true })
  const advice = messages.map((message) => formatMessage(message, pkg))
  t.strictSame(advice, [])
  const analysis = await checkPackage(contents)
  t.ok(analysis.types, 'has types')
  const problems = analysis.types === false ? [] : analysis.problems
  t.strictSame(problems.filter(isProblem), [])
})

t.test('each entry finds its imports among the dependencies and Fastify and Knex', async (t) => {
  const project = createProject('alone', {})
  await run(project, ...INSTALL.npm)
  const entries = Object.keys(manifest.exports).filter((entry) => !entry.endsWith('.json'))
  const names = entries.map((entry) => manifest.name + entry.slice(1))
  await run(project, 'node', '--input-type=module', '--eval', names.map((name) => `await import('${name}')`).join('\n'))

  const { packages } = JSON.parse(readFileSync(join(project, 'node_modules/.package-lock.json'), 'utf8'))
  const isOwn = (path: string) => packages[path].peer !== true && path !== `node_modules/${manifest.name}`
  const dependencies = Object.keys(packages).filter(isOwn)
  t.strictSame(
    dependencies.map((path) => path.replace('node_modules/', '')),
    DEPENDENCIES
  )
  t.comment(`${dependencies.length} dependencies`)
})

for (const [manager, install] of Object.entries(INSTALL)) {
  t.test(`in a project that ${manager} installs`, async (t) => {
    const project = createProject(manager, versionsOf([...NEEDED, ...PLUGINS]))
    await run(project, ...install)
    addCompiledSqlite(project)

    await t.test('ES modules', () => run(project, 'node', 'esm.mjs'))
    await t.test('CommonJS', () => run(project, 'node', 'commonjs.cjs'))
    await t.test('the command', async (t) => {
      const command = join(project, 'node_modules/.bin', manifest.name)
      t.match(await run(project, command, 'migrate', '--database-url', 'sqlite:site.sqlite3'), /^Created the table/)
      t.match(await run(project, command, '--version'), manifest.version)
    })
    await t.test("Knex's own command", async (t) => {
      const command = join(project, 'node_modules/.bin/knex')
      t.match(await run(project, command, 'migrate:latest', '--knexfile', 'knexfile.mjs'), /1 migrations/)
    })
    await t.test('types', async () => {
      writeTypes(project)
      await checkTypes(project, join(root, 'node_modules/typescript'), ['main.nodenext', 'main.bundler'])
    })
    // What the plugins import is found in a flat folder only.
    if (manager !== 'npm') return
    await t.test('types beside @fastify/passport', () => {
      return checkTypes(project, join(root, 'node_modules/typescript'), ['plugin.nodenext', 'plugin.bundler'])
    })
    for (const version of FORMER_TYPESCRIPT) {
      await t.test(`types with TypeScript ${version}`, async () => {
        const compiler = join(folder, `typescript-${version}`)
        mkdirSync(compiler)
        writeManifest(compiler, { typescript: version })
        await run(compiler, ...install)
        await checkTypes(project, join(compiler, 'node_modules/typescript'), ['main.nodenext', 'plugin.nodenext'])
      })
    }
    await t.test('TypeScript that is compiled to CommonJS, with the resolution of Node 10', async () => {
      const options = { module: 'commonjs', moduleResolution: 'node10', esModuleInterop: true, skipLibCheck: true }
      await compile(project, join(folder, `typescript-${NODE10_TYPESCRIPT}`), ['typed.cts', 'required.cts'], options)
      await run(project, 'node', 'typed.cjs')
      await run(project, 'node', 'required.cjs')
    })
    await t.test('a bundle of ES modules', (t) => bundle(t, project, 'esm.mjs', 'esm'))
    await t.test('a bundle of CommonJS', (t) => bundle(t, project, 'commonjs.cjs', 'cjs'))
  })
}

t.test('types with the newest types of Node.js', async () => {
  const project = createProject('node-types', { ...versionsOf([...NEEDED, ...PLUGINS]), ...NEWEST_NODE_TYPES })
  await run(project, ...INSTALL.npm)
  writeTypes(project)
  await checkTypes(project, join(root, 'node_modules/typescript'), ['main.nodenext', 'plugin.nodenext'])
})

t.test('the application on NestJS of docs/recipes.md, on the only Fastify there is', async (t) => {
  const project = createProject('nest', { ...versionsOf(['knex', 'better-sqlite3', '@types/node']), ...NEST })
  await run(project, ...INSTALL.npm)
  addCompiledSqlite(project)
  const { packages } = JSON.parse(readFileSync(join(project, 'node_modules/.package-lock.json'), 'utf8'))
  t.strictSame(
    Object.keys(packages).filter((path) => path.endsWith('node_modules/fastify')),
    ['node_modules/fastify']
  )
  writeFileSync(join(project, 'nest.ts'), fileBlock('nest.ts').replace('await app.listen(3000)', 'export { app }'))
  await compile(project, root, ['nest.ts'], { module: 'nodenext', experimentalDecorators: true, skipLibCheck: true })
  await run(project, join(project, 'node_modules/.bin', manifest.name), 'migrate', '--database-url', 'sqlite:site.sqlite3')
  await run(project, 'node', 'visit-nest.mjs')
})

/** Every supported Node can require ES modules. */
function isProblem({ kind }: Problem): boolean {
  return kind !== 'CJSResolvesToESM'
}

function createProject(name: string, dependencies: Record<string, string>): string {
  const project = join(folder, name)
  cpSync(join(root, 'test/package/project'), project, { recursive: true })
  writeManifest(project, { [manifest.name]: `file:${tarball}`, ...dependencies })
  return project
}

function writeManifest(project: string, dependencies: Record<string, string>): void {
  writeFileSync(join(project, 'package.json'), JSON.stringify({ private: true, type: 'module', dependencies }))
}

/** The versions that the tests run with. */
function versionsOf(names: string[]): Record<string, string> {
  const versionOf = (name: string) => JSON.parse(readFileSync(join(root, 'node_modules', name, 'package.json'), 'utf8')).version
  return Object.fromEntries(names.map((name) => [name, versionOf(name)]))
}

/** To compile it again would take a minute for each project. Newer versions come compiled. */
function addCompiledSqlite(project: string): void {
  const compiled = 'node_modules/better-sqlite3/build/Release/better_sqlite3.node'
  if (!existsSync(join(root, compiled))) return
  mkdirSync(dirname(join(project, compiled)), { recursive: true })
  cpSync(join(root, compiled), join(project, compiled))
}

/** The repository's own promises about types, now about the installed package. */
function writeTypes(project: string): void {
  cpSync(join(root, 'test/types'), join(project, 'types'), { recursive: true })
  const entries = { index: '', untyped: '/untyped', 'auth/index': '/auth', testing: '/testing' }
  for (const name of ['auth.ts', 'fastify.ts', 'session.ts', 'testing.ts']) {
    const file = join(project, 'types', name)
    const text = readFileSync(file, 'utf8').replaceAll(
      /'\.\.\/\.\.\/lib\/([\w/]+)\.ts'/g,
      (_, module: keyof typeof entries) => `'${manifest.name}${entries[module]}'`
    )
    writeFileSync(file, text)
  }
  const strict = { target: 'ES2023', types: ['node'], strict: true, skipLibCheck: false, noEmit: true, allowImportingTsExtensions: true }
  const resolutions = { nodenext: { module: 'nodenext' }, bundler: { module: 'preserve', moduleResolution: 'bundler' } }
  // The entries type `request.session` differently, so that each is checked without the other.
  const programs = { main: ['types/*.ts'], plugin: ['types/ecosystem/*.ts'] }
  for (const [resolution, options] of Object.entries(resolutions)) {
    for (const [program, include] of Object.entries(programs)) {
      const config = { compilerOptions: { ...strict, ...options }, include }
      writeFileSync(join(project, `${program}.${resolution}.json`), JSON.stringify(config))
    }
  }
}

async function checkTypes(project: string, typescript: string, programs: string[]): Promise<void> {
  await Promise.all(programs.map((program) => run(project, 'node', join(typescript, 'lib/tsc.js'), '-p', `${program}.json`)))
}

/** Compiles files of a project, beside themselves, by the compiler that is installed in another folder. */
async function compile(project: string, installed: string, files: string[], options: object): Promise<void> {
  const compilerOptions = { target: 'ES2023', types: ['node'], strict: true, ...options }
  writeFileSync(join(project, 'compiled.json'), JSON.stringify({ compilerOptions, files }))
  await checkTypes(project, join(installed, 'node_modules/typescript'), ['compiled'])
}

/** The bundle runs where only the driver is installed, which is no JavaScript. */
async function bundle(t: Test, project: string, entry: string, format: Format): Promise<void> {
  const target = join(folder, `bundle-${format}`)
  mkdirSync(join(target, 'node_modules'), { recursive: true })
  symlinkSync(join(project, 'node_modules/better-sqlite3'), join(target, 'node_modules/better-sqlite3'))
  const { warnings } = await build({
    absWorkingDir: project,
    entryPoints: [entry],
    outfile: join(target, entry),
    bundle: true,
    platform: 'node',
    format,
    // Some of what an ES module takes in is CommonJS.
    banner: format === 'esm' ? { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url)" } : {},
    external: ['better-sqlite3', ...DRIVERS],
    // The folder of the migrations, which no bundle has.
    logOverride: { 'empty-import-meta': 'silent' },
    logLevel: 'silent'
  })
  const texts = warnings.map(({ text }) => text)
  t.strictSame(texts, [])
  await run(target, 'node', entry)
}

/** What a command prints. Fails with everything that it said. */
async function run(cwd: string, ...[program, ...args]: string[]): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)(program as string, args, { cwd })
    return stdout
  } catch (error) {
    const { message, stdout, stderr } = error as Error & { stdout: string; stderr: string }
    throw new Error(`${message}\n${stdout}\n${stderr}`)
  }
}

function kilobytes(bytes: number): string {
  return `${Math.round(bytes / 1000)} kB`
}
