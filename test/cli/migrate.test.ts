import { pathToFileURL } from 'node:url'
import createKnex from 'knex'
import t from 'tap'
import { fails, openPlace, prints, run } from '../fixtures/command.ts'
import { databases, missing } from '../fixtures/databases.ts'
import { djangoStatements, readSchema } from '../fixtures/schema.ts'

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
      prints(t, await run(['migrate', ...database]), 'The table django_session was there already, and stays.')
      prints(t, await run(['rollback', ...database]), 'The table django_session was not made by migrate, and stays.')
      t.strictSame(await readSchema(knex), before)
    })

    t.test('a table of that name that is no session table is an error', async (t) => {
      const { knex, database } = await openPlace(t, name)
      await knex.schema.createTable('django_session', (table) => table.string('session_key'))
      fails(t, await run(['migrate', ...database]), 1, /has no column session_data.+Rename or drop it/)
    })

    t.test('a lock that was left behind is an error that says how to free it', async (t) => {
      const { knex, database } = await openPlace(t, name)
      await run(['migrate', ...database])
      await knex('django_session_migrations_lock').update({ is_locked: 1 })
      const result = await run(['rollback', ...database])
      fails(t, result, 1, /another migration is under way/)
      await knex.raw(/UPDATE .*/.exec(result.stderr)?.[0] as string)
      prints(t, await run(['rollback', ...database]), 'Dropped the table django_session.')
    })
  })
}

t.test('a SQLite file', async (t) => {
  const folder = t.testdir()
  for (const [form, url, name] of [
    ['a path', `${folder}/a.sqlite3`, 'a.sqlite3'],
    ['sqlite:', `sqlite:${folder}/b.sqlite3`, 'b.sqlite3'],
    ['sqlite://', `sqlite://${folder}/c.sqlite3`, 'c.sqlite3'],
    ['file:', pathToFileURL(`${folder}/d d.sqlite3`).href, 'd d.sqlite3']
  ] as const) {
    prints(t, await run(['migrate', '--database-url', url]), 'Created the table django_session.')
    const filename = `${folder}/${name}`
    const knex = createKnex({ client: 'better-sqlite3', connection: { filename }, useNullAsDefault: true })
    t.teardown(() => knex.destroy())
    t.not(await readSchema(knex), null, form)
  }
})
