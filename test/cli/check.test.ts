import { randomBytes } from 'node:crypto'
import createKnex, { type Knex } from 'knex'
import t, { type Test } from 'tap'
import type { Finding } from '../../lib/cli/checks/finding.ts'
import { STORE_SALT } from '../../lib/django/codec.ts'
import { TimestampSigner } from '../../lib/django/signing.ts'
import { insertRow, openPlace, type Place, run, type Surroundings, sessionKeys } from '../fixtures/command.ts'
import { type DatabaseName, databases, missing } from '../fixtures/databases.ts'
import { PostgresServer } from '../fixtures/postgres.ts'
import { createProxy } from '../fixtures/proxy.ts'
import { djangoStatements } from '../fixtures/schema.ts'

const NOW = new Date()
const HOUR = 3_600_000
const TWO_WEEKS = 14 * 24 * HOUR
const SECRET_KEY = '0123456789abcdefghijklmnopqrstuvwxyz-0123456789-abcdefghijkl'

const inMilliseconds = (milliseconds: number) => new Date(NOW.getTime() + milliseconds)

/** Signed as Django does, now, for any bytes. */
const sign = (bytes: string, secretKey = SECRET_KEY) =>
  new TimestampSigner({ secretKey, salt: STORE_SALT, clock: () => NOW }).signBytes(Buffer.from(bytes), true)

interface Report {
  status: number | null
  ok: boolean
  findings: Finding[]
}

async function check({ database }: Place, surroundings: Surroundings = {}, ...args: string[]): Promise<Report> {
  const { status, stdout } = await run(['check', '--json', ...args, ...database], surroundings)
  return { status, ...JSON.parse(stdout) }
}

/** `status check: message` of all that is not ok. */
const problems = ({ findings }: Report): string[] =>
  findings.filter(({ status }) => status !== 'ok').map(({ status, check, message }) => `${status} ${check}: ${message}`)

async function openTable(t: Test, name: DatabaseName, statements = djangoStatements[name]): Promise<Place> {
  const place = await openPlace(t, name)
  for (const statement of statements) await place.knex.raw(statement)
  return place
}

const insert = (knex: Knex, sessionKey: string, text: string, expireDate = inMilliseconds(TWO_WEEKS)) =>
  insertRow(knex, { sessionKey, text, expireDate })

