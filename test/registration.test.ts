/** Wrong databases and weak secret keys are found when the plugin is registered. */
import { createRequire } from 'node:module'
import Fastify from 'fastify'
import createKnex, { type Knex } from 'knex'
import t, { type Test } from 'tap'
import sessions, { type EngineClass, type SessionOptions } from '../lib/index.ts'
import { createApp, secretKey } from './fixtures/app.ts'

const require = createRequire(import.meta.url)

/** Knex's own class of a client, as applications extend it. */
type Client = new (config: Knex.Config) => { driverName: string; destroy(done?: () => void): Promise<void> }
const SqliteClient: Client = require('knex/lib/dialects/better-sqlite3/index.js')

const sqlite = { client: 'better-sqlite3', connection: { filename: ':memory:' } }

/** Why a registration fails; null when it does not. */
async function failure(t: Test, options: Partial<SessionOptions>, app = Fastify()): Promise<(Error & { code?: string }) | null> {
  t.teardown(() => app.close())
  return app.register(sessions, { secretKey, ...options } as SessionOptions).then(
    () => null,
    (error) => error
  )
}

/** The problems that a registration fails with, one line each. */
const problemsOf = async (t: Test, options: Partial<SessionOptions>) => (await failure(t, options))?.message.split('\n').slice(1) ?? []

t.test('an unsupported Knex client is refused, with the driver to install', async (t) => {
  const expected = '- knex.client: expected pg, better-sqlite3 or mysql2, got'
  for (const [client, driver] of Object.entries({
    sqlite3: 'better-sqlite3',
    sqlite: 'better-sqlite3',
    'better-sqlite': 'better-sqlite3',
    mysql: 'mysql2',
    mariadb: 'mysql2',
    MySQL2: 'mysql2',
    'pg-native': 'pg',
    pgnative: 'pg',
    PG: 'pg'
  })) {
    const advice = `install ${driver} and use client: '${driver}'`
    t.strictSame(await problemsOf(t, { knex: { client } }), [`${expected} ${JSON.stringify(client)}: ${advice}`])
  }
  t.strictSame(await problemsOf(t, { knex: { client: 'mssql' } }), [`${expected} "mssql"`])
  t.strictSame(await problemsOf(t, { knex: { client: null as unknown as string } }), [`${expected} null`])
})

t.test("Knex's other names of pg are accepted", async (t) => {
  for (const client of ['postgres', 'postgresql']) t.strictSame(await problemsOf(t, { knex: { client, connection: {} } }), [])
})

t.test('a Knex instance with an unsupported client is refused', async (t) => {
  class Other extends SqliteClient {
    override driverName = 'sqlite3'
  }
  const knex = createKnex({ ...sqlite, client: Other as unknown as typeof Knex.Client, useNullAsDefault: true })
  t.teardown(() => knex.destroy())
  t.match(await problemsOf(t, { knex }), [/^- knex\.client: .*got "sqlite3": install better-sqlite3 and use/])
})

t.test('a knexfile with environments is told which part to pass', async (t) => {
  const knexfile = { development: sqlite, production: { client: 'pg' } }
  t.strictSame(await problemsOf(t, { knex: knexfile as Knex.Config }), [
    '- knex: expected a configuration, got a knexfile that has no client: pass knexfile.development or knexfile.production'
  ])
  t.strictSame(await problemsOf(t, { knex: { client: 'pg' } }), ['- knex.connection: expected the database to connect to, got nothing'])
  t.match(await problemsOf(t, { knex: { connection: {} } }), [/^- knex: expected a Knex instance .*, got an object that has no client$/])
})

t.test('the package of a driver that is missing is named', async (t) => {
  class Uninstalled extends SqliteClient {
    _driver() {
      return require('no-such-driver')
    }
  }
  const knex = { ...sqlite, client: Uninstalled as unknown as typeof Knex.Client, log: { error() {} } }
  t.match(await failure(t, { knex }), { message: 'the package better-sqlite3 is missing: npm install better-sqlite3' })
})

t.test('connection URLs', async (t) => {
  t.test('a % in the password that is not encoded is named, without the password', async (t) => {
    const error = await failure(t, { knex: { client: 'mysql2', connection: 'mysql://user:100%secret@127.0.0.1/name' } })
    t.match(error, { message: /write %25 for a % in its user or password/ })
    t.notMatch(error?.stack, /secret@/)
  })

  for (const client of ['pg', 'mysql2']) {
    t.test(`the host [::1] is reached by its address with ${client}`, async (t) => {
      const { app, logs } = await createApp(t, { knex: { client, connection: `${client}://user@[::1]:1/name` } })
      await app.ready()
      t.match(
        logs.filter(({ level }) => level === 40),
        [{ err: { message: /ECONNREFUSED/ } }]
      )
    })
  }
})

