import { pathToFileURL } from 'node:url'
import createKnex from 'knex'
import t from 'tap'
import { migrationSource } from '../../lib/migrations.ts'
import { fails, openPlace, prints, run } from '../fixtures/command.ts'
import { databases, missing } from '../fixtures/databases.ts'
import { djangoStatements, readSchema } from '../fixtures/schema.ts'

const NAME = '20261121000000_create_django_session.js'

for (const name of databases) {
  t.test(`on ${name}`, { skip: missing(name) }, async (t) => {
    t.test('migrate creates the table, rollback drops it, and each is done once', async (t) => {
      const { knex, database } = await openPlace(t, name)
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
      const { knex, database } = await openPlace(t, name)
      for (const statement of djangoStatements[name]) await knex.raw(statement)
      const before = await readSchema(knex)
      prints(t, await run(['migrate', ...database]), 'The table django_session exists already, and is left alone.')
      prints(t, await run(['rollback', ...database]), 'The table django_session was not created by migrate, and is left alone.')
      t.strictSame(await readSchema(knex), before)
    })

    t.test('a table that Django has adopted stays', async (t) => {
      const { knex, database } = await openPlace(t, name)
      await run(['migrate', ...database])
      await knex.schema.createTable('django_migrations', (table) => {
        table.string('app')
        table.string('name')
      })
      await knex('django_migrations').insert({ app: 'auth', name: '0001_initial' })
      prints(t, await run(['rollback', ...database]), 'Dropped the table django_session.')
      await run(['migrate', ...database])
      await knex('django_migrations').insert({ app: 'sessions', name: '0001_initial' })
      const before = await readSchema(knex)
      const refusal = /The table django_session stays: Django has adopted it, .+ run manage\.py migrate sessions zero/
      fails(t, await run(['rollback', ...database]), 1, refusal)
      t.strictSame(await readSchema(knex), before)
      await t.rejects(
        migrationSource.getMigration(NAME).then(({ down }) => down?.(knex)),
        { message: refusal },
        'by Knex too'
      )

      prints(t, await run(['migrate', '--table', 'others', ...database]), 'Created the table others.')
      prints(t, await run(['rollback', '--table', 'others', ...database]), 'Dropped the table others.')
    })

    t.test('a table of another name, beside django_session', async (t) => {
      const { knex, database } = await openPlace(t, name)
      await run(['migrate', ...database])
      const args = ['--table', 'shop_session', ...database]
      prints(t, await run(['migrate', ...args]), 'Created the table shop_session.')
      prints(t, await run(['migrate', ...args]), 'Nothing to migrate.')
      const report = await run(['check', '--json', ...args], {
        env: { SECRET_KEY: '0123456789abcdefghijklmnopqrstuvwxyz-0123456789-abcdefghijkl' }
      })
      t.strictSame(
        JSON.parse(report.stdout).findings.filter(({ status }: { status: string }) => status !== 'ok'),
        []
      )
      prints(t, await run(['rollback', ...args]), 'Dropped the table shop_session.')
      t.ok(await knex.schema.hasTable('django_session'))
      prints(t, await run(['migrate', ...args]), 'Created the table shop_session.')
    })

    t.test('a table of that name that is no session table is an error', async (t) => {
      const { knex, database } = await openPlace(t, name)
      await knex.schema.createTable('django_session', (table) => table.string('session_key'))
      fails(t, await run(['migrate', ...database]), 1, /has no column session_data.+Rename or drop it/)
    })

    t.test('a table of user sessions for ids of another type is an error', async (t) => {
      const { database } = await openPlace(t, name)
      for (const [type, other] of [
        ['bigint', 'uuid'],
        ['uuid', 'text'],
        ['text', 'bigint']
      ] as const) {
        const migrate = (userId: string) => run(['migrate', '--user-sessions', '--user-id', userId, ...database])
        prints(t, await migrate(type), 'Created the table usersessions_usersession.')
        const message = new RegExp(
          `its column user_id is .+, which does not fit --user-id ${other}: give --user-id ${type}, or drop the table`
        )
        fails(t, await migrate(other), 1, message)
        prints(t, await migrate(type), 'Nothing to migrate.')
        prints(t, await run(['rollback', '--user-sessions', ...database]), 'Dropped the table usersessions_usersession.')
      }
    })

    t.test('a lock that was left behind is an error that says how to free it', async (t) => {
      const { knex, database } = await openPlace(t, name)
      await run(['migrate', ...database])
      await knex('django_session_migrations_lock').update({ is_locked: 1 })
      const result = await run(['rollback', ...database])
      fails(t, result, 1, /another migration is running/)
      await knex.raw(/DROP TABLE .*/.exec(result.stderr)?.[0] as string)
      prints(t, await run(['rollback', ...database]), 'Dropped the table django_session.')
    })
  })
}

t.test('of several that run at once one migrates, and none leaves a lock behind', { skip: missing('postgres') }, async (t) => {
  const { knex, database } = await openPlace(t, 'postgres')
  const results = await Promise.all(Array.from({ length: 4 }, () => run(['migrate', ...database])))
  t.ok(results.some(({ stdout }) => stdout.includes('Created the table django_session.')))
  t.strictSame(await knex('django_session_migrations_lock').select('is_locked'), [{ is_locked: 0 }])
  prints(t, await run(['migrate', ...database]), 'Nothing to migrate.')
})

t.test('a SQLite file', async (t) => {
  const folder = t.testdir()
  for (const [form, url, name] of [
    ['sqlite:', `sqlite:${folder}/b.sqlite3`, 'b.sqlite3'],
    ['sqlite:////', `sqlite:///${pathToFileURL(`${folder}/c.sqlite3`).pathname}`, 'c.sqlite3'],
    ['file:', pathToFileURL(`${folder}/d d.sqlite3`).href, 'd d.sqlite3']
  ] as const) {
    const filename = `${folder}/${name}`
    prints(t, await run(['migrate', '--database-url', url]), `Created the table django_session in the new file ${filename}.`)
    const knex = createKnex({ client: 'better-sqlite3', connection: { filename }, useNullAsDefault: true })
    t.teardown(() => knex.destroy())
    t.not(await readSchema(knex), null, form)
  }
})

t.test('a SQLite file in a folder that does not exist', async (t) => {
  const folder = `${t.testdir()}/none`
  const result = await run(['migrate', '--database-url', `sqlite:${folder}/a.sqlite3`])
  fails(t, result, 1, /: the folder .+ of the SQLite file does not exist: check the path\n/)
  t.ok(result.stderr.includes(folder))
})

t.test('a table in another schema', { skip: missing('postgres') }, async (t) => {
  const { knex, database } = await openPlace(t, 'postgres')
  await knex.raw('CREATE SCHEMA shop')
  const args = ['--table', 'shop.sessions', ...database]
  prints(t, await run(['migrate', ...args]), 'Created the table shop.sessions.')
  prints(t, await run(['migrate', ...args]), 'Nothing to migrate.')
  prints(t, await run(['clearsessions', ...args]), 'Removed 0 expired sessions.')
  const { rows } = await knex.raw("SELECT tablename FROM pg_tables WHERE schemaname IN ('shop', 'public') ORDER BY 1")
  t.strictSame(
    rows.map(({ tablename }: { tablename: string }) => tablename),
    ['sessions', 'sessions_migrations', 'sessions_migrations_lock']
  )
  prints(t, await run(['rollback', ...args]), 'Dropped the table shop.sessions.')
})
