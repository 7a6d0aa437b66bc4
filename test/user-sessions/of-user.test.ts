import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { newSessionKey, signing } from '../../lib/index.ts'
import { secretKey } from '../fixtures/app.ts'
import { databases, missing, openDatabase, recordQueries } from '../fixtures/databases.ts'
import { createSite, entryKeys, openUserSessions, TABLE, USER_IDS, type UserIdType } from '../fixtures/user-sessions.ts'

const SALT = 'django.contrib.sessions.SessionStore'

/** A date as Knex binds it for each of the databases. */
const dateOf = (driver: string, date: Date) => (driver === 'pg' ? date : date.toISOString().replace('T', ' ').replace('Z', '000'))

for (const name of databases) {
  t.test(`sessions.ofUser() on ${name}`, { skip: missing(name) }, async (t) => {
    for (const [type, [ada, grace, nobody]] of Object.entries(USER_IDS) as [UserIdType, (typeof USER_IDS)[UserIdType]][]) {
      t.test(`lists and ends the sessions of a user whose id is a ${type}`, async (t) => {
        const knex = await openUserSessions(t, name, type)
        const { app, login } = await createSite(t, knex)
        const before = Date.now()
        const [first, second, other] = [
          await login(ada, { 'user-agent': 'one' }),
          await login(ada, { 'user-agent': 'two' }),
          await login(grace)
        ]

        const ofAda = app.sessions.ofUser(ada)
        const list = await ofAda.list()
        t.strictSame(
          list.map(({ userAgent }) => userAgent),
          ['two', 'one'],
          'the one that was seen last is the first'
        )
        for (const { id, createdAt, lastSeenAt, ip, endsAt, ...rest } of list) {
          t.ok(Number.isSafeInteger(id) && id > 0)
          t.ok(createdAt.getTime() >= before && createdAt.getTime() <= Date.now())
          t.strictSame(lastSeenAt, createdAt)
          t.equal(ip, '127.0.0.1')
          t.ok(Math.abs(endsAt.getTime() - createdAt.getTime() - 1_209_600_000) < 10_000, 'two weeks')
          t.strictSame(Object.keys(rest), ['userAgent'], 'and no key')
        }
        t.strictSame(await app.sessions.ofUser(nobody).list(), [])

        const [graces] = await app.sessions.ofUser(grace).list()
        t.equal(await ofAda.end(graces?.id as number), false, "another user's")
        t.equal(await ofAda.end(list[0]?.id as number), true)
        t.equal(await ofAda.end(list[0]?.id as number), false, 'it is gone')
        t.strictSame((await second.get('/who')).json(), { id: null })
        t.strictSame((await first.get('/who')).json(), { id: ada })

        await login(ada)
        t.equal(await ofAda.endAll(), 2)
        t.strictSame(await ofAda.list(), [])
        t.strictSame((await first.get('/who')).json(), { id: null })
        t.strictSame((await other.get('/who')).json(), { id: grace })
        t.strictSame(await entryKeys(knex), [other.cookie], 'their entries went along')
      })
    }

    t.test('takes no text for an id that is none, and no id for that of another user', async (t) => {
      const knex = await openUserSessions(t, name)
      const { app, logs, login } = await createSite(t, knex)
      await login('1')
      for (const userId of ['1 ', '01', '1.0', '1a', '1e0', "1' OR '1'='1", 'ada', '9'.repeat(30), '\0', '٣']) {
        t.strictSame(await app.sessions.ofUser(userId).list(), [], JSON.stringify(userId))
        t.equal(await app.sessions.ofUser(userId).endAll(), 0)
      }
      t.notOk(
        logs.some(({ level }) => level === 40),
        'and warns of nothing'
      )
      for (const userId of [1, 1n, '1']) t.equal((await app.sessions.ofUser(userId).list()).length, 1)
      t.strictSame(await app.sessions.ofUser(0).list(), [])
      for (const userId of ['', null, undefined, Number.NaN, 1.5, 2 ** 53, {}, ['1']]) {
        t.throws(() => app.sessions.ofUser(userId as string), { name: 'TypeError', message: /expected a user's id/ })
      }
      const ofAda = app.sessions.ofUser(1)
      for (const id of ['', 'x', '1 OR 1=1', -1, 0, 1.5, Number.NaN, 2 ** 60, undefined, null, {}, '1; DROP TABLE x', '9'.repeat(40)]) {
        t.equal(await ofAda.end(id as string), false, String(id))
      }
      t.equal(await ofAda.end(JSON.parse('{ "toString": null }')), false, 'an object that a client sent')
      t.equal((await ofAda.list()).length, 1)
      t.equal(await ofAda.end(String((await ofAda.list())[0]?.id)), true, 'the text of a form is as good as a number')
    })

    t.test('ends one session without reading the others', async (t) => {
      const knex = await openUserSessions(t, name)
      let reads = 0
      const loads = (text: string) => {
        reads++
        return JSON.parse(text)
      }
      const { app, login } = await createSite(t, knex, { serializer: { dumps: JSON.stringify, loads } })
      const [first, , third] = [await login('1'), await login('1'), await login('1')]
      const [last] = await app.sessions.ofUser(1).list()
      reads = 0
      t.equal(await app.sessions.ofUser(1).end(last?.id as number), true)
      t.equal(reads, 1)
      t.strictSame((await third.get('/who')).json(), { id: null })
      t.strictSame((await first.get('/who')).json(), { id: '1' })
      t.equal((await app.sessions.ofUser(1).list()).length, 2)
      for (const id of ['2147483648', '9007199254740993', '9'.repeat(16)]) t.equal(await app.sessions.ofUser(1).end(id), false, id)
    })

    t.test('shows no entry without a live session, and none whose session is of another user', async (t) => {
      const knex = await openUserSessions(t, name)
      const { app, login } = await createSite(t, knex)
      const { sessions } = app
      const [gone, expired, others, unsigned, live] = [
        await login('1'),
        await login('1'),
        await login('2'),
        await login('1'),
        await login('1')
      ].map(({ cookie }) => cookie as string) as [string, string, string, string, string]
      await knex('django_session').where({ session_key: gone }).del()
      await knex('django_session')
        .where({ session_key: expired })
        .update({ expire_date: dateOf(knex.client.driverName, new Date(Date.now() - 60_000)) })
      await knex('django_session')
        .where({ session_key: unsigned })
        .update({ session_data: signing.dumps({ _auth_user_id: '1' }, { secretKey: 'another secret key', salt: SALT }) })
      await knex(TABLE).where({ session_key: others }).update({ user_id: 1 })

      const list = await sessions.ofUser(1).list()
      t.equal(list.length, 1)
      t.strictSame(await knex(TABLE).where({ id: list[0]?.id }).pluck('session_key'), [live])
      t.equal(await sessions.ofUser(1).endAll(), 1)
      t.strictSame(
        await entryKeys(knex),
        [expired, others, unsigned].sort(),
        'an expired one stays for clocks that are slow, and one that cannot be read for who can read it'
      )
      t.ok(await sessions.model.find(others), "the other user's session goes on")
      t.ok(await sessions.model.find(unsigned))
    })

    t.test('ends a session whose entry follows its new key a moment later', async (t) => {
      const knex = await openUserSessions(t, name)
      const { app, login } = await createSite(t, knex)
      await login('1')
      const moving = (await login('1')).cookie as string
      const newKey = newSessionKey()
      await knex('django_session').where({ session_key: moving }).update({ session_key: newKey })
      const queries = recordQueries(knex)
      const looks = () => queries.filter((sql) => sql.includes('LEFT JOIN')).length
      const ending = app.sessions.ofUser(1).endAll()
      let hasEnded = false
      ending.finally(() => {
        hasEnded = true
      })
      while (looks() < 3 && !hasEnded) await turn()
      await knex(TABLE).where({ session_key: moving }).update({ session_key: newKey })
      t.equal(await ending, 2)
      t.strictSame(await knex('django_session').select(), [])
      t.strictSame(await entryKeys(knex), [])
    })

    t.test('looks a few times only for a session whose entry is all that is left', async (t) => {
      const knex = await openUserSessions(t, name)
      const { app, login } = await createSite(t, knex)
      await login('1')
      await knex('django_session').del()
      const queries = recordQueries(knex)
      t.equal(await app.sessions.ofUser(1).endAll(), 0)
      const looks = queries.filter((sql) => sql.includes('LEFT JOIN')).length
      t.ok(looks < 10, `${looks} looks`)
      t.strictSame(await entryKeys(knex), [])
    })

    t.test('shows a user agent that Django stored without what controls a terminal', async (t) => {
      const knex = await openUserSessions(t, name)
      const { app, login } = await createSite(t, knex)
      await login('1')
      await knex(TABLE).update({ user_agent: '\x1b[2Jphone\r\n' })
      t.match(await app.sessions.ofUser(1).list(), [{ userAgent: '[2Jphone' }])
      await knex(TABLE).update({ user_agent: '\x07' })
      t.match(await app.sessions.ofUser(1).list(), [{ userAgent: null }])
    })

    t.test('leaves alone the entry of a login under way in Django, whose row has no user yet', async (t) => {
      const knex = await openUserSessions(t, name)
      const { app } = await createSite(t, knex)
      const session = app.sessions.open().set('a', 1)
      await session.save()
      const now = dateOf(knex.client.driverName, new Date())
      const entry = {
        session_key: session.sessionKey,
        user_id: 1,
        created_at: now,
        last_seen_at: now,
        ip: '::1',
        user_agent: '',
        data: '{}'
      }
      await knex(TABLE).insert(entry)
      t.strictSame(await app.sessions.ofUser(1).list(), [])
      session.set('_auth_user_id', '1')
      await session.save()
      t.match(await app.sessions.ofUser(1).list(), [{ ip: '::1', userAgent: null }])
    })

    t.test('lists by one statement, and ends a thousand sessions by a few', { skip: missing(name) }, async (t) => {
      const knex = await openUserSessions(t, name)
      const { app } = await createSite(t, knex)
      const session_data = signing.dumps({ _auth_user_id: '1' }, { secretKey, salt: SALT })
      const date = dateOf(knex.client.driverName, new Date(Date.now() + 1_000_000))
      const rows = Array.from({ length: 1000 }, () => ({ session_key: newSessionKey(), session_data, expire_date: date }))
      const entriesOf = (user_id: number, keys: string[]) =>
        keys.map((session_key) => ({ session_key, user_id, created_at: date, last_seen_at: date, ip: '::1', user_agent: 'x', data: '{}' }))
      await knex.batchInsert('django_session', rows, 200)
      await knex.batchInsert(
        TABLE,
        entriesOf(
          1,
          rows.map(({ session_key }) => session_key)
        ),
        100
      )
      const stale = Array.from({ length: 10_000 }, newSessionKey)
      await knex.batchInsert(TABLE, entriesOf(2, stale), 100)
      await app.sessions.ofUser(3).list()

      const queries = recordQueries(knex)
      t.equal((await app.sessions.ofUser(1).list()).length, 1000)
      const statements = () => queries.splice(0).filter((sql) => /SELECT|INSERT|UPDATE|DELETE/.test(sql))
      t.equal(statements().length, 1)
      t.equal(await app.sessions.ofUser(1).endAll(), 1000)
      const ended = statements().length
      t.ok(ended <= 10, `${ended} statements`)
      t.equal(
        await app.sessions.model
          .query()
          .count('* as count')
          .first()
          .then((row) => Number(row?.count)),
        0
      )
      await app.sessions.clearExpired()
      t.strictSame(await entryKeys(knex), [], 'the cleanup takes along the entries of sessions that are gone')
    })
  })
}

for (const name of ['postgres', 'mariadb'] as const) {
  t.test(
    `a session that another program has locked is the only one that endAll() leaves, on ${name}`,
    { skip: missing(name) },
    async (t) => {
      const knex = await openUserSessions(t, name)
      const { app, login } = await createSite(t, knex, { storeTimeout: 0.3 })
      const [first, locked, last] = [await login('1'), await login('1'), await login('1')]
      const holder = await knex.transaction()
      await holder('django_session').where({ session_key: locked.cookie }).forUpdate()
      await t.rejects(app.sessions.ofUser(1).endAll(), { code: 'FST_SESSION_STORE_UNAVAILABLE' })
      for (const { cookie } of [first, last]) t.equal(await app.sessions.model.find(cookie as string), null)
      await holder.rollback()
      t.equal(await app.sessions.ofUser(1).endAll(), 1)
    }
  )
}

for (const name of ['postgres', 'mariadb'] as const) {
  t.test(`a session that gets a new key between a look and its end is ended, on ${name}`, { skip: missing(name) }, async (t) => {
    const knex = await openUserSessions(t, name)
    const { app, login } = await createSite(t, knex)
    const ofUser = app.sessions.ofUser(1)
    for (const end of [(id: number) => ofUser.end(id), () => ofUser.endAll()]) {
      const { cookie } = await login('1')
      const [listed] = await ofUser.list()
      const rotation = await knex.transaction()
      const session_key = newSessionKey()
      for (const table of ['django_session', TABLE]) await rotation(table).where({ session_key: cookie }).update({ session_key })
      const queries = recordQueries(knex)
      const ending = end(listed?.id ?? 0)
      // It has seen the session under its old key, and is refused the row.
      while (queries.filter((sql) => /NOWAIT|lock_wait/.test(sql)).length < 2) await turn()
      await rotation.commit()
      t.equal(Number(await ending), 1)
      t.strictSame(await knex('django_session').select(), [])
      t.strictSame(await entryKeys(knex), [])
    }
  })
}

t.test('without the option there is no ofUser()', async (t) => {
  const { app } = await createSite(t, await openDatabase(t, 'sqlite'), { userSessions: false })
  t.throws(() => app.sessions.ofUser(1), { code: 'FST_SESSION_INVALID_OPTIONS', message: /userSessions: expected true or an object/ })
})
