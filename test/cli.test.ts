/** The command as a process of its own: what it takes from there, and knexfiles, in whose folder it works. */
import { spawn } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import createKnex from 'knex'
import t from 'tap'
import { migrationSource } from '../lib/migrations.ts'
import { fails, insertRow, openPlace, prints, type Result, run as runHere, sessionKeys } from './fixtures/command.ts'
import { missing, waitsForLock } from './fixtures/databases.ts'

const CLI = fileURLToPath(new URL('../dist/cli.js', import.meta.url))

// Each of the many commands starts a process.
t.setTimeout(300_000)

/** Starts the built command; `result` when it has ended. */
function start(args: string[], env: NodeJS.ProcessEnv = {}, cwd = process.cwd(), command = CLI) {
  const child = spawn(process.execPath, [command, ...args], { cwd, env: { ...process.env, NODE_OPTIONS: '', NODE_ENV: '', ...env } })
  const output = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text) => {
      output[name] += text
    })
  }
  const result = new Promise<Result>((resolve) => child.on('close', (status) => resolve({ status, ...output })))
  return { child, result }
}

const run = (args: string[], env?: NodeJS.ProcessEnv): Promise<Result> => start(args, env).result

t.test('reads its arguments and environment, writes to its streams, and ends with its exit code', async (t) => {
  const { database } = await openPlace(t, 'sqlite')
  prints(t, await runHere(['migrate', ...database]), 'Created the table django_session.')
  prints(t, await run(['clearsessions', ...database]), 'Removed 0 expired sessions.')
  fails(t, await run(['show', 'abcdefgh', ...database], { SECRET_KEY: 'secret' }), 1, /no session has this key/)
})

t.test('says nothing when nobody reads its output', async (t) => {
  const { child, result } = start(['--help'])
  child.stdout.destroy()
  t.match(await result, { status: 0, stderr: '' })
})

t.test('Ctrl-C ends clearsessions after the running batch', { skip: missing('postgres') }, async (t) => {
  const { knex, database } = await openPlace(t, 'postgres')
  await knex.migrate.latest({ migrationSource })
  for (const sessionKey of ['a', 'b', 'c']) await insertRow(knex, { sessionKey, expireDate: new Date(Date.now() - 60_000) })
  const lock = await knex.transaction()
  await lock.raw('LOCK TABLE django_session IN SHARE MODE')
  const { child, result } = start(['clearsessions', '--batch-size', '1', ...database])
  await waitsForLock(knex)
  child.kill('SIGINT')
  await lock.rollback()
  const { status, stdout, stderr } = await result
  t.strictSame({ status, stderr }, { status: 1, stderr: '' })
  t.match(stdout, /^Stopped after removing 1 expired session, which expired .* ago: run it again for the rest\.\n$/)
  t.equal((await sessionKeys(knex)).length, 2)
})

const FOLDER = {
  'package.json': '{ "type": "commonjs" }',
  'one.cjs': `module.exports = { client: 'better-sqlite3', connection: { filename: './one.sqlite3' }, useNullAsDefault: true }`,
  'one.mjs': `export default { client: 'better-sqlite3', connection: { filename: './one-esm.sqlite3' }, useNullAsDefault: true }`,
  'compiled.cjs': `exports.__esModule = true
    exports.default = { client: 'better-sqlite3', connection: { filename: './compiled.sqlite3' }, useNullAsDefault: true }`,
  'function.mjs': `export default async () => ({ client: 'better-sqlite3', connection: { filename: './function.sqlite3' }, useNullAsDefault: true })`,
  'environments.mjs': ['development', 'staging', 'production'].reduce(
    (text, name) =>
      `${text}export const ${name} = { client: 'better-sqlite3', connection: { filename: './${name}.sqlite3' }, useNullAsDefault: true }\n`,
    ''
  ),
  'typed.mts': `export default { client: 'better-sqlite3' as string, connection: { filename: './typed.sqlite3' }, useNullAsDefault: true }`,
  'enum.mts': `enum Client { sqlite = 'better-sqlite3' }
    export default { client: Client.sqlite, connection: { filename: './enum.sqlite3' }, useNullAsDefault: true }`,
  'loader.mjs': `import { register } from 'node:module'
    register('./hooks.mjs', import.meta.url)`,
  'hooks.mjs': `import { readFile } from 'node:fs/promises'
    export async function load(url, context, next) {
      if (!url.endsWith('.mts')) return next(url, context)
      const text = await readFile(new URL(url), 'utf8')
      return { format: 'module', shortCircuit: true, source: text.replace(/enum (\\w+) \\{ (\\w+) =(.*) \\}/, 'const $1 = { $2: $3 }') }
    }`,
  'mapped.mjs': `export default {
    client: 'better-sqlite3', connection: { filename: './mapped.sqlite3' }, useNullAsDefault: true,
    wrapIdentifier: (name, wrap) => wrap('app_' + name),
    postProcessResponse: () => ({}),
    migrations: { directory: './no-such-folder', tableName: 'app_migrations' }
  }`,
  'mysql.cjs': `module.exports = { client: 'mysql', connection: {} }`,
  'nowhere.mjs': `export default { client: 'pg' }`,
  'memory.mjs': `export default { client: 'better-sqlite3', connection: { filename: ':memory:' }, useNullAsDefault: true }`,
  'empty.mjs': 'export default {}',
  'broken.mjs': 'this is no JavaScript',
  'oracle.mjs': `import Client from 'knex/lib/dialects/postgres/index.js'
    export default { client: class extends Client { driverName = 'oracledb' }, connection: {} }`
}

