/** What is special about MariaDB and MySQL; what holds for every database is tested where it loops over them. */
import createKnex, { type Knex } from 'knex'
import { createPool } from 'mysql2'
import t, { type Test } from 'tap'
import type { SessionRecord } from '../lib/contract.ts'
import type { Columns } from '../lib/database/columns.ts'
import { ExpiredSessions } from '../lib/database/expired-sessions.ts'
import { deadlineIn } from '../lib/deadline.ts'
import { migrationSource } from '../lib/migrations.ts'
import { plain } from '../lib/testing/engine-contract.ts'
import { engineContract } from '../lib/testing.ts'
import { createDatabase, holdUpdates, missing, openDatabase, recordQueries, waitsForLock } from './fixtures/databases.ts'
import { createDbEngine, createRows, createTable, soon } from './fixtures/tables.ts'
import { unhurried } from './fixtures/unhurried.ts'

const skip = missing('mariadb')

const NOW = new Date('2026-01-02T03:04:05.678Z')
const LATER = new Date('2026-01-16T03:04:05.678Z')

const record = (text: string, expireDate = LATER): SessionRecord => ({ sessionData: text, expireDate, data: () => ({ text }) })

const engineOn = (knex: Knex, clock = () => NOW, preparedStatements = false) =>
  unhurried(createDbEngine(knex, clock, { preparedStatements }))

interface Setting {
  /** Options of the driver. */
  driver?: Record<string, unknown>
  /** Sent on each new connection. */
  session?: string
  /** Of the database when it is migrated. */
  collation?: string
}

/** A connection as mysql2 gives it to Knex. */
interface Connection {
  threadId: number
  query(sql: string, done: (error: Error | null) => void): void
}

/** A migrated database, and another Knex instance on it that is set up otherwise. */
async function openWith(t: Test, { driver = {}, session, collation }: Setting): Promise<Knex> {
  const config = await createDatabase(t, 'mariadb')
  const plain = createKnex(config)
  if (collation !== undefined) await plain.raw(`ALTER DATABASE CHARACTER SET ${collation.split('_')[0]} COLLATE ${collation}`)
  await plain.migrate.latest({ migrationSource })
  await plain.destroy()
  const afterCreate = (connection: Connection, done: (error: Error | null, connection: Connection) => void) => {
    if (session === undefined) done(null, connection)
    else connection.query(session, (error) => done(error, connection))
  }
  const knex = createKnex({
    ...config,
    connection: { uri: config.connection, ...driver } as object,
    pool: { min: 0, max: 10, afterCreate }
  })
  t.teardown(() => knex.destroy())
  return knex
}

/** Statements on a connection, past every setting of Knex. */
async function rowsOf(knex: Knex, sql: string, bindings: unknown[] = []): Promise<Record<string, unknown>[]> {
  const connection = await knex.client.acquireConnection()
  try {
    const { response } = await knex.client.query(connection, { sql, bindings })
    return response[0]
  } finally {
    await knex.client.releaseConnection(connection)
  }
}

/** A Knex instance on the same database with one connection, and the server's number of it. */
async function openSingle(t: Test, config: Knex.Config): Promise<{ knex: Knex; threadId: number }> {
  const knex = createKnex({ ...config, pool: { min: 0, max: 1 } })
  t.teardown(() => knex.destroy())
  const [{ id }] = (await rowsOf(knex, 'SELECT CONNECTION_ID() AS id')) as [{ id: number }]
  return { knex, threadId: id }
}

const settings: Record<string, Setting> = {
  'a session in the time zone +05:30': { session: "SET time_zone = '+05:30'" },
  'a session in the time zone +13:00': { session: "SET time_zone = '+13:00'" },
  'dateStrings: true': { driver: { dateStrings: true } },
  "timezone: '+09:00'": { driver: { timezone: '+09:00' } },
  "timezone: 'Z' and a session behind UTC": { driver: { timezone: 'Z' }, session: "SET time_zone = '-11:00'" },
  'typeCast: false': { driver: { typeCast: false } },
  'a typeCast of its own': { driver: { typeCast: () => 'something else' } },
  'rowsAsArray: true': { driver: { rowsAsArray: true } },
  'nestTables: true': { driver: { nestTables: true } },
  "nestTables: '_'": { driver: { nestTables: '_' } },
  'multipleStatements: true': { driver: { multipleStatements: true } },
  'disableEval: true': { driver: { disableEval: true, nestTables: true, typeCast: () => 'something else' } },
  'bigNumberStrings: true': { driver: { supportBigNumbers: true, bigNumberStrings: true } },
  'namedPlaceholders: true': { driver: { namedPlaceholders: true } },
  'changed rows counted in place of matched ones': { driver: { flags: ['-FOUND_ROWS'] } },
  'the character set latin1': { driver: { charset: 'latin1' } },
  'NO_BACKSLASH_ESCAPES and ANSI_QUOTES': { session: "SET sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES'" },
  'a lax sql_mode': { session: "SET sql_mode = ''" },
  'a database in latin1_swedish_ci': { collation: 'latin1_swedish_ci' },
  'a database in utf8mb3_general_ci': { collation: 'utf8mb3_general_ci' },
  'a database in utf8mb4_unicode_ci': { collation: 'utf8mb4_unicode_ci' },
  'a database in utf8mb4_bin': { collation: 'utf8mb4_bin' }
}

