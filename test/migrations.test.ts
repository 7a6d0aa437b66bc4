import { execFileSync } from 'node:child_process'
import createKnex, { type Knex } from 'knex'
import t, { type Test } from 'tap'
import { createMigrationSource, directory, migrationSource } from '../lib/migrations.ts'
import { up } from '../migrations/20261121000000_create_django_session.js'
import { createDatabase, type DatabaseName, databases, missing } from './fixtures/databases.ts'
import { djangoStatements, readSchema } from './fixtures/schema.ts'

const NAME = '20261121000000_create_django_session.js'

/** An application's own migration, in the older of Node's module systems. */
const USERS = {
  '20270101000000_users.cjs': `
    exports.up = (knex) => knex.schema.createTable('users', (table) => table.increments())
    exports.down = (knex) => knex.schema.dropTable('users')`
}

/** A Knex instance on a new database without tables. */
async function open(t: Test, name: DatabaseName, config: Partial<Knex.Config> = {}): Promise<Knex> {
  const knex = createKnex({ log: { warn() {} }, ...(await createDatabase(t, name)), ...config })
  t.teardown(() => knex.destroy())
  return knex
}

async function makeDjangosTable(knex: Knex, name: DatabaseName): Promise<void> {
  for (const statement of djangoStatements[name]) await knex.raw(statement)
}

function dropIndex(knex: Knex): Promise<unknown> {
  const index = 'DROP INDEX django_session_expire_date_a5c62663'
  return knex.raw(knex.client.driverName === 'mysql2' ? `${index} ON django_session` : index)
}

function insertRow(knex: Knex): Promise<unknown> {
  return knex.raw(`INSERT INTO django_session VALUES ('k', 'text', '2999-01-01 00:00:00')`)
}

async function recorded(knex: Knex): Promise<string[]> {
  const rows = await knex('knex_migrations').orderBy('id')
  return rows.map((row) => row.name)
}

/** But for that of the primary key. */
async function indexNames(knex: Knex, table: string): Promise<string[]> {
  const queries: Record<string, string> = {
    pg: 'SELECT indexname AS name FROM pg_indexes WHERE tablename = ?',
    'better-sqlite3': `SELECT name FROM pragma_index_list(?) WHERE origin = 'c'`,
    mysql2: `SELECT index_name AS name FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name = ? AND index_name <> 'PRIMARY'`
  }
  const answer = await knex.raw(queries[knex.client.driverName] as string, [table])
  const rows: { name: string }[] = answer.rows ?? (Array.isArray(answer[0]) ? answer[0] : answer)
  return rows
    .map(({ name }) => name)
    .filter((name) => !name.endsWith('_pkey'))
    .sort()
}