t.test('a registration that fails closes the connections of its configuration', async (t) => {
  let destroyed = 0
  class Counted extends SqliteClient {
    override destroy(done?: () => void) {
      destroyed++
      return super.destroy(done)
    }
  }
  const knex = { ...sqlite, client: Counted as unknown as typeof Knex.Client }
  class Broken {
    constructor() {
      throw new Error('no engine')
    }
  }
  t.match(await failure(t, { knex, engine: Broken as unknown as EngineClass }), { message: 'no engine' })
  t.equal(destroyed, 1, 'an engine that cannot be made')

  class Renamed extends Counted {
    override driverName = 'sqlite3'
  }
  const renamed = { ...knex, client: Renamed as unknown as typeof Knex.Client }
  t.match(await failure(t, { knex: renamed }), { code: 'FST_SESSION_INVALID_OPTIONS' })
  t.equal(destroyed, 2, 'a client that is not supported')

  const app = Fastify()
  app.decorate<unknown>('sessions', 1)
  t.match(await failure(t, { knex }, app), { code: 'FST_ERR_DEC_ALREADY_PRESENT' })
  await app.close()
  t.equal(destroyed, 3, 'a decorator that exists: with app.close()')
})

/** The log's lines about keys at the registration. */
async function warnings(t: Test, options: Partial<SessionOptions>): Promise<unknown[]> {
  const { logs } = await createApp(t, { engine: 'signed_cookies', ...options })
  return logs.filter(({ level }) => level === 40).map(({ msg }) => msg)
}

const ADVICE = 'Use at least 50 random characters'
const STRONG = '0123456789abcdefghijklmnopqrstuvwxyz-0123456789-abc'

t.test('a weak secret key is one warning, which shows no key', async (t) => {
  t.strictSame(await warnings(t, { secretKey: STRONG, secretKeyFallbacks: [STRONG] }), [])
  t.strictSame(await warnings(t, { secretKey: STRONG.slice(0, 49) }), [
    `A secret key may be guessed: secretKey is shorter than 50 characters. ${ADVICE}`
  ])
  t.strictSame(await warnings(t, { secretKey: 'abcd'.repeat(13) }), [
    `A secret key may be guessed: secretKey has fewer than 5 different characters. ${ADVICE}`
  ])
  t.strictSame(await warnings(t, { secretKey: 'short', secretKeyFallbacks: [STRONG, `django-insecure-${STRONG}`] }), [
    `A secret key may be guessed: secretKey is shorter than 50 characters; secretKeyFallbacks[1] starts with django-insecure-, as a key that Django generates for development. ${ADVICE}`
  ])
})

t.test('the key of the documentation is silent in development, and refused in production', async (t) => {
  const { NODE_ENV } = process.env
  t.teardown(() => {
    if (NODE_ENV === undefined) delete process.env.NODE_ENV
    else process.env.NODE_ENV = NODE_ENV
  })
  process.env.NODE_ENV = 'development'
  t.strictSame(await warnings(t, { secretKey: 'for development only' }), [])
  process.env.NODE_ENV = 'production'
  const refusal = 'expected a key of your own in production, got the key in the documentation'
  t.strictSame(await problemsOf(t, { engine: 'signed_cookies', secretKey: 'for development only' }), [`- secretKey: ${refusal}`])
  t.strictSame(await problemsOf(t, { engine: 'signed_cookies', secretKeyFallbacks: [STRONG, 'for development only'] }), [
    `- secretKeyFallbacks: ${refusal}`
  ])
  t.match(await warnings(t, { secretKey: 'for development' }), [/secretKey is shorter than 50 characters/], 'others are a warning')
})

t.test('a blank secret key is refused', async (t) => {
  for (const blank of [' ', '\n', '\t \u00a0']) {
    t.strictSame(await problemsOf(t, { engine: 'signed_cookies', secretKey: blank, secretKeyFallbacks: [blank] }), [
      '- secretKey: expected a string that is not blank, got a string',
      '- secretKeyFallbacks: expected an array of strings that are not blank, got an array of 1'
    ])
  }
})
