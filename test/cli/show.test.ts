import { writeFileSync } from 'node:fs'
import type { Knex } from 'knex'
import t, { type Test } from 'tap'
import { STORE_SALT } from '../../lib/django/codec.ts'
import { TimestampSigner } from '../../lib/django/signing.ts'
import { migrationSource } from '../../lib/migrations.ts'
import { fails, insertRow, openPlace, type Place, run } from '../fixtures/command.ts'
import { type DatabaseName, databases, missing } from '../fixtures/databases.ts'

const KEY = 'abcdefghijklmnopqrstuvwxyz012345'
const NOW = new Date('2026-11-21T12:00:00Z')
const SIGNED = new Date('2026-11-21T11:00:00Z')
const EXPIRES = new Date('2026-12-05T11:00:00Z')
const env = { SECRET_KEY: 'the secret word' }

/** Signed as Django does, for any bytes. */
const sign = (bytes: string, secretKey = env.SECRET_KEY) =>
  new TimestampSigner({ secretKey, salt: STORE_SALT, clock: () => SIGNED }).signBytes(Buffer.from(bytes, 'latin1'), true)

async function openTable(t: Test, name: DatabaseName = 'sqlite'): Promise<Place> {
  const place = await openPlace(t, name)
  await place.knex.migrate.latest({ migrationSource })
  return place
}

const insert = (knex: Knex, text: string, expireDate = EXPIRES, sessionKey = KEY) => insertRow(knex, { sessionKey, text, expireDate })

for (const name of databases) {
  t.test(`a session on ${name}`, { skip: missing(name) }, async (t) => {
    const { knex, database } = await openTable(t, name)
    await insert(knex, sign('{"_auth_user_id":"42","cart":[{"price":1.0},[]],"big":12345678901234567890,"rate":NaN,"empty":{}}'))
    const text = `Session  ${KEY}
Expires  2026-12-05 11:00:00 UTC, in 13 days 23 hours
Signed   2026-11-21 11:00:00 UTC, with SECRET_KEY
Data     {
  "_auth_user_id": "42",
  "cart": [
    {
      "price": 1.0
    },
    []
  ],
  "big": 12345678901234567890,
  "rate": NaN,
  "empty": {}
}
`
    t.strictSame(await run(['show', KEY, ...database], { env, now: NOW }), { status: 0, stdout: text, stderr: '' })
    const json = `{"sessionKey":"${KEY}","expireDate":"2026-12-05T11:00:00.000Z","expiresIn":1206000,"signedAt":"2026-11-21T11:00:00.000Z","signedWith":"SECRET_KEY","data":{"_auth_user_id":"42","cart":[{"price":1.0},[]],"big":12345678901234567890,"rate":null,"empty":{}}}\n`
    t.strictSame(await run(['show', KEY, '--json', ...database], { env, now: NOW }), { status: 0, stdout: json, stderr: '' })
    t.strictSame(
      await run(['show', '-', '--json', ...database], { env, now: NOW, input: `${KEY}\n` }),
      { status: 0, stdout: json, stderr: '' },
      'the key from the standard input'
    )
  })
}

t.test('the end of a session is told as it was set', async (t) => {
  const { knex, database } = await openTable(t)
  for (const [data, sessionKey, note] of [
    ['{"_session_expiry":0}', 'untilclose', ', or when the browser closes'],
    ['{"_session_expiry":"2026-12-05T11:00:00+00:00"}', 'fixeddate', ', a fixed date'],
    ['{"_session_expiry":60}', 'inactivity', '']
  ] as const) {
    await insert(knex, sign(data), EXPIRES, sessionKey)
    const { stdout } = await run(['show', sessionKey, ...database], { env, now: NOW })
    t.ok(stdout.includes(`Expires  2026-12-05 11:00:00 UTC, in 13 days 23 hours${note}\n`), sessionKey)
  }
})