for (const name of databases) {
  t.test(`migrations on ${name}`, { skip: missing(name) }, async (t) => {
    t.test('up creates the table as Django does, and down drops it', async (t) => {
      const knex = await open(t, name)
      await makeDjangosTable(knex, name)
      const djangos = await readSchema(knex)
      await knex.raw('DROP TABLE django_session')

      await knex.migrate.latest({ migrationSource })
      t.strictSame(await readSchema(knex), { ...djangos, comment: 'created by fastify-django-sessions' })
      await knex.migrate.rollback({ migrationSource })
      t.equal(await readSchema(knex), null)
    })

    t.test('a table that Django made is left alone, up and down', async (t) => {
      const knex = await open(t, name)
      await makeDjangosTable(knex, name)
      await insertRow(knex)
      const before = await readSchema(knex)
      await knex.migrate.latest({ migrationSource })
      t.strictSame(await readSchema(knex), before)
      await knex.migrate.rollback({ migrationSource })
      t.strictSame(await readSchema(knex), before)
      t.equal((await knex('django_session')).length, 1)
    })

    t.test('a table that Django made gets no index back that somebody dropped', async (t) => {
      const knex = await open(t, name)
      await makeDjangosTable(knex, name)
      await dropIndex(knex)
      const before = await readSchema(knex)
      await knex.migrate.latest({ migrationSource })
      t.strictSame(await readSchema(knex), before)
    })

    t.test('a table of ours that lacks an index gets it', async (t) => {
      const knex = await open(t, name)
      await knex.migrate.latest({ migrationSource })
      const complete = await readSchema(knex)
      await dropIndex(knex)
      await insertRow(knex)
      await knex('knex_migrations').del()
      await knex.migrate.latest({ migrationSource })
      t.strictSame(await readSchema(knex), complete)
      t.equal((await knex('django_session')).length, 1)
    })

    const columns = ['session_key', 'session_data', 'expire_date']
    for (const column of columns) {
      t.test(`a table without ${column} is an error that says so, and stays`, async (t) => {
        const knex = await open(t, name)
        await knex.schema.createTable('django_session', (table) => {
          for (const other of columns) if (other !== column) table.string(other)
        })
        const before = await readSchema(knex)
        await t.rejects(knex.migrate.latest({ migrationSource }), { message: new RegExp(`has no column ${column}`) })
        t.strictSame(await readSchema(knex), before)
        t.strictSame(await recorded(knex), [], 'nothing is recorded as done')
      })
    }

    t.test('directory and migrationSource record the same names', async (t) => {
      const knex = await open(t, name)
      await knex.migrate.latest({ directory })
      t.strictSame(await recorded(knex), [NAME])
      const [, names] = await knex.migrate.latest({ migrationSource })
      t.strictSame(names, [], 'nothing is left to do')
      await knex.migrate.rollback({ migrationSource })
      await knex.migrate.latest({ migrationSource })
      t.strictSame(await recorded(knex), [NAME])
      await knex.migrate.rollback({ directory })
      t.equal(await readSchema(knex), null)
    })

    t.test('a table of another name gets the names of indexes that Django would give it', async (t) => {
      // By Django's own rule, in Python: _create_index_name() of a model with this db_table.
      const names: Record<string, Record<DatabaseName, string[]>> = {
        shop_session: {
          sqlite: ['shop_session_expire_date_8d407910'],
          postgres: ['shop_session_expire_date_8d407910', 'shop_session_session_key_722860a6_like'],
          mariadb: ['shop_session_expire_date_8d407910']
        },
        a_table_of_sessions_whose_name_is_as_long_as_names_may_be: {
          sqlite: ['a_table_of_sessions_whose_name_is_as_long_as_names_may_be_expire_date_b3dd30ee'],
          postgres: ['a_table_of_sessions_whos_session_key_807c2858_like', 'a_table_of_sessions_whose__expire_date_b3dd30ee'],
          mariadb: ['a_table_of_sessions_whose_n_expire_date_b3dd30ee']
        }
      }
      for (const [tableName, expected] of Object.entries(names)) {
        const knex = await open(t, name)
        const source = createMigrationSource({ tableName })
        await knex.migrate.latest({ migrationSource: source })
        t.strictSame(await recorded(knex), [`20261121000000_create_${tableName}.js`])
        t.strictSame(await indexNames(knex, tableName), expected[name])
        await knex.migrate.rollback({ migrationSource: source })
        t.notOk(await knex.schema.hasTable(tableName))
      }
    })

    const application = t.testdir(USERS)
    t.test("they run beside an application's own", async (t) => {
      const knex = await open(t, name, { migrations: { directory: [application, directory] } })
      await knex.migrate.latest()
      t.strictSame(await recorded(knex), [NAME, '20270101000000_users.cjs'])
      t.not(await readSchema(knex), null)
      t.ok(await knex.schema.hasTable('users'))
      await knex.migrate.down()
      t.strictSame(await recorded(knex), [NAME], 'one down is the last one')
      await knex.migrate.rollback(undefined, true)
      t.equal(await readSchema(knex), null)
    })

    t.test('they run without a transaction', async (t) => {
      const knex = await open(t, name)
      await knex.migrate.latest({ migrationSource, disableTransactions: true })
      t.not(await readSchema(knex), null)
      await knex.migrate.rollback({ migrationSource, disableTransactions: true })
      t.equal(await readSchema(knex), null)
    })

    t.test('a Knex instance that maps names and results makes no difference', async (t) => {
      const plain = await open(t, name)
      const upperCase = (result: unknown): unknown => {
        if (Array.isArray(result)) return result.map(upperCase)
        if (typeof result !== 'object' || result === null) return {}
        if ('rows' in result) return { ...result, rows: upperCase(result.rows) }
        return Object.fromEntries(Object.entries(result).map(([key, value]) => [key.toUpperCase(), value]))
      }
      const mapped = createKnex({
        ...plain.client.config,
        postProcessResponse: upperCase,
        wrapIdentifier: (value, wrap) => wrap(`app_${value}`)
      })
      t.teardown(() => mapped.destroy())

      await mapped.migrate.latest({ migrationSource })
      const ours = await readSchema(plain)
      t.not(ours, null)
      await mapped.migrate.rollback({ migrationSource })
      t.equal(await readSchema(plain), null)

      await makeDjangosTable(plain, name)
      await mapped.migrate.latest({ migrationSource })
      t.strictSame(await readSchema(plain), { ...ours, comment: '' })
      await mapped.migrate.rollback({ migrationSource })
      t.strictSame(await readSchema(plain), { ...ours, comment: '' })
    })
  })
}

