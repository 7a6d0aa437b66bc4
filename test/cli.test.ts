import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import createKnex, { type Knex } from 'knex'
import t, { type Test } from 'tap'
import { migrationSource } from '../lib/migrations.ts'
import { createDatabase, type DatabaseName, databases, missing } from './fixtures/databases.ts'
import { djangoStatements, readSchema } from './fixtures/schema.ts'

const CLI = fileURLToPath(new URL('../dist/cli.js', import.meta.url))

// Each of the many commands starts a process.
t.setTimeout(300_000)

interface Result {
  status: number | null
  stdout: string
  stderr: string
}

/** Starts the built command; `result` when it has ended. */
function start(args: string[], env: NodeJS.ProcessEnv = {}) {
  const child = spawn(process.execPath, [CLI, ...args], { env: { ...process.env, NODE_OPTIONS: '', NODE_ENV: '', ...env } })
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

interface Place {
  knex: Knex
  /** `--database-url URL` */
  database: string[]
}

/** A new database without tables, and the options that name it. */
async function open(t: Test, name: DatabaseName): Promise<Place> {
  const config = await createDatabase(t, name)
  const { connection } = config
  const url = typeof connection === 'string' ? connection : `sqlite:${(connection as Knex.Sqlite3ConnectionConfig).filename}`
  const knex = createKnex(config)
  t.teardown(() => knex.destroy())
  return { knex, database: ['--database-url', url] }
}

/** A row that ends so many seconds from now. */
async function insertRow(knex: Knex, sessionKey: string, seconds: number, table = 'django_session'): Promise<void> {
  const expireDate = new Date(Date.now() + seconds * 1000).toISOString()
  const text = expireDate.replace('T', ' ').replace('Z', knex.client.driverName === 'pg' ? '+00' : '000')
  await knex(table).insert({ session_key: sessionKey, session_data: 'text', expire_date: text })
}

async function keys(knex: Knex, table = 'django_session'): Promise<string[]> {
  const rows = await knex(table).select('session_key').orderBy('session_key')
  return rows.map((row) => row.session_key)
}

function prints(t: Test, result: Result, line: string): void {
  t.strictSame(result, { status: 0, stdout: `${line}\n`, stderr: '' })
}

/** One line on stderr, and nothing else. */
function fails(t: Test, { status, stdout, stderr }: Result, expected: number, message: RegExp): void {
  t.equal(status, expected)
  t.equal(stdout, '')
  t.match(stderr, /^fastify-django-sessions: [^\n]+\n$/)
  t.match(stderr, message)
}

for (const name of databases) {
  t.test(`the command on ${name}`, { skip: missing(name) }, async (t) => {
    t.test('migrate creates the table, rollback drops it, and each is done once', async (t) => {
      const { knex, database } = await open(t, name)
      prints(t, await run(['migrate', ...database]), 'Created the table django_session.')
      t.not(await readSchema(knex), null)
      prints(t, await run(['migrate', ...database]), 'Nothing to migrate.')
      t.ok(await knex.schema.hasTable('django_session_migrations'))
      t.notOk(await knex.schema.hasTable('knex_migrations'), "the application's list is not touched")
      prints(t, await run(['rollback', ...database]), 'Dropped the table django_session.')
      t.equal(await readSchema(knex), null)
      prints(t, await run(['rollback', ...database]), 'Nothing to roll back.')
    })

    t.test('a table that Django made stays', async (t) => {
      const { knex, database } = await open(t, name)
      for (const statement of djangoStatements[name]) await knex.raw(statement)
      const before = await readSchema(knex)
      prints(t, await run(['migrate', ...database]), 'The table django_session was there already, and stays.')
      prints(t, await run(['rollback', ...database]), 'The table django_session was not made by migrate, and stays.')
      t.strictSame(await readSchema(knex), before)
    })

    t.test('a table of that name that is no session table is an error', async (t) => {
      const { knex, database } = await open(t, name)
      await knex.schema.createTable('django_session', (table) => table.string('session_key'))
      fails(t, await run(['migrate', ...database]), 1, /has no column session_data.+Rename or drop it/)
    })

    t.test('a lock that was left behind is an error that says how to free it', async (t) => {
      const { knex, database } = await open(t, name)
      await run(['migrate', ...database])
      await knex('django_session_migrations_lock').update({ is_locked: 1 })
      const result = await run(['rollback', ...database])
      fails(t, result, 1, /another migration is under way/)
      await knex.raw(/UPDATE .*/.exec(result.stderr)?.[0] as string)
      prints(t, await run(['rollback', ...database]), 'Dropped the table django_session.')
    })

    t.test('clearsessions removes what has expired and nothing else', async (t) => {
      const { knex, database } = await open(t, name)
      await knex.migrate.latest({ migrationSource })
      for (const [sessionKey, seconds] of Object.entries({ a: -7200, b: -1800, c: -1, d: 3600 })) await insertRow(knex, sessionKey, seconds)
      prints(t, await run(['clearsessions', '--grace', '3600', ...database]), 'Removed 1 expired session.')
      t.strictSame(await keys(knex), ['b', 'c', 'd'])

      const { status, stdout, stderr } = await run(['clearsessions', '--json', '--batch-size=1', ...database])
      t.strictSame({ status, stderr }, { status: 0, stderr: '' })
      t.match(JSON.parse(stdout), { deleted: 2, batches: 3, milliseconds: Number, stopped: false })
      t.strictSame(await keys(knex), ['d'])
      prints(t, await run(['clearsessions', ...database]), 'Removed 0 expired sessions.')
    })

    t.test('clearsessions of another table leaves django_session alone', async (t) => {
      const { knex, database } = await open(t, name)
      await knex.migrate.latest({ migrationSource })
      await knex.raw('CREATE TABLE other AS SELECT * FROM django_session')
      await insertRow(knex, 'a', -60)
      await insertRow(knex, 'b', -60, 'other')
      prints(t, await run(['clearsessions', '--table', 'other', ...database]), 'Removed 1 expired session.')
      t.strictSame([await keys(knex), await keys(knex, 'other')], [['a'], []])
    })

    t.test('clearsessions without a table says to migrate', async (t) => {
      const { knex, database } = await open(t, name)
      await knex.raw('CREATE TABLE something (id integer)')
      fails(t, await run(['clearsessions', ...database]), 1, /run the migration first \(fastify-django-sessions migrate\)/)
    })
  })
}

t.test('Ctrl-C ends clearsessions after the running batch', { skip: missing('postgres') }, async (t) => {
  const { knex, database } = await open(t, 'postgres')
  await knex.migrate.latest({ migrationSource })
  for (const sessionKey of ['a', 'b', 'c']) await insertRow(knex, sessionKey, -60)
  const lock = await knex.transaction()
  await lock.raw('LOCK TABLE django_session IN SHARE MODE')
  const { child, result } = start(['clearsessions', '--batch-size', '1', ...database])
  const ofTable = `relation = 'django_session'::regclass AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`
  const isWaiting = async () => (await knex('pg_locks').whereRaw(`NOT granted AND ${ofTable}`)).length > 0
  while (!(await isWaiting()));
  child.kill('SIGINT')
  await lock.rollback()
  t.strictSame(await result, { status: 1, stdout: 'Stopped after removing 1 expired session: run it again for the rest.\n', stderr: '' })
  t.equal((await keys(knex)).length, 2)
})

t.test('a SQLite file', async (t) => {
  const folder = t.testdir()
  for (const [form, url] of Object.entries({
    'a path': `${folder}/a.sqlite3`,
    'sqlite:': `sqlite:${folder}/b.sqlite3`,
    'sqlite://': `sqlite://${folder}/c.sqlite3`,
    'file:': `file://${folder}/d%20d.sqlite3`
  })) {
    prints(t, await run(['migrate', '--database-url', url]), 'Created the table django_session.')
    const filename = decodeURI(url.replace(/^\w+:(\/\/)?/, ''))
    const knex = createKnex({ client: 'better-sqlite3', connection: { filename }, useNullAsDefault: true })
    t.teardown(() => knex.destroy())
    t.not(await readSchema(knex), null, form)
  }
  for (const command of ['rollback', 'clearsessions']) {
    fails(t, await run([command, '--database-url', `${folder}/none.sqlite3`]), 1, /the SQLite file does not exist/)
  }
})

t.test('--help and --version', async (t) => {
  const { status, stdout } = await run(['--help'])
  t.equal(status, 0)
  for (const text of ['migrate', 'rollback', 'clearsessions', '--database-url URL', '--knexfile FILE', '--version']) t.match(stdout, text)
  for (const command of ['migrate', 'rollback', 'clearsessions']) {
    const help = await run([command, '--help'])
    t.equal(help.status, 0)
    t.match(help.stdout, `Usage: fastify-django-sessions ${command} [options]`)
    t.match(help.stdout, '--database-url URL')
    t.equal(help.stdout.includes('--grace'), command === 'clearsessions', 'the options of a command are in its help only')
  }
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
  prints(t, await run(['--version']), version)
})

t.test('wrong usage ends with 2 and says what was expected, without the password that was given', async (t) => {
  const url = 'postgres://user:secret-word@localhost/name'
  const cases: [string[], RegExp][] = [
    [[], /expected one of the commands migrate, rollback, clearsessions/],
    [[url], /expected one of the commands/],
    [['toString', '--database-url', url], /expected one of the commands/],
    [['migrate'], /expected the database as either --database-url URL or --knexfile FILE/],
    [['migrate', url], /expected only options after migrate/],
    [['migrate', '--database-url', url, '--knexfile', 'knexfile.js'], /either --database-url URL or --knexfile FILE/],
    [['migrate', `--databaseurl=${url}`], /there is no option --databaseurl/],
    [['migrate', '--database-url'], /--database-url needs a value/],
    [['migrate', '--database-url', '--env', url], /--database-url needs a value/],
    [['migrate', '--database-url', ''], /expected postgres:\/\/user@host\/name, .+ or a SQLite file/],
    [['migrate', '--database-url', url.replace('postgres', 'oracle')], /expected postgres:\/\/user@host\/name, .+ or a SQLite file/],
    [['migrate', '--database-url', 'postgres://user:secret-word/x@localhost/name'], /Percent-encode/],
    [['migrate', '--env', 'test', '--database-url', url], /--env needs --knexfile/],
    [['migrate', '--json', '--database-url', url], /--json is an option of clearsessions, not of migrate/],
    [['clearsessions', '--json=yes', '--database-url', url], /--json takes no value/],
    [['clearsessions', '--batch-size', '0', '--database-url', url], /--batch-size: expected a whole number from 1, got "0"/],
    [['clearsessions', '--grace', '1h', '--database-url', url], /--grace: expected a whole number from 0, got "1h"/],
    [['clearsessions', '--table', '', '--database-url', url], /--table: expected the name of a table/],
    [['migrate', '--knexfile', 'no-such-file.js'], /no-such-file\.js does not exist/]
  ]
  const runs = cases.map(async ([args, message]) => ({ message, result: await run(args) }))
  for (const { message, result } of await Promise.all(runs)) {
    fails(t, result, 2, message)
    t.match(result.stderr, /\. See --help$/m)
    t.notMatch(result.stderr, /secret-word/)
  }
})

t.test('a server that cannot be reached is an error in one line, without the password', { skip: missing('postgres') }, async (t) => {
  const url = new URL(process.env.POSTGRES_URL as string)
  url.username = 'nobody'
  url.password = 'secret-word'
  for (const command of ['migrate', 'clearsessions']) {
    for (const [wrong, message] of [
      [url.href, /nobody/],
      // Port 1 is nobody's.
      [Object.assign(new URL(url), { port: '1' }).href, /ECONNREFUSED/],
      // What a password with an @ in it would make of the name of the host.
      ['postgres://user:first@secret-word.invalid/name', /ENOTFOUND|EAI_AGAIN/]
    ] as const) {
      const result = await run([command, '--database-url', wrong])
      fails(t, result, 1, message)
      t.notMatch(result.stderr, /secret-word|first@/)
    }
  }
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
  'typed.ts': `export default { client: 'better-sqlite3' as string, connection: { filename: './typed.sqlite3' }, useNullAsDefault: true }`,
  'mapped.mjs': `export default {
    client: 'better-sqlite3', connection: { filename: './mapped.sqlite3' }, useNullAsDefault: true,
    wrapIdentifier: (name, wrap) => wrap('app_' + name),
    postProcessResponse: () => ({}),
    migrations: { directory: './no-such-folder', tableName: 'app_migrations' }
  }`,
  'empty.mjs': 'export default {}',
  'broken.mjs': 'this is no JavaScript',
  'oracle.mjs': `import Client from 'knex/lib/dialects/postgres/index.js'
    export default { client: class extends Client { driverName = 'oracledb' }, connection: {} }`
}

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
    ['in TypeScript, with a loader', 'typed.ts', 'typed.sqlite3', [], { NODE_OPTIONS: '--import tsx' }]
  ]
  await Promise.all(
    migrates.map(async ([what, file, database, args = [], env = {}]) => {
      prints(t, await run(['migrate', '--knexfile', `${folder}/${file}`, ...args], env), 'Created the table django_session.')
      t.strictSame(await tables(database), created, what)
    })
  )

  const mistakes: [file: string, status: number, message: RegExp, args?: string[]][] = [
    ['typed.ts', 1, /only by a loader: set NODE_OPTIONS='--import tsx'/],
    ['broken.mjs', 1, /broken\.mjs cannot be loaded: /],
    ['empty.mjs', 2, /empty\.mjs has no Knex configuration with a client.+--env NAME/],
    ['one.cjs', 2, /has no configuration for staging/, ['--env', 'staging']],
    ['oracle.mjs', 1, /expected a Knex client of pg, better-sqlite3, mysql2, got oracledb/]
  ]
  for (const [file, status, message, args = []] of mistakes) {
    fails(t, await run(['migrate', '--knexfile', `${folder}/${file}`, ...args]), status, message)
  }
})