/** Node.js 22.18 and newer read TypeScript that is JavaScript but for its types. */
const stripsTypes = Boolean((process.features as { typescript?: string | false }).typescript)

t.test('a knexfile', async (t) => {
  const folder = t.testdir(FOLDER)
  const tables = async (file: string): Promise<string[]> => {
    const knex = createKnex({ client: 'better-sqlite3', connection: { filename: `${folder}/${file}` }, useNullAsDefault: true })
    const rows = await knex.raw(`SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY 1`)
    await knex.destroy()
    return rows.map((row: { name: string }) => row.name)
  }
  const created = ['django_session', 'django_session_migrations', 'django_session_migrations_lock']
  const migrates: [what: string, file: string, database: string, args?: string[], env?: NodeJS.ProcessEnv][] = [
    ['of one configuration, with a path relative to it', 'one.cjs', 'one.sqlite3'],
    ['as an ES module', 'one.mjs', 'one-esm.sqlite3'],
    ['that a compiler made', 'compiled.cjs', 'compiled.sqlite3'],
    ['of a function', 'function.mjs', 'function.sqlite3'],
    ['for the environment development', 'environments.mjs', 'development.sqlite3'],
    ['for the environment of NODE_ENV', 'environments.mjs', 'staging.sqlite3', [], { NODE_ENV: 'staging' }],
    ['for the environment of --env', 'environments.mjs', 'production.sqlite3', ['--env', 'production'], { NODE_ENV: 'staging' }],
    ['that maps names and has migrations of its own', 'mapped.mjs', 'mapped.sqlite3'],
    [
      'in TypeScript, with a loader',
      'enum.mts',
      'enum.sqlite3',
      [],
      { NODE_OPTIONS: `--import ${pathToFileURL(folder)}/loader.mjs`, NODE_NO_WARNINGS: '1' }
    ]
  ]
  await Promise.all(
    migrates.map(async ([what, file, database, args = [], env = {}]) => {
      prints(
        t,
        await run(['migrate', '--knexfile', `${folder}/${file}`, ...args], env),
        `Created the table django_session in the new file ${folder}/${database}.`
      )
      t.strictSame(await tables(database), created, what)
    })
  )

  const needsLoader = /\.mts cannot be loaded: .+ needs a loader(?: for TypeScript)?: set NODE_OPTIONS='--import tsx'/
  const typed = await run(['migrate', '--knexfile', `${folder}/typed.mts`], { NODE_NO_WARNINGS: '1' })
  if (stripsTypes) prints(t, typed, `Created the table django_session in the new file ${folder}/typed.sqlite3.`)
  else fails(t, typed, 1, needsLoader)
  fails(t, await run(['migrate', '--knexfile', `${folder}/enum.mts`]), 1, needsLoader)

  const mistakes: [file: string, status: number, message: RegExp, args?: string[]][] = [
    ['broken.mjs', 1, /broken\.mjs cannot be loaded: /],
    ['mysql.cjs', 2, /client: expected pg, better-sqlite3 or mysql2, got "mysql": install mysql2 and use client: 'mysql2'/],
    ['nowhere.mjs', 2, /connection: expected the database to connect to, got nothing/],
    ['memory.mjs', 2, /a database in memory is gone when the command ends/],
    ['empty.mjs', 2, /empty\.mjs has no Knex configuration with a client.+--env NAME/],
    ['one.cjs', 2, /has no configuration for staging/, ['--env', 'staging']],
    ['oracle.mjs', 1, /expected a Knex client of pg, better-sqlite3, mysql2, got oracledb/]
  ]
  const before = process.cwd()
  t.teardown(() => process.chdir(before))
  for (const [file, status, message, args = []] of mistakes) {
    fails(t, await runHere(['migrate', '--knexfile', `${folder}/${file}`, ...args]), status, message)
  }
})