t.test('migrations on a search path of PostgreSQL', { skip: missing('postgres') }, async (t) => {
  const config = await createDatabase(t, 'postgres')
  const on = (...searchPath: string[]) => {
    const knex = createKnex({ ...config, searchPath })
    t.teardown(() => knex.destroy())
    return knex
  }
  const inPublic = on('public')
  await inPublic.raw('CREATE SCHEMA tenant')
  const tables = async () => {
    const { rows } = await inPublic.raw(`SELECT schemaname FROM pg_tables WHERE tablename = 'django_session' ORDER BY 1`)
    return rows.map((row: { schemaname: string }) => row.schemaname)
  }

  await inPublic.migrate.latest({ migrationSource })
  t.strictSame(await tables(), ['public'])

  const behind = on('tenant', 'public')
  await behind.migrate.latest({ migrationSource, tableName: 'behind_migrations' })
  t.strictSame(await tables(), ['public'], 'a table further on the path is the one that sessions are in: none hides it')

  const inTenant = on('tenant')
  await inTenant.migrate.latest({ migrationSource })
  t.strictSame(await tables(), ['public', 'tenant'])
  t.strictSame(await readSchema(inTenant).then((schema) => schema?.indexes.length), 3)

  await inTenant.migrate.rollback({ migrationSource })
  t.strictSame(await tables(), ['public'], 'down drops the one in its schema')
})

t.test('SQLite, where tables have no schemas, refuses a name with a dot', async (t) => {
  const knex = await open(t, 'sqlite')
  const source = createMigrationSource({ tableName: 'shop.sessions' })
  await t.rejects(knex.migrate.latest({ migrationSource: source }), /expected the name of a table without a dot on SQLite/)
})

t.test('another database is an error that names those that are supported', async (t) => {
  const knex = { client: { driverName: 'oracledb' } } as Knex
  await t.rejects(up(knex), { message: 'fastify-django-sessions: expected a Knex client of pg, better-sqlite3, mysql2, got oracledb' })
})

t.test("the project's own knexfile migrates by npm run migrate, and back", { skip: missing('postgres') }, async (t) => {
  const config = await createDatabase(t, 'postgres')
  const run = (script: string) =>
    execFileSync('npm', ['run', script], { env: { ...process.env, DATABASE_URL: config.connection as string }, encoding: 'utf8' })
  const knex = createKnex(config)
  t.teardown(() => knex.destroy())
  run('migrate')
  t.not(await readSchema(knex), null)
  run('rollback')
  t.equal(await readSchema(knex), null)
})
