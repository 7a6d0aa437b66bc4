/** The option `verify`: what is looked at when an application starts. */
import { createServer, type Socket } from 'node:net'
import createKnex, { type Knex } from 'knex'
import t, { type Test } from 'tap'
import type { SessionOptions } from '../lib/index.ts'
import { migrationSource } from '../lib/migrations.ts'
import { createApp } from './fixtures/app.ts'
import { createDatabase, databases, missing, openDatabase } from './fixtures/databases.ts'
import { freePort } from './fixtures/servers.ts'

const CODE = 'FST_SESSION_TABLE_MISMATCH'

const start = async (t: Test, options: Partial<SessionOptions>) => {
  const { app, logs } = await createApp(t, options)
  return { ready: Promise.resolve(app.ready()), warnings: () => logs.filter(({ level }) => level === 40) }
}

t.test('a missing table in memory is told how to create it, since no command can', async (t) => {
  for (const [userSessions, source] of [
    [false, 'migrationSource'],
    [true, 'createUserSessionsMigrationSource()']
  ] as const) {
    const knex = createKnex({ client: 'better-sqlite3', connection: { filename: ':memory:' }, useNullAsDefault: true })
    t.teardown(() => knex.destroy())
    if (userSessions) await knex.migrate.latest({ migrationSource })
    const { ready } = await start(t, { knex, userSessions })
    const remedy = `: the database is in memory. Create it by knex.migrate.latest({ migrationSource }) on the Knex instance in the option knex, with ${source} of fastify-django-sessions/migrations, or`
    await t.rejects(ready, { code: CODE, message: new RegExp(remedy.replaceAll(/[.(){}]/g, '\\$&')) })
  }
})

for (const name of databases) {
  t.test(`on ${name}`, { skip: missing(name) }, async (t) => {
    t.test('an application with the table starts, and logs nothing', async (t) => {
      const { ready, warnings } = await start(t, { knex: await openDatabase(t, name) })
      await ready
      t.strictSame(warnings(), [])
    })

    t.test('a missing table fails ready(), in the words of the remedy', async (t) => {
      const { ready } = await start(t, { knex: await createDatabase(t, name) })
      await t.rejects(ready, {
        code: CODE,
        message:
          'Sessions cannot be stored: there is no table django_session: create it with npx fastify-django-sessions migrate, or manage.py migrate where Django shares it, or correct the option tableName'
      })
    })

    t.test('a wrong name of the table fails ready(), and verify: false does not look', async (t) => {
      const knex = await openDatabase(t, name)
      const { ready } = await start(t, { knex, tableName: 'sessions' })
      await t.rejects(ready, { code: CODE, message: /there is no table sessions: / })
      const other = await start(t, { knex, tableName: 'sessions', verify: false })
      await other.ready
      t.strictSame(other.warnings(), [])
    })

    t.test('all missing columns are named, and further columns do not matter', async (t) => {
      const knex = await openDatabase(t, name)
      await knex.schema.createTable('partly', (table) => {
        table.string('session_key')
        table.string('note')
      })
      const { ready } = await start(t, { knex, tableName: 'partly' })
      await t.rejects(ready, { code: CODE, message: /the table partly has no column session_data, expire_date: / })
      await knex.schema.alterTable('django_session', (table) => table.string('note'))
      await (await start(t, { knex })).ready
    })

    t.test('a Knex instance that maps names and results makes no difference', async (t) => {
      const plain = await openDatabase(t, name)
      const { client, connection, useNullAsDefault } = plain.client.config
      const knex = createKnex({
        client,
        connection,
        useNullAsDefault,
        postProcessResponse: () => [],
        wrapIdentifier: (value, wrap) => wrap(`app_${value}`)
      })
      t.teardown(() => knex.destroy())
      const { ready, warnings } = await start(t, { knex })
      await ready
      t.strictSame(warnings(), [])
    })

    t.test('a view of the table is as good', async (t) => {
      const knex = await openDatabase(t, name)
      await knex.raw('CREATE VIEW live_sessions AS SELECT session_key, session_data, expire_date FROM django_session')
      await (await start(t, { knex, tableName: 'live_sessions' })).ready
    })
  })
}

t.test('a table in another schema is found by its name with the schema', { skip: missing('postgres') }, async (t) => {
  const knex = await openDatabase(t, 'postgres')
  await knex.raw('CREATE SCHEMA app')
  await knex.raw('ALTER TABLE django_session SET SCHEMA app')
  await t.rejects((await start(t, { knex })).ready, { code: CODE, message: /there is no table django_session: / })
  await (await start(t, { knex, tableName: 'app.django_session' })).ready
  const onPath = createKnex({ client: 'pg', connection: knex.client.config.connection, searchPath: ['app'] })
  t.teardown(() => onPath.destroy())
  await (await start(t, { knex: onPath })).ready
})

t.test('a table of another database is found by its name with the database', { skip: missing('mariadb') }, async (t) => {
  const knex = await openDatabase(t, 'mariadb')
  const other = await openDatabase(t, 'mariadb')
  const { database } = knex.client.config.connection as { database: string }
  await other.raw('DROP TABLE django_session')
  await t.rejects((await start(t, { knex: other })).ready, { code: CODE })
  await (await start(t, { knex: other, tableName: `${database}.django_session` })).ready
})

for (const [client, protocol] of Object.entries({ pg: 'postgres', mysql2: 'mysql' })) {
  const knexOf = (port: number): Knex.Config => ({ client, connection: `${protocol}://user:secret-word@127.0.0.1:${port}/name` })

  t.test(`${client}: an application starts before its database, with one warning`, async (t) => {
    const { ready, warnings } = await start(t, { knex: knexOf(await freePort()) })
    await ready
    t.match(warnings(), [
      {
        msg: 'The table of sessions was not verified: the application starts without its database',
        err: { code: 'FST_SESSION_STORE_UNAVAILABLE' }
      }
    ])
    t.equal(warnings().length, 1)
    t.notMatch(JSON.stringify(warnings()), /secret-word/)
  })

  t.test(`${client}: a database that hangs holds up the start for a second at most`, async (t) => {
    const sockets: Socket[] = []
    const silent = createServer((socket) => sockets.push(socket.on('error', () => {}))).listen(0, '127.0.0.1')
    t.teardown(() => silent.close())
    await new Promise((resolve) => silent.once('listening', resolve))
    const began = performance.now()
    const { ready, warnings } = await start(t, { knex: knexOf((silent.address() as { port: number }).port), storeTimeout: 3 })
    await ready
    t.ok(performance.now() - began < 3000, 'sooner than by storeTimeout')
    t.match(warnings(), [{ err: { message: /it cannot be reached|no connection became free in time/ } }])
    for (const socket of sockets) socket.destroy()
  })
}

t.test('engines without a table have nothing to verify', async (t) => {
  const knex = await createDatabase(t, 'sqlite')
  for (const engine of ['file', 'signed_cookies'] as const) {
    await (await start(t, { engine, knex })).ready
  }
})