t.test('without Knex it says what to install', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'no-knex-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const [root, { dependencies }] = [process.cwd(), JSON.parse(readFileSync('package.json', 'utf8'))]
  for (const name of ['package.json', 'dist', 'migrations']) cpSync(join(root, name), join(folder, name), { recursive: true })
  mkdirSync(join(folder, 'node_modules/@fastify'), { recursive: true })
  for (const name of Object.keys(dependencies)) symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name))
  const { result } = start(['migrate', '--database-url', 'postgres://user@localhost/site'], {}, folder, join(folder, 'dist/cli.js'))
  fails(t, await result, 1, /: the package knex is missing: npm install knex\n/)
})

t.test('paths of options are relative to the current folder, and those in a knexfile to its own', async (t) => {
  const folder = t.testdir({
    'secret.txt': 'the secret key of the site\n',
    database: {
      'knexfile.cjs': `module.exports = { client: 'better-sqlite3', connection: { filename: './site.sqlite3' }, useNullAsDefault: true }`
    }
  })
  const runIn = (cwd: string, ...args: string[]) => start(args, {}, cwd).result
  prints(
    t,
    await runIn(folder, 'migrate', '--knexfile', 'database/knexfile.cjs'),
    `Created the table django_session in the new file ${folder}/database/site.sqlite3.`
  )
  const args = ['--secret-key-file', 'secret.txt', '--knexfile', 'database/knexfile.cjs']
  const shown = await runIn(folder, 'show', 'abcdefgh', ...args)
  fails(t, shown, 1, /no session has this key/)
  t.match((await runIn(folder, 'check', ...args)).stdout, /SECRET_KEY is shorter than 50 characters/)
})

t.test('URLs of SQLite name files as in Django and Rails', async (t) => {
  const folder = t.testdir()
  const before = process.cwd()
  process.chdir(folder)
  t.teardown(() => process.chdir(before))
  for (const [url, file] of [
    ['sqlite:///three.sqlite3', `${folder}/three.sqlite3`],
    ['sqlite3:///three3.sqlite3', `${folder}/three3.sqlite3`],
    [`sqlite:///${pathToFileURL(folder).pathname}/four.sqlite3`, `${folder}/four.sqlite3`],
    ['sqlite:one.sqlite3', `${folder}/one.sqlite3`],
    [`sqlite:${folder}/absolute.sqlite3`, `${folder}/absolute.sqlite3`],
    ['sqlite:///with%20a%20space%C3%A9.sqlite3', `${folder}/with a spaceé.sqlite3`],
    ['sqlite:100%.sqlite3', `${folder}/100%.sqlite3`],
    ['sqlite:///100%.sqlite3', `${folder}/100%.sqlite3`],
    ['sqlite:plain path - of 2.sqlite3', `${folder}/plain path - of 2.sqlite3`],
    ['sqlite:C:\\site.sqlite3', `${folder}/C:\\site.sqlite3`],
    ['file:relative.sqlite3', `${folder}/relative.sqlite3`],
    [`file://localhost${pathToFileURL(folder).pathname}/local.sqlite3`, `${folder}/local.sqlite3`]
  ] as const) {
    const { stderr } = await runHere(['rollback', '--database-url', url])
    t.match(stderr, `the SQLite file ${file} does not exist`, url)
  }
  const env = { DATABASE_URL: 'sqlite:///site.sqlite3' }
  const created = await runHere(['migrate'], { env })
  prints(t, created, `Created the table django_session in the new file ${folder}/site.sqlite3.`)
  prints(t, await runHere(['rollback'], { env }), 'Dropped the table django_session.')
})