for (const [name, setting] of Object.entries(settings)) {
  t.test(`with ${name}`, { skip }, async (t) => {
    const knex = await openWith(t, setting)
    for (const prepared of [false, true]) {
      t.test(prepared ? 'prepared statements' : 'plain statements', async (t) => {
        for (const { name, run } of engineContract)
          await t.test(name, () => run((clock) => createDbEngine(knex, clock, { preparedStatements: prepared })))
      })
    }

    t.test('dates are stored and read in UTC, as Django does', async (t) => {
      const engine = engineOn(knex)
      const sessionKey = await engine.create(record('text'))
      const stored = async () => {
        const [row] = await rowsOf(
          createKnexOn(t, knex),
          'SELECT CAST(expire_date AS CHAR) AS text FROM django_session WHERE session_key = ?',
          [sessionKey]
        )
        return row?.text
      }
      t.match(await stored(), /^2026-01-16 03:04:05\.677(?!000)\d{3}$/, 'some microseconds before the millisecond')
      const microseconds = String(await stored()).slice(-3)
      await engine.touch(sessionKey, new Date('2026-03-29T01:30:00.001Z'), 'text')
      t.equal(await stored(), `2026-03-29 01:30:00.000${microseconds}`, 'which a renewal keeps')
      const newKey = await engine.cycleKey(sessionKey, new Date('2026-10-25T01:30:00.002Z'), 'text')
      t.strictSame(plain(await engine.load(String(newKey))), { sessionData: 'text', expireDate: new Date('2026-10-25T01:30:00.002Z') })
      await createKnexOn(t, knex).raw(`INSERT INTO django_session VALUES ('djangosownsession', 'text', '2026-01-02 03:04:05.678901')`)
      t.strictSame(plain(await engine.load('djangosownsession')), { sessionData: 'text', expireDate: new Date(NOW.getTime() + 1) })
    })

    t.test('clearExpired() removes what has ended, and nothing else', async (t) => {
      const engine = engineOn(knex)
      await engine.clearExpired()
      const live = await engine.create(record('live', new Date(NOW.getTime() + 1)))
      await engine.create(record('ended', new Date(NOW.getTime() - 1)))
      t.equal((await engine.clearExpired()).deleted, 1)
      t.equal(await engine.exists(live), true)
    })
  })
}

/** An instance without the settings of another, on its database. */
function createKnexOn(t: Test, knex: Knex): Knex {
  const { uri } = knex.client.config.connection
  const plain = createKnex({ client: 'mysql2', connection: uri })
  t.teardown(() => plain.destroy())
  return plain
}

t.test('keys that only the collation calls equal are different sessions', { skip }, async (t) => {
  const knex = await openDatabase(t, 'mariadb')
  const engine = engineOn(knex)
  const sessionKey = await engine.create(record('text'))
  const [{ same }] = (await knex('django_session').count({ same: '*' }).where('session_key', `${sessionKey.toUpperCase()} `)) as [
    { same: number }
  ]
  t.equal(same, 1, 'the collation of this database ignores case and trailing spaces')
  for (const other of [sessionKey.toUpperCase(), `${sessionKey} `]) {
    t.equal(await engine.load(other), null)
    t.equal(await createTable(knex).find(other), null)
    t.equal(await engine.exists(other), false)
    t.strictSame(await engine.save(other, record('stolen'), 'text'), { outcome: 'gone' })
    t.strictSame(await engine.save(other, record('stolen'), null), { outcome: 'gone' })
    t.strictSame(await engine.saveLocked(other, () => record('stolen')), { outcome: 'gone' })
    t.equal(await engine.touch(other, LATER, 'text'), false)
    t.equal(await engine.cycleKey(other, LATER, 'text'), null)
    await engine.delete(other)
  }
  t.strictSame(plain(await engine.load(sessionKey)), { sessionData: 'text', expireDate: LATER })
})

