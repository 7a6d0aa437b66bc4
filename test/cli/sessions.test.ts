import { randomBytes } from 'node:crypto'
import t from 'tap'
import { secretKey } from '../fixtures/app.ts'
import { fails, openPlace, prints, run } from '../fixtures/command.ts'
import { databases, missing } from '../fixtures/databases.ts'
import { createSite, entryKeys, TABLE } from '../fixtures/user-sessions.ts'

const env = { SECRET_KEY: secretKey }

for (const name of databases) {
  t.test(`sessions of a user on ${name}`, { skip: missing(name) }, async (t) => {
    const { knex, database } = await openPlace(t, name)
    await run(['migrate', ...database])
    await run(['migrate', '--user-sessions', '--user-id', 'bigint', ...database])
    const site = await createSite(t, knex)
    const [laptop, phone, tablet, other] = [
      await site.login('1', { 'user-agent': 'laptop' }),
      await site.login('1', { 'user-agent': 'phone' }),
      await site.login('1'),
      await site.login('2')
    ]
    const keys = [laptop, phone, tablet, other].map(({ cookie }) => cookie as string)
    const command = (...args: string[]) => run(['sessions', ...args, ...database], { env })

    const listed = await command('list', '--user', '1')
    t.equal(listed.status, 0)
    t.match(listed.stdout, /^\d+ {2}lightMyRequest, 127\.0\.0\.1\n {4}signed in .+ UTC, last seen .+ UTC, ends .+ UTC\n\d+ {2}phone/)
    t.match(listed.stdout, /\n3 sessions\n$/)
    const json = await command('list', '--user', '1', '--json')
    const { sessions } = JSON.parse(json.stdout)
    t.match(sessions, [{ userAgent: 'lightMyRequest' }, { userAgent: 'phone' }, { userAgent: 'laptop', ip: '127.0.0.1' }])
    t.notOk(
      keys.some((key) => listed.stdout.includes(key) || json.stdout.includes(key)),
      'no key is shown'
    )

    prints(t, await command('end', '--user', '1', '--id', String(sessions[1].id)), 'Ended 1 session.')
    t.strictSame((await phone.get('/who')).json(), { id: null })
    const again = await command('end', '--user', '1', '--id', String(sessions[1].id))
    t.strictSame(again, { status: 1, stdout: 'The user has no session with this id.\n', stderr: '' })
    t.equal((await command('end', '--user', '2', '--id', String(sessions[0].id))).status, 1, "another user's")
    t.strictSame((await command('end', '--user', '1', '--json')).stdout, '{"ended":2}\n')
    t.strictSame((await laptop.get('/who')).json(), { id: null })
    t.strictSame((await other.get('/who')).json(), { id: '2' })
    prints(t, await command('list', '--user', '1'), '0 sessions')
    prints(t, await command('list', '--user', '-1'), '0 sessions')
    prints(t, await command('end', '--user', '3'), 'Ended 0 sessions.')
    for (const action of ['list', 'end']) {
      const unfit = await command(action, '--user', 'ada')
      fails(t, unfit, 2, /--user: expected a value for the column user_id of usersessions_usersession, which is bigint.*, got "ada"/)
    }

    fails(
      t,
      await run(['sessions', 'end', '--user', '2', ...database], { env: { SECRET_KEY: 'another key' } }),
      1,
      /none of the newest 1 session is signed with this secret key/
    )

    await knex('django_session').del()
    prints(t, await run(['clearsessions', ...database]), 'Removed 0 expired sessions.')
    t.equal((await entryKeys(knex)).length, 1, "without the option the table is nobody's business")
    prints(t, await run(['clearsessions', '--user-sessions', ...database]), 'Removed 0 expired sessions.')
    t.strictSame(await entryKeys(knex), [])
  })

  t.test(`check knows the table on ${name}`, { skip: missing(name) }, async (t) => {
    const { knex, database } = await openPlace(t, name)
    await run(['migrate', ...database])
    const findings = async () => {
      const { findings } = JSON.parse((await run(['check', '--json', ...database])).stdout)
      return findings.filter(({ check }: { check: string }) => check === 'user sessions')
    }
    t.strictSame(await findings(), [], 'only the option needs it')
    await run(['migrate', '--user-sessions', '--user-id', 'uuid', ...database])
    t.match(await findings(), [{ status: 'ok' }])
    await knex.schema.dropTable(TABLE)
    await knex.schema.createTable(TABLE, (table) => {
      for (const column of ['id', 'user_id', 'session_key', 'created_at', 'last_seen_at', 'ip', 'user_agent', 'data']) table.string(column)
    })
    t.match(await findings(), [
      { status: 'fail', message: /no unique index/ },
      { status: 'warn', message: /CREATE INDEX/ }
    ])
    await knex.schema.alterTable(TABLE, (table) => table.dropColumn('data'))
    t.match(await findings(), [{ status: 'fail', message: /has no column data/ }])
  })
}

t.test('command lines that do not say what, or whose', async (t) => {
  const { database } = await openPlace(t, 'sqlite')
  for (const [args, message] of [
    [[], /expected one ACTION after sessions, got none/],
    [['lists', '--user', '1'], /expected sessions list or sessions end/],
    [['list'], /--user: expected the primary key of a user, got nothing/],
    [['list', '--user', ''], /--user: expected the primary key of a user, got nothing/],
    [['list', '--user', '1', '--id', '1'], /--id is an option of sessions end/],
    [['end', '--user', '1', '--id', 'x'], /--id: expected a whole number, got "x"/]
  ] as const) {
    fails(t, await run(['sessions', ...args, ...database], { env }), 2, message)
  }
  fails(t, await run(['sessions', 'list', '--user', '1', ...database]), 2, /needs the secret key/)
  for (const action of ['list', 'end']) {
    const result = await run(['sessions', action, '--user', '1', ...database], { env })
    fails(t, result, 1, /: there is no table django_session: run migrate, or manage\.py migrate sessions\n/)
  }
  await run(['migrate', ...database])
  fails(
    t,
    await run(['sessions', 'list', '--user', '1', ...database], { env }),
    1,
    /no table usersessions_usersession .+ migrate --user-sessions/
  )
})

t.test('sessions that are larger than maxSize is by default are listed and ended too', async (t) => {
  const { knex, database } = await openPlace(t, 'sqlite')
  await run(['migrate', ...database])
  await run(['migrate', '--user-sessions', '--user-id', 'bigint', ...database])
  const site = await createSite(t, knex, { maxSize: 4 * 2 ** 20 })
  const browser = await site.login('1')
  const session = await site.app.sessions.open(browser.cookie as string).load()
  await session.set('photo', randomBytes(2 ** 20).toString('hex')).save()
  t.match((await run(['sessions', 'list', '--user', '1', ...database], { env })).stdout, /\n1 session\n$/)
  t.match((await run(['show', browser.cookie as string, ...database], { env })).stdout, /"photo"/)
  prints(t, await run(['sessions', 'end', '--user', '1', ...database], { env }), 'Ended 1 session.')
  t.strictSame((await browser.get('/who')).json(), { id: null })
})
