import createKnex, { type Knex } from 'knex'
import t, { type Test } from 'tap'
import { createUserSessionsMigrationSource, directory, userSessionsDirectory } from '../../lib/migrations.ts'
import { fails, openPlace, prints, run } from '../fixtures/command.ts'
import { createDatabase, type DatabaseName, databases, missing } from '../fixtures/databases.ts'
import { allauthStatements, readSchema } from '../fixtures/schema.ts'

const TABLE = 'usersessions_usersession'

async function open(t: Test, name: DatabaseName): Promise<Knex> {
  const knex = createKnex(await createDatabase(t, name))
  t.teardown(() => knex.destroy())
  return knex
}

/** The types of the column user_id that Django makes of a foreign key to such users, in the words of the database. */
const USER_ID_COLUMNS: Record<DatabaseName, Record<'bigint' | 'uuid' | 'text', string>> = {
  sqlite: { bigint: 'bigint', uuid: 'char(32)', text: 'varchar(255)' },
  postgres: { bigint: 'bigint', uuid: 'uuid', text: 'character varying' },
  mariadb: { bigint: 'bigint', uuid: 'uuid', text: 'varchar' }
}

async function typeOfUserId(knex: Knex): Promise<string> {
  const { user_id } = (await knex(TABLE).columnInfo()) as unknown as Record<string, { type: string; maxLength: string | number }>
  return knex.client.driverName === 'better-sqlite3' && user_id?.maxLength ? `${user_id.type}(${user_id.maxLength})` : String(user_id?.type)
}

for (const name of databases) {
  t.test(`the table of user sessions on ${name}`, { skip: missing(name) }, async (t) => {
    t.test('is the one that django-allauth makes, and rollback drops it', async (t) => {
      const { knex, database } = await openPlace(t, name)
      for (const statement of allauthStatements[name]) await knex.raw(statement)
      const allauths = await readSchema(knex, TABLE)
      t.not(allauths, null)
      await knex.schema.dropTable(TABLE)

      const args = ['--user-sessions', ...database]
      prints(t, await run(['migrate', '--user-id', 'bigint', ...args]), `Created the table ${TABLE}.`)
      t.strictSame(await readSchema(knex, TABLE), { ...allauths, comment: 'created by fastify-django-sessions' })
      prints(t, await run(['migrate', '--user-id', 'bigint', ...args]), 'Nothing to migrate.')
      t.notOk(await knex.schema.hasTable('django_session'), 'the table of sessions has a list of its own')
      prints(t, await run(['rollback', ...args]), `Dropped the table ${TABLE}.`)
      t.equal(await readSchema(knex, TABLE), null)
      prints(t, await run(['rollback', ...args]), 'Nothing to roll back.')
    })

    t.test('stays as it is where django-allauth made it', async (t) => {
      const { knex, database } = await openPlace(t, name)
      for (const statement of allauthStatements[name]) await knex.raw(statement)
      const before = await readSchema(knex, TABLE)
      const args = ['--user-sessions', ...database]
      prints(t, await run(['migrate', '--user-id', 'bigint', ...args]), `The table ${TABLE} exists already, and is left alone.`)
      prints(t, await run(['rollback', ...args]), `The table ${TABLE} was not created by migrate, and is left alone.`)
      t.strictSame(await readSchema(knex, TABLE), before)
    })

    t.test('stays once Django has adopted it by --fake-initial', async (t) => {
      const { knex, database } = await openPlace(t, name)
      const args = ['--user-sessions', ...database]
      await run(['migrate', '--user-id', 'bigint', ...args])
      await knex.schema.createTable('django_migrations', (table) => {
        table.string('app')
        table.string('name')
      })
      await knex('django_migrations').insert({ app: 'usersessions', name: '0001_initial' })
      fails(t, await run(['rollback', ...args]), 1, /stays: Django has adopted it, .+ run manage\.py migrate usersessions zero/)
      t.not(await readSchema(knex, TABLE), null)
    })

    for (const userId of ['bigint', 'uuid', 'text'] as const) {
      t.test(`has a column for users whose primary key is a ${userId}`, async (t) => {
        const knex = await open(t, name)
        await knex.migrate.latest({ migrationSource: createUserSessionsMigrationSource({ userId }) })
        t.equal(await typeOfUserId(knex), USER_ID_COLUMNS[name][userId])
      })
    }

    t.test("comes with an application's own migrations, by its folder", async (t) => {
      const knex = await open(t, name)
      await knex.migrate.latest({ directory: [directory, userSessionsDirectory] })
      t.ok(await knex.schema.hasTable('django_session'))
      t.not(await readSchema(knex, TABLE), null)
      await knex.migrate.rollback({ directory: [directory, userSessionsDirectory] })
      t.equal(await readSchema(knex, TABLE), null)
    })

    t.test('is refused where a table of that name has other columns', async (t) => {
      const { knex, database } = await openPlace(t, name)
      await knex.schema.createTable(TABLE, (table) => table.string('session_key'))
      const result = await run(['migrate', '--user-sessions', '--user-id', 'bigint', ...database])
      fails(t, result, 1, /has no column id: it is no table of django-allauth's user sessions/)
    })
  })
}

t.test('command lines that do not say which table, or which users', async (t) => {
  const { database } = await openPlace(t, 'sqlite')
  for (const [args, message] of [
    [['migrate', '--user-sessions'], /--user-id: expected the type of the primary key of users, bigint, uuid, text, got nothing/],
    [['migrate', '--user-sessions', '--user-id', 'int'], /--user-id: expected .+, got "int"/],
    [['migrate', '--user-id', 'uuid'], /--user-id needs --user-sessions/],
    [['migrate', '--user-sessions', '--user-id', 'uuid', '--table', 'shop'], /either --table NAME or --user-sessions/],
    [['rollback', '--user-id', 'uuid'], /--user-id is an option of migrate, not of rollback/]
  ] as const) {
    fails(t, await run([...args, ...database]), 2, message)
  }
  t.throws(() => createUserSessionsMigrationSource({ userId: 'int' as 'text' }), { message: /one of bigint, uuid, text, got int/ })
})