t.test('texts that only the collation calls equal count as a change', { skip }, async (t) => {
  const knex = await openDatabase(t, 'mariadb')
  const engine = engineOn(knex)
  const sessionKey = await engine.create(record('text'))
  for (const other of ['TEXT', 'text ']) {
    t.match(await engine.save(sessionKey, record('mine'), other), { outcome: 'changed', stored: { sessionData: 'text' } })
    await engine.touch(sessionKey, NOW, other)
    t.strictSame(plain(await engine.load(sessionKey)), { sessionData: 'text', expireDate: LATER })
  }
  const newKey = String(await engine.cycleKey(sessionKey, NOW, 'TEXT'))
  t.strictSame(plain(await engine.load(newKey)), { sessionData: 'text', expireDate: LATER })
})

t.test('no text ends its own string, whatever the sql_mode', { skip }, async (t) => {
  for (const session of ["SET sql_mode = ''", "SET sql_mode = 'NO_BACKSLASH_ESCAPES'"]) {
    const knex = await openWith(t, { session })
    const engine = engineOn(knex)
    const victim = await engine.create(record('of the victim'))
    for (const key of ["x' OR 1=1 -- ", "x\\' OR 1=1 -- ", '\\', "'"]) {
      t.equal(await engine.load(key), null, key)
      await engine.delete(key)
    }
    t.match(await engine.load(victim), { sessionData: 'of the victim' })
    for (const text of ["it's", '\\', "\\'", "''", 'a "quoted" `one`', '\0\b\n\r\t\x1a%_?', '😀 é']) {
      const sessionKey = await engine.create(record(text))
      t.strictSame(plain(await engine.load(sessionKey)), { sessionData: text, expireDate: LATER }, text)
      t.match(await engine.save(sessionKey, record(`${text}${text}`), text), { outcome: 'saved' }, text)
      t.match(await engine.load(sessionKey), { sessionData: `${text}${text}` }, text)
    }
  }
})

t.test('a text of a megabyte is saved over another one', { skip }, async (t) => {
  const engine = engineOn(await openDatabase(t, 'mariadb'))
  const [first, second] = ['first...', 'second..'].map((text) => text.repeat(131_072)) as [string, string]
  const sessionKey = await engine.create(record(first))
  t.match(await engine.save(sessionKey, record(second), first), { outcome: 'saved' })
  t.equal((await engine.load(sessionKey))?.sessionData, second)
})