for (const name of databases) {
  t.test(`on ${name}`, { skip: missing(name) }, async (t) => {
    t.test("Django's own table, a good key and a clock that agrees", async (t) => {
      const place = await openTable(t, name)
      for (const sessionKey of ['session1', 'session2', 'session3']) await insert(place.knex, sessionKey, sign('{"a":1}'))
      const report = await check(place, { env: { SECRET_KEY } })
      t.strictSame(problems(report), [])
      t.strictSame({ status: report.status, ok: report.ok }, { status: 0, ok: true })
      const server = name === 'sqlite' ? [] : ['server']
      const expected = [...server, 'clock', 'columns', 'primary key', 'index', 'expired', 'signatures', 'time zone', 'secret key']
      t.strictSame(
        report.findings.map(({ check }) => check).filter((check) => check !== 'collation'),
        expected
      )
      t.strictSame(await sessionKeys(place.knex), ['session1', 'session2', 'session3'], 'nothing is changed')
    })

    t.test('no table', async (t) => {
      const place = await openTable(t, name, ['CREATE TABLE something (id integer)'])
      const report = await check(place, { env: { SECRET_KEY } })
      t.strictSame(problems(report), ['fail table: there is no table django_session: run migrate, or manage.py migrate sessions'])
      t.equal(report.status, 1)
      const other = await check(place, { env: { SECRET_KEY } }, '--table', 'something')
      t.match(problems(other)[0], /^fail columns: session_key is missing: this is not a table of Django's sessions$/)
      t.equal(problems(other).length, 5, 'three columns, no primary key, no index')
    })

    t.test('a table without indexes', async (t) => {
      const { knex, database } = await openTable(t, name)
      await knex.raw('CREATE TABLE bare AS SELECT * FROM django_session')
      const report = await check({ knex, database }, { env: { SECRET_KEY } }, '--table', 'bare')
      t.equal(report.status, 1)
      const found = problems(report)
      t.match(found, [
        ...found.filter((line) => line.startsWith('warn columns: ')),
        /^fail primary key: session_key has neither a primary key nor a unique index/,
        'warn index: expire_date has none, so clearsessions scans all rows for each batch: CREATE INDEX bare_expire_date ON bare (expire_date)'
      ])
      // The advice is right.
      await knex.raw(/CREATE INDEX .*/.exec(found.at(-1) as string)?.[0] as string)
      await knex.raw('CREATE UNIQUE INDEX bare_key ON bare (session_key)')
      const mended = await check({ knex, database }, { env: { SECRET_KEY } }, '--table', 'bare')
      t.match(
        problems(mended).filter((line) => !line.startsWith('warn columns: ')),
        ['warn primary key: session_key has a unique index, but Django makes it the primary key']
      )
      t.equal(mended.status, 0, 'a warning is no failure')
    })
  })
}

const KEY = 'session_key varchar(40) NOT NULL PRIMARY KEY'

/** Tables that differ from Django's, and what is said of them. */
const TABLES: [name: DatabaseName, columns: string, expected: RegExp[]][] = [
  [
    'sqlite',
    `${KEY}, session_data blob, expire_date datetime NOT NULL`,
    [/^warn .*session_data is blob, where Django makes text/, /may be NULL/]
  ],
  ['sqlite', `${KEY}, session_data text NOT NULL, expire_date text NOT NULL, user_id integer, ip text NOT NULL DEFAULT ''`, []],
  [
    'sqlite',
    `${KEY}, session_data text NOT NULL, expire_date datetime NOT NULL, ip text NOT NULL`,
    [/^warn .*ip is NOT NULL and has no default/]
  ],
  [
    'postgres',
    `${KEY}, session_data text NOT NULL, expire_date timestamp NOT NULL`,
    [/^fail .*timestamp without time zone.*by the time zone of each/]
  ],
  ['postgres', `${KEY}, session_data text NOT NULL, expire_date timestamptz(0) NOT NULL`, [/^warn .*rounded/]],
  [
    'postgres',
    'session_key varchar(31) PRIMARY KEY, session_data varchar(9000) NOT NULL, expire_date timestamptz NOT NULL',
    [/^fail .*session_key is character varying\(31\).*keys have 32 characters/, /^fail .*larger sessions cannot be saved/]
  ],
  ['postgres', `${KEY}, session_data jsonb NOT NULL, expire_date timestamptz NOT NULL`, [/^fail .*signed text cannot be kept/]],
  ['postgres', `${KEY}, session_data varchar NOT NULL, expire_date timestamptz NOT NULL, id bigint GENERATED ALWAYS AS IDENTITY`, []],
  ['mariadb', `${KEY}, session_data text NOT NULL, expire_date datetime(6) NOT NULL`, [/^fail .*session_data is text.*64 KiB/]],
  [
    'mariadb',
    `${KEY}, session_data mediumtext NOT NULL, expire_date datetime NOT NULL`,
    [/^warn .*16 MiB/, /^warn .*fractions of seconds are lost/]
  ],
  [
    'mariadb',
    `${KEY}, session_data longblob NOT NULL, expire_date timestamp(6) NOT NULL, id integer AUTO_INCREMENT UNIQUE`,
    [/^fail .*session_data is longblob/, /^fail .*expire_date is timestamp\(6\).*2038/]
  ]
]

for (const name of databases) {
  t.test(`tables on ${name} that differ from Django's`, { skip: missing(name) }, async (t) => {
    const place = await openTable(t, name)
    for (const [at, [, columns, expected]] of TABLES.filter(([of]) => of === name).entries()) {
      await place.knex.raw(`CREATE TABLE table${at} (${columns})`)
      await place.knex.raw(`CREATE INDEX ends${at} ON table${at} (expire_date, session_key)`)
      const found = problems(await check(place, { env: { SECRET_KEY } }, '--table', `table${at}`))
      t.equal(found.length, expected.length, [columns, ...found].join('\n'))
      for (const [at, pattern] of expected.entries()) t.match(found[at], pattern)
    }
  })
}

t.test('an index that PostgreSQL cannot use for all rows is none', { skip: missing('postgres') }, async (t) => {
  const [create = ''] = djangoStatements.postgres
  const place = await openTable(t, 'postgres', [
    create,
    "CREATE INDEX partly ON django_session (expire_date) WHERE session_data <> ''",
    'CREATE INDEX hashed ON django_session USING hash (expire_date)',
    'CREATE INDEX later ON django_session (session_data, expire_date)'
  ])
  t.match(problems(await check(place, { env: { SECRET_KEY } })), [/^warn index: expire_date has none/])
})

t.test('a table in another schema', { skip: missing('postgres') }, async (t) => {
  const inSchema = djangoStatements.postgres.map((statement) => statement.replace(/(?<=TABLE|ON) "/, ' app."'))
  const place = await openTable(t, 'postgres', ['CREATE SCHEMA app', ...inSchema])
  const report = await check(place, { env: { SECRET_KEY } }, '--table', 'app.django_session')
  t.strictSame(problems(report), [])
})

t.test('the secret key', async (t) => {
  const place = await openTable(t, 'sqlite')
  const secretProblems = async (env: NodeJS.ProcessEnv) => problems(await check(place, { env }))
  t.strictSame(await secretProblems({}), [
    'warn secret key: not checked, and neither are the signatures: set SECRET_KEY in the environment, or --secret-key-file FILE'
  ])
  const advice = 'use at least 50 random characters'
  t.strictSame(await secretProblems({ SECRET_KEY: 'k'.repeat(49) }), [
    `warn secret key: SECRET_KEY is shorter than 50 characters: ${advice}`
  ])
  t.strictSame(await secretProblems({ SECRET_KEY: 'abcd'.repeat(13) }), [
    `warn secret key: SECRET_KEY has fewer than 5 different characters: ${advice}`
  ])
  t.strictSame(await secretProblems({ SECRET_KEY, SECRET_KEY_FALLBACKS: `${SECRET_KEY}x,django-insecure-${SECRET_KEY}` }), [
    `warn secret key: key 2 of SECRET_KEY_FALLBACKS starts with django-insecure-, as a key that Django generates for development: ${advice}`
  ])
})

t.test('whether the secret key reads the newest sessions', async (t) => {
  const place = await openTable(t, 'sqlite')
  const { knex } = place
  const about = async (env: NodeJS.ProcessEnv = {}) => {
    const { findings } = await check(place, { env: { SECRET_KEY, ...env } })
    return findings.filter(({ check }) => check === 'signatures' || check === 'data')
  }
  t.match(await about(), [{ status: 'ok', message: 'there are no sessions yet to check the secret key with' }])

  await insert(knex, 'old', sign('{}', 'another key'))
  t.match(await about(), [
    { status: 'fail', message: '0 of the newest 1 sessions are signed with this secret key: set SECRET_KEY to the key of the site' }
  ])
  t.match(await about({ SECRET_KEY_FALLBACKS: 'another key' }), [
    { status: 'ok', message: /^1 of the newest 1 .*or with its fallbacks \(1\)$/ }
  ])

  await insert(knex, 'newer', sign('{}'), inMilliseconds(TWO_WEEKS + HOUR))
  t.match(await about(), [
    { status: 'warn', message: /^1 of the newest 2 sessions is signed .*: the others were signed with a former key/ }
  ])

  for (let at = 0; at < 20; at++) await insert(knex, `newest${at}`, sign(at === 0 ? 'no JSON' : '{}'), inMilliseconds(TWO_WEEKS + 2 * HOUR))
  t.match(await about(), [
    { status: 'ok', message: '20 of the newest 20 sessions are signed with this secret key' },
    { status: 'fail', message: /^1 of the newest 20 do not contain JSON: set Django's SESSION_SERIALIZER/ }
  ])
})

t.test('sessions that only Django 4.1 reads', async (t) => {
  const place = await openTable(t, 'sqlite')
  await insert(place.knex, 'fixed', sign('{"_session_expiry":"2030-01-01T00:00:00+00:00"}'))
  await insert(place.knex, 'seconds', sign('{"_session_expiry":60}'), inMilliseconds(60_000))
  t.match(problems(await check(place, { env: { SECRET_KEY } })), [/^warn fixed dates: 1 of the newest 2 end at a fixed date/])
})

for (const name of databases) {
  t.test(`a Django with USE_TZ = False on ${name}`, { skip: missing(name) }, async (t) => {
    const place = await openTable(t, name)
    const { knex } = place
    const about = async () => (await check(place, { env: { SECRET_KEY } })).findings.find(({ check }) => check === 'time zone')
    await insert(knex, 'utc', sign('{}'))
    // Renewed an hour later, by chance to the second.
    await insert(knex, 'renewed', sign('{}'), inMilliseconds(TWO_WEEKS + HOUR))
    const first = await about()
    t.equal(first?.status, 'ok')
    await insert(knex, 'chicago', sign('{}'), inMilliseconds(TWO_WEEKS - 6 * HOUR))
    await insert(knex, 'chicago60', sign('{"_session_expiry":3600}'), inMilliseconds(HOUR - 6 * HOUR))
    const second = await about()
    if (name === 'postgres') t.strictSame(second, first, 'PostgreSQL keeps the time zone')
    else t.match(second, { status: 'warn', message: /^2 of the newest 4 end 6 hours earlier than their age says/ })
  })

  t.test(`clocks and expired sessions on ${name}`, { skip: missing(name) }, async (t) => {
    const place = await openTable(t, name)
    await insert(place.knex, 'expired', sign('{}'), inMilliseconds(-HOUR))
    await insert(place.knex, 'expired-long-ago', sign('{}'), inMilliseconds(-49 * HOUR))
    const at = async (seconds: number) => {
      const { status, findings } = await check(place, { env: { SECRET_KEY }, now: new Date(Date.now() + seconds * 1000) })
      return { status, ...findings.find(({ check }) => check === 'clock') }
    }
    const isFar = name !== 'sqlite'
    t.match(await at(60), { status: isFar ? 'warn' : 'ok' })
    t.match(await at(-600), { status: isFar ? 'fail' : 'ok' })
    if (isFar) t.match(await at(-600), { message: /^this machine is \d+ minutes( \d+ seconds)? behind the database: .*NTP$/ })

    const expired = async (now: Date) =>
      (await check(place, { env: { SECRET_KEY }, now })).findings.find(({ check }) => check === 'expired')
    t.match(await expired(inMilliseconds(-3 * HOUR)), { status: 'ok', message: '1 expired session, the oldest expired 1 day 22 hours ago' })
    t.match(await expired(NOW), {
      status: 'warn',
      message: '2 expired sessions, the oldest expired 2 days 1 hour ago: run clearsessions daily'
    })
  })
}

t.test('the clocks are compared by the quickest of five answers', { skip: missing('postgres') }, async (t) => {
  const place = await openTable(t, 'postgres')
  /** A clock that is so many seconds ahead, and on which all answers but the third take seconds. */
  const clockAhead = (seconds: number) => {
    const delays = [-10, -2, -2, 0, 0, 0, 0, 2, 2, 4]
    return () => new Date(Date.now() + (seconds + (delays.shift() ?? 4)) * 1000)
  }
  const clock = async (seconds: number) => {
    const { findings } = await check(place, { clock: clockAhead(seconds) })
    return findings.find(({ check }) => check === 'clock')
  }
  t.strictSame(await clock(60), {
    status: 'warn',
    check: 'clock',
    message: 'this machine is 1 minute ahead of the database: sessions end early or late. Set the clocks by NTP'
  })
  t.match(await clock(-4.5), { status: 'ok', message: /^4\.\d s behind the database, give or take \d+ ms; up to 5 s is harmless$/ })
})

t.test('for people: a line for each finding, broken on a terminal, and a sum', async (t) => {
  const { database } = await openTable(t, 'sqlite')
  const plain = await run(['check', ...database])
  t.strictSame(plain, {
    status: 0,
    stdout: `ok    clock        the database runs in this process
ok    columns      as Django makes them
ok    primary key  session_key
ok    index        expire_date
ok    expired      no expired sessions are left
warn  secret key   not checked, and neither are the signatures: set SECRET_KEY in the environment, or --secret-key-file FILE
0 failures, 1 warning
`,
    stderr: ''
  })
  const { stdout } = await run(['check', ...database], { terminal: true })
  t.match(stdout, 'set SECRET_KEY\n                   in the environment')
})

t.test('the newest sessions are compared with the timeouts of the application', async (t) => {
  const place = await openTable(t, 'sqlite')
  const about = async (timeouts: string) => {
    const { findings } = await check(place, { env: { SECRET_KEY }, now: NOW }, '--timeouts', timeouts)
    const found = findings.filter(({ check }) => check.endsWith(' timeout'))
    return found.map(({ status, check, message }) => `${status} ${check}: ${message}`)
  }
  t.strictSame(await about('nist-aal2'), [], 'there are no sessions')
  const began = Math.floor(NOW.getTime() / 1000)
  await insert(place.knex, 'session1', sign(`{"_session_began":${began}}`), inMilliseconds(HOUR))
  t.strictSame(await about('nist-aal2'), [
    'ok idle timeout: none of the newest 1 sessions ends later than in 1 hour',
    'ok absolute timeout: none of the newest 1 sessions outlasts it'
  ])
  t.strictSame(await about('nist-aal1'), ['ok absolute timeout: none of the newest 1 sessions outlasts it'])
  await insert(place.knex, 'session2', sign(`{"_session_began":${began - 3600}}`), inMilliseconds(TWO_WEEKS))
  await insert(place.knex, 'session3', sign('{"a":1}'), inMilliseconds(TWO_WEEKS))
  t.strictSame(await about('idle=30m,absolute=12h'), [
    'warn idle timeout: 3 of the newest 3 sessions end later than in 30 minutes: if Django writes them, set SESSION_COOKIE_AGE = 1800 and SESSION_SAVE_EVERY_REQUEST = True',
    'warn absolute timeout: 1 of the newest 3 sessions have rows that outlast it: they end here in time, but on the pages of a Django that shares the table they go on; the age of 1 is unknown until they are saved here'
  ])
})

/** `status message` of the findings of one check. */
const messages = (report: Report, which: string): string[] =>
  report.findings.filter(({ check }) => check === which).map(({ status, message }) => `${status} ${message}`)

for (const name of ['postgres', 'mariadb'] as const) {
  t.test(`the server on ${name}`, { skip: missing(name) }, async (t) => {
    const place = await openTable(t, name)
    const [, url] = place.database as [string, string]

    t.test('the pools of all processes are compared with the connections that it allows', async (t) => {
      t.match(messages(await check(place, {}, '--processes', '2'), 'connections'), [/^ok the pools have 20 connections together/])
      t.match(messages(await check(place, {}, '--processes', '1000'), 'connections'), [
        /^warn the pools have 10000 connections together, and the server allows/
      ])
      t.strictSame(messages(await check(place), 'connections'), [])
      t.match(await run(['check', '--processes', 'two', ...place.database]), { status: 2, stderr: /--processes: expected a whole number/ })
    })

    t.test('the limit of a user counts, where it is lower', async (t) => {
      const user = `limited_${randomBytes(4).toString('hex')}`
      const [create, drop] =
        name === 'postgres'
          ? [`CREATE ROLE ${user} LOGIN PASSWORD 'limited' CONNECTION LIMIT 7`, `DROP ROLE ${user}`]
          : [`CREATE USER '${user}'@'127.0.0.1' IDENTIFIED BY 'limited' WITH MAX_USER_CONNECTIONS 7`, `DROP USER '${user}'@'127.0.0.1'`]
      await place.knex.raw(create)
      t.teardown(() => place.knex.raw(drop))
      // The user may not see the database of the test.
      const pathname = name === 'postgres' ? '/postgres' : '/'
      const address = Object.assign(new URL(url), { username: user, password: 'limited', pathname }).href
      const limited = { knex: place.knex, database: ['--database-url', address] }
      t.match(messages(await check(limited, {}, '--processes', '1'), 'connections'), [
        /^warn the pools have 10 connections together, and the server allows 7:/
      ])
    })

    t.test('another address', async (t) => {
      const against = async (address: string) => messages(await check(place, {}, '--against', address), 'against')
      t.strictSame(await against(url), ['ok the other address leads to the same database'])
      t.strictSame(await against((await createProxy(t, url)).url), ['ok the other address leads to the same database'])
      const [, other] = (await openTable(t, name)).database as [string, string]
      t.match(await against(other), [/^warn the other address leads to another database that takes writes, too/])
      const nobody = new URL(url)
      nobody.port = '1'
      const report = await check(place, {}, '--against', nobody.href)
      t.match(messages(report, 'against'), [/^fail .*ECONNREFUSED/])
      t.ok(
        report.findings.some(({ check }) => check === 'columns'),
        'all else is checked'
      )
    })

    t.test('no address of such a server', async (t) => {
      const expected = name === 'postgres' ? 'postgres://user@host/name' : 'mysql://user@host/name'
      const otherKind = name === 'postgres' ? 'mysql://user@host/name' : 'postgres://user@host/name'
      for (const address of ['', 'nonsense', 'sqlite:nonsense.sqlite3', otherKind]) {
        const result = await run(['check', `--against=${address}`, ...place.database])
        t.strictSame(result, {
          status: 2,
          stdout: '',
          stderr: `fastify-django-sessions: --against: expected ${expected}, as the database. See --help\n`
        })
      }
    })
  })
}

t.test('options about a server are refused where there is none', async (t) => {
  const { database } = await openTable(t, 'sqlite')
  for (const option of ['--processes=2', '--against=postgres://user@host/name']) {
    const result = await run(['check', option, ...database])
    t.match(result, { status: 2, stdout: '', stderr: new RegExp(`${option.split('=')[0]}: expected a database on a server`) })
  }
})

t.test('whether commits wait for a standby, and whether it is there', { skip: missing('postgres') }, async (t) => {
  const primary = await PostgresServer.start('fsync=off', 'max_connections=50', 'reserved_connections=5')
  t.teardown(() => primary.stop())
  const standby = await primary.startStandby()
  t.teardown(() => standby.stop())
  const knex = createKnex({ client: 'pg', connection: primary.urlOf('postgres') })
  t.teardown(() => knex.destroy())
  for (const statement of [...djangoStatements.postgres, "CREATE ROLE site LOGIN PASSWORD 'site'"]) await knex.raw(statement)
  const standbys = async () =>
    (await knex.raw('SELECT sync_state FROM pg_stat_replication')).rows.map((row: { sync_state: string }) => row.sync_state).join()
  /** @param names of standbys @param state what the one of the test is then */
  const waitFor = async (names: string, state: string) => {
    await knex.raw(`ALTER SYSTEM SET synchronous_standby_names = '${names}'`)
    await knex.raw('SELECT pg_reload_conf()')
    while ((await standbys()) !== state);
  }
  const at = (address: string): Place => ({ knex, database: ['--database-url', address] })
  const here = at(primary.urlOf('postgres'))
  const replication = async (place: Place) => messages(await check(place), 'replication')

  while ((await standbys()) !== 'async');
  t.match(await replication(here), [/^warn 1 standby, and commits wait for none: a failover loses/])
  await waitFor('*', 'sync')
  t.strictSame(await replication(here), ['ok 1 standby, and commits wait for one: a failover loses nothing'])
  const user = Object.assign(new URL(primary.urlOf('postgres')), { username: 'site', password: 'site' })
  const stranger = await check(at(user.href))
  t.match(messages(stranger, 'replication'), [/^warn 1 standby, and whether one of them is synchronous is not visible to this user/])
  t.match(messages(stranger, 'database'), [/^fail .*permission denied/], 'what was found before is said all the same')
  await waitFor('another', 'async')
  const hanging = await check(here)
  t.match(messages(hanging, 'replication'), [/^fail 1 standby, and commits wait for one, but none is synchronous: every write hangs/])
  t.equal(hanging.status, 1)
  await waitFor('ANY 2 (*)', 'quorum')
  t.match(await replication(here), [/^fail 1 standby, and commits wait for 2, but only 1 is synchronous: every write hangs/])

  const report = await check(here, {}, '--processes', '4', '--against', standby.urlOf('postgres'))
  t.match(messages(report, 'connections'), [/the server allows 42$/])
  t.match(messages(report, 'against'), [/^ok the other address leads to a server that is read-only/])
  t.strictSame(await replication(at(standby.urlOf('postgres'))), [], 'nothing is committed there')

  await standby.stop()
  while ((await standbys()) !== '');
  t.match(await replication(here), [/^fail 0 standbys, and commits wait for 2, but none is synchronous/])
})

t.test('a server that is read-only is said to be at once, and nothing else is asked', { skip: missing('postgres') }, async (t) => {
  const place = await openTable(t, 'postgres')
  const other = await openTable(t, 'postgres')
  await place.knex.raw('ALTER DATABASE ?? SET default_transaction_read_only = on', [new URL(place.database[1] as string).pathname.slice(1)])
  const report = await check(place)
  t.equal(report.status, 1)
  t.match(problems(report), [/^fail server: it is read-only/, /^warn secret key/])
  t.match(problems(await check(other, {}, '--against', place.database[1] as string)), [/^warn secret key/], 'as a standby should be')
})

const KINDS: Record<string, { statements: string[]; expected: RegExp[] }> = {
  'is UNLOGGED': {
    statements: ['ALTER TABLE django_session SET UNLOGGED'],
    expected: [/^warn table: it is UNLOGGED/, /^warn secret key/]
  },
  'has partitions by hash': {
    statements: [
      'DROP TABLE django_session',
      'CREATE TABLE django_session (session_key varchar(40) PRIMARY KEY, session_data text NOT NULL, expire_date timestamptz NOT NULL) PARTITION BY HASH (session_key)',
      'CREATE INDEX ON django_session (expire_date)'
    ],
    expected: [/^warn secret key/]
  },
  'has partitions by date': {
    statements: [
      'DROP TABLE django_session',
      'CREATE TABLE django_session (session_key varchar(40), session_data text NOT NULL, expire_date timestamptz NOT NULL, PRIMARY KEY (session_key, expire_date)) PARTITION BY RANGE (expire_date)',
      'CREATE INDEX ON django_session (expire_date)'
    ],
    expected: [/^fail partitions: not by hash/, /^fail primary key/, /^warn secret key/]
  }
}

for (const [title, { statements, expected }] of Object.entries(KINDS)) {
  t.test(`a table that ${title}`, { skip: missing('postgres') }, async (t) => {
    const place = await openTable(t, 'postgres')
    for (const statement of statements) await place.knex.raw(statement)
    t.match(problems(await check(place)), expected)
    t.equal(problems(await check(place)).length, expected.length)
  })
}