t.test('an expired session is shown, with a word on stderr and exit code 1', async (t) => {
  const { knex, database } = await openTable(t)
  await insert(knex, sign('{"a":1}'), new Date('2026-11-21T11:59:59Z'))
  const { status, stdout, stderr } = await run(['show', KEY, ...database], { env, now: NOW })
  t.equal(status, 1)
  t.match(stdout, 'Expired  2026-11-21 11:59:59 UTC, 1 second ago\n')
  t.equal(stderr, 'The session has expired. It cannot be used any more, and clearsessions will remove it.\n')
  const json = await run(['show', KEY, '--json', ...database], { env, now: NOW })
  t.equal(json.status, 1)
  t.match(JSON.parse(json.stdout), { expiresIn: -1, data: { a: 1 } })
})

t.test('no control character of the data reaches the output, letters do', async (t) => {
  const { knex, database } = await openTable(t)
  const evil = '\\u001b]0;title\\u0007 \\u009b31m \\u202e \\u2028 \\ud800 \x7f \x9b'
  await insert(knex, sign(`{"Zo\\u00eb \\ud83d\\ude00":"${evil}","\\u001b[31m":"\\u0000"}`))
  for (const args of [[], ['--json']]) {
    const { stdout } = await run(['show', KEY, ...args, ...database], { env, now: NOW })
    t.notMatch(stdout.replaceAll('\n', ''), /[\p{C}\p{Zl}\p{Zp}]/u)
    for (const code of ['\\u001b]0;title', '\\u009b31m', '\\u202e', '\\u2028', '\\ud800', '\\u007f', '\\u0000'])
      t.ok(stdout.includes(code), code)
  }
  const { stdout } = await run(['show', KEY, ...database], { env, now: NOW })
  t.match(stdout, '"Zoë 😀": ')
})

t.test('what cannot be shown is said in one line, without a secret or data', async (t) => {
  const { knex, database } = await openTable(t)
  const show = (key: string, more: NodeJS.ProcessEnv = {}) => run(['show', key, ...database], { env: { ...env, ...more }, now: NOW })
  await insert(knex, sign('{"data":"private"}'))
  const wrong = await show(KEY, { SECRET_KEY: 'wrong word' })
  fails(t, wrong, 1, /neither this session nor any newer one is signed with this secret key: set SECRET_KEY/)
  t.notMatch(wrong.stderr, /word/)

  await insert(knex, `${sign('{"data":"private"}').slice(0, -2)}xx`, EXPIRES, 'forgedrow')
  const forged = await show('forgedrow')
  fails(t, forged, 1, /not signed with this secret key, but 1 of the newest 2 are: it was altered/)
  await insert(knex, sign('no JSON, private'), EXPIRES, 'pickledrow')
  const pickled = await show('pickledrow')
  fails(t, pickled, 1, /its data is not JSON: does Django have another SESSION_SERIALIZER\?/)
  for (const { stderr } of [forged, pickled]) t.notMatch(stderr, /private|word/)

  fails(t, await show('unknownkey'), 1, /no session has this key/)
  for (const key of ['short', 'x'.repeat(41), 'with space', 'esc\x1b[31mape']) fails(t, await show(key), 2, /expected the key of a session/)
  fails(t, await show(KEY, { SECRET_KEY: '' }), 2, /show needs the secret key: set SECRET_KEY/)
})

t.test('former keys read, from the environment or a file, which counts for more', async (t) => {
  const { knex, database } = await openTable(t)
  await insert(knex, sign('{}', 'former'))
  const [secret, empty] = [`${t.testdirName}/secret`, `${t.testdirName}/empty`]
  writeFileSync(secret, 'new\r\nolder\nformer\n')
  writeFileSync(empty, '\n')
  for (const [args, more] of [
    [[], { SECRET_KEY: 'new', SECRET_KEY_FALLBACKS: 'older, former' }],
    [['--secret-key-file', secret], { SECRET_KEY: 'wrong' }]
  ] as const) {
    const { status, stdout } = await run(['show', KEY, ...args, ...database], { env: more, now: NOW })
    t.equal(status, 0)
    t.match(stdout, 'with a former key of SECRET_KEY_FALLBACKS\nData     {}\n')
  }
  for (const [file, message] of [
    [empty, /--secret-key-file: expected a secret key in the first line, got nothing/],
    [`${empty}x`, /--secret-key-file: the file cannot be read \(ENOENT\)/]
  ] as const) {
    fails(t, await run(['show', KEY, '--secret-key-file', file, ...database], { env }), 2, message)
  }
})