t.test('no statement reads more of the table than it needs', { skip }, async (t) => {
  const knex = await openDatabase(t, 'mariadb')
  const engine = engineOn(knex)
  const rows = Array.from({ length: 1000 }, (_, index) => ({
    session_key: `key${String(index).padStart(29, '0')}`,
    session_data: 'text',
    expire_date: index < 10 ? '2025-01-01 00:00:00' : '2027-01-01 00:00:00'
  }))
  await knex('django_session').insert(rows)
  await rowsOf(knex, 'ANALYZE TABLE django_session')
  const sent: { sql: string; bindings: unknown[] }[] = []
  knex.on('query', ({ sql, bindings }) => sent.push({ sql, bindings }))
  const key = rows[500]?.session_key as string
  await engine.load(key)
  await engine.exists(key)
  await createTable(knex).find(key)
  await engine.save(key, record('text'), 'text')
  await engine.save(key, record('text'), null)
  await engine.saveLocked(key, () => record('text'))
  await engine.touch(key, LATER, 'text')
  await engine.cycleKey('unknownunknownunknown', LATER, 'text')
  await engine.delete('unknownunknownunknown')
  await new ExpiredSessions(createTable(knex)).delete(new Date('2023-01-01'), new Date('2024-01-01'), 5)
  const statements = sent.filter(({ sql }) => /^(SELECT .* FROM `|UPDATE|DELETE|\/\*M!)/.test(sql))
  t.equal(statements.length, 12)
  for (const { sql, bindings } of statements) {
    const [plan] = await rowsOf(knex, `EXPLAIN ${sql.replace(/^\/\*M!.*?\*\/ /, '')}`, bindings)
    if (plan?.Extra === 'Impossible WHERE noticed after reading const tables') continue
    const isCleanup = sql.startsWith('DELETE') && sql.includes('LIMIT')
    t.match(plan, { key: isCleanup ? 'django_session_expire_date_a5c62663' : 'PRIMARY', type: /^(const|range)$/ }, sql)
    t.ok(Number(plan?.rows) <= 10, `${plan?.rows} rows`)
  }
})

t.test('the key of another row is taken, also in other letters; other errors are errors', { skip }, async (t) => {
  const knex = await openDatabase(t, 'mariadb')
  await knex.raw('ALTER TABLE django_session ADD email varchar(250) UNIQUE, ADD age int')
  const table = createTable(knex)
  const rows = createRows(table)
  const email = "o'PRIMARY'@example.org"
  // The server quotes only the first 192 characters.
  const long = 'not of your concern'.repeat(12)
  t.equal(await rows.insert('thekeyofthesession', record('text'), { email }, soon()), true)
  t.equal(await rows.insert('yetanotherkeyofyetanother', record('text'), { email: long }, soon()), true)
  t.equal(await rows.insert('thekeyofthesession', record('other'), {}, soon()), false)
  t.equal(await rows.insert('THEKEYOFTHESESSION', record('other'), {}, soon()), false)
  t.match(await table.find('thekeyofthesession'), { sessionData: 'text' })
  const errors: [Columns, string][] = [
    [{ email }, 'ER_DUP_ENTRY'],
    [{ age: 'not of your concern' }, 'ER_TRUNCATED_WRONG_VALUE_FOR_FIELD'],
    [{ nosuchcolumn: 'not of your concern' }, 'ER_BAD_FIELD_ERROR'],
    [{ email: 'not of your concern'.repeat(20) }, 'ER_DATA_TOO_LONG'],
    [{ email: long }, 'ER_DUP_ENTRY']
  ]
  for (const [columns, code] of errors) {
    const failure = await rows.insert('anotherkeyofanother', record('text'), columns, soon()).then(
      () => t.fail('no error'),
      (error: Error) => error
    )
    t.match(failure, { code: 'FST_SESSION_STORE_REFUSED', statusCode: 500, cause: { code } })
    const { message, stack, cause } = failure as Error & { cause: Error & { cause: Error } }
    t.notMatch(
      [message, stack, ...[cause, cause.cause].map((error) => `${error.stack} ${error.message} ${JSON.stringify(error)}`)].join('\n'),
      /example|concern|anotherkey/,
      code
    )
  }
  t.equal((await knex('django_session').select()).length, 2)
})

t.test('an error is understood in the language of the server', { skip }, async (t) => {
  for (const language of ['de_DE', 'ja_JP', 'ru_RU']) {
    const rows = createRows(createTable(await openWith(t, { session: `SET lc_messages = '${language}'` })))
    t.equal(await rows.insert('thekeyofthesession', record('text'), {}, soon()), true)
    t.equal(await rows.insert('thekeyofthesession', record('text'), {}, soon()), false, language)
    t.equal(await rows.update('thekeyofthesession', record('text'), {}, 'text', soon()), true, language)
  }
})

t.test('cleanup', { skip }, async (t) => {
  const fill = async (knex: Knex, ended: number) => {
    const row = (index: number) => ({
      session_key: `key${index}`,
      session_data: 'text',
      expire_date: index < ended ? '2025-01-01 00:00:00' : '2027-01-01 00:00:00'
    })
    await knex('django_session').insert(Array.from({ length: ended + 5 }, (_, index) => row(index)))
  }
  const count = async (knex: Knex) => (await knex('django_session').select('session_key')).length

  t.test('takes batches of a thousand, each READ COMMITTED', async (t) => {
    const knex = await openDatabase(t, 'mariadb')
    await fill(knex, 1001)
    const queries = recordQueries(knex)
    t.match(await engineOn(knex).clearExpired(), { deleted: 1001, batches: 2 })
    t.strictSame(
      queries.slice(0, 7).map((sql) => sql.replace(/\(.*/, '')),
      [
        'SELECT CAST',
        'SET TRANSACTION ISOLATION LEVEL READ COMMITTED',
        'START TRANSACTION',
        'SELECT IF',
        'DELETE FROM `django_session` WHERE expire_date >= ? AND expire_date < ? ORDER BY expire_date LIMIT ?',
        'DO RELEASE_LOCK',
        'COMMIT'
      ]
    )
    t.equal(await count(knex), 5)
    const [{ level }] = (await rowsOf(knex, 'SELECT @@tx_isolation AS level')) as [{ level: string }]
    t.equal(level, 'REPEATABLE-READ', 'the connection is as it was')
  })

  t.test('leaves the work to another cleaner of the same table, and not to one of another database', async (t) => {
    const knex = await openDatabase(t, 'mariadb')
    const elsewhere = await openDatabase(t, 'mariadb')
    await fill(knex, 10)
    await fill(elsewhere, 10)
    const other = await openSingle(t, knex.client.config)
    const name = "SHA2(CONCAT_WS('.', DATABASE(), HEX('clearsessions django_session')), 224)"
    await rowsOf(other.knex, `DO GET_LOCK(${name}, 0)`)
    t.match(await engineOn(knex).clearExpired(), { deleted: 0, batches: 0 })
    t.match(await engineOn(elsewhere).clearExpired(), { deleted: 10 })
    await rowsOf(other.knex, `DO RELEASE_LOCK(${name})`)
    t.match(await engineOn(knex).clearExpired({ batchSize: 3 }), { deleted: 10 })
    t.strictSame(await rowsOf(other.knex, `SELECT IS_FREE_LOCK(${name}) AS free`), [{ free: 1 }], 'no connection keeps the lock')
  })

  t.test('that loses a deadlock begins its batch again', async (t) => {
    const knex = await openDatabase(t, 'mariadb')
    await fill(knex, 2)
    const cleaner = await openSingle(t, knex.client.config)
    const rival = await knex.transaction()
    // InnoDB rolls back who has changed least: that is the cleaner.
    await rival('django_session').where('expire_date', '>', '2026-01-01').update({ session_data: 'changed' })
    await rival('django_session').where('session_key', 'key1').update({ session_data: 'changed' })
    const queries = recordQueries(cleaner.knex)
    const cleaning = engineOn(cleaner.knex).clearExpired()
    await waitsForLock(knex)
    await rival('django_session').where('session_key', 'key0').update({ expire_date: '2027-01-01 00:00:00' })
    await rival.commit()
    t.match(await cleaning, { deleted: 1 })
    t.equal(queries.filter((sql) => sql === 'ROLLBACK').length, 1, 'there was a deadlock')
    t.equal((await knex('django_session').select()).length, 6, 'the session that was renewed meanwhile is spared')
  })
})

t.test('a save whose connection the server kills is settled on another connection', { skip }, async (t) => {
  const knex = await openDatabase(t, 'mariadb')
  const sessionKey = await engineOn(knex).create(record('text'))
  const single = await openSingle(t, { ...knex.client.config, log: { warn() {} } })
  const hold = await holdUpdates(knex, 'mariadb')
  const saving = engineOn(single.knex).save(sessionKey, record('other'), 'text')
  await hold.reached()
  await rowsOf(knex, `KILL ${single.threadId}`)
  t.match(await saving, { outcome: 'changed', stored: { sessionData: 'text' } }, 'the row says that nothing was written')
  await hold.release()
  t.match(await engineOn(single.knex).save(sessionKey, record('other'), 'text'), { outcome: 'saved' })
})

t.test('an overdue save ends on the server, also on a pool of the driver', { skip }, async (t) => {
  const config = await createDatabase(t, 'mariadb')
  const direct = createKnex(config)
  await direct.migrate.latest({ migrationSource })
  const pool = createPool(config.connection as string)
  const knex = createKnex({ client: 'mysql2', connectionPool: pool as never })
  t.teardown(async () => {
    await direct.destroy()
    await new Promise((resolve) => pool.end(resolve))
  })
  const engine = createDbEngine(knex, () => NOW)
  const sessionKey = await engine.create(record('text'), soon())
  const hold = await holdUpdates(direct, 'mariadb')
  const saving = engine.save(sessionKey, record('other'), 'text', deadlineIn(1))
  await hold.reached()
  await t.rejects(saving, { code: 'FST_SESSION_STORE_UNAVAILABLE' })
  const isWaiting = async () => {
    const waiting = "SELECT 1 FROM information_schema.processlist WHERE db = DATABASE() AND state = 'User lock'"
    return (await rowsOf(direct, waiting)).length > 0
  }
  while (await isWaiting());
  await hold.release()
  t.not(await engine.load(sessionKey, soon()), null, 'and the pool has a connection for the next one')
})

t.test('a migration that broke off after CREATE TABLE is completed by the next one', { skip }, async (t) => {
  const knex = await openDatabase(t, 'mariadb')
  const index = 'django_session_expire_date_a5c62663'
  const indexes = async () => (await rowsOf(knex, 'SHOW INDEX FROM django_session')).map(({ Key_name }) => Key_name)
  t.strictSame(await indexes(), ['PRIMARY', index])
  await knex.raw(`DROP INDEX ${index} ON django_session`)
  await knex.migrate.latest({ migrationSource })
  t.strictSame(await indexes(), ['PRIMARY', index])

  await knex('knex_migrations').delete()
  await knex.migrate.latest({ migrationSource })
  t.strictSame(await indexes(), ['PRIMARY', index], 'and one that was completed is left alone')
})
