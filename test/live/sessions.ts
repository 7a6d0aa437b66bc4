/** The table and what is in it, between a real Django and this package. */
import createKnex, { type Knex } from 'knex'
import t, { type Test } from 'tap'
import { migrationSource } from '../../lib/migrations.ts'
import { Browser, createApp } from '../fixtures/app.ts'
import { createDatabase, type DatabaseName, databases, missing } from '../fixtures/databases.ts'
import { readSchema, type Schema } from '../fixtures/schema.ts'
import { type Django, type DjangoSession, djangoOn } from './django.ts'

/** Django and Knex on a new database without tables. */
async function open(t: Test, name: DatabaseName): Promise<{ django: Django; knex: Knex }> {
  const config = await createDatabase(t, name)
  const knex = createKnex(config)
  t.teardown(() => knex.destroy())
  return { django: djangoOn(config.connection), knex }
}

async function keys(knex: Knex): Promise<string[]> {
  const rows = await knex('django_session').select('session_key')
  return rows.map((row) => row.session_key).sort()
}

/** All but the values of one name, in their order. */
const without = (name: string, { values }: DjangoSession) => values.filter(([other]) => other !== name)

for (const name of databases) {
  t.test(`one table with a real Django on ${name}`, { skip: missing(name) }, async (t) => {
    t.test('where Django migrated, our migration changes nothing and its down leaves the table', async (t) => {
      const { django, knex } = await open(t, name)
      t.strictSame(django.migrate(), ['0001_initial'])
      const { sessionKey } = django.sign_in()
      const before = [await readSchema(knex), django.inspect()]
      t.strictSame((await knex.migrate.latest({ migrationSource }))[1].length, 1, 'up ran')
      t.strictSame([await readSchema(knex), django.inspect()], before)
      t.strictSame((await knex.migrate.rollback({ migrationSource }))[1].length, 1, 'down ran')
      t.strictSame([await readSchema(knex), django.inspect()], before)
      t.equal(django.read({ session_key: sessionKey }).user, 'ada')
    })

    t.test('where we migrated, the table is the one that Django makes, and migrate --fake-initial takes it over', async (t) => {
      const { django, knex } = await open(t, name)
      django.migrate()
      const djangos = [await readSchema(knex), django.inspect()]
      await knex.raw('DROP TABLE django_session')
      await knex('django_migrations').where({ app: 'sessions' }).del()

      await knex.migrate.latest({ migrationSource })
      const { comment, ...schema } = (await readSchema(knex)) as Schema
      t.strictSame([{ ...schema, comment: '' }, django.inspect()], djangos)
      t.match(comment, 'fastify-django-sessions')
      t.strictSame(django.migrate({ fake_initial: true }), ['0001_initial'])
      t.strictSame(await readSchema(knex), { ...schema, comment }, 'Django changed nothing')
      t.equal(django.sign_in().user, 'ada')
    })

    t.test('what Django wrote and Fastify changed, Django reads with every other value and type as it was', async (t) => {
      const { django, knex } = await open(t, name)
      django.migrate()
      const written = django.sign_in()
      const { app } = await createApp(t, { knex }, (app) => {
        app.get('/visit', async (request) => {
          const session = await request.session.load()
          session.set('visits', Number(session.get('visits')) + 1)
          const big = session.get('big')
          return { user: session.get('_auth_user_id'), visits: session.get('visits'), big: `${typeof big} ${big}`, names: session.keys() }
        })
        app.get('/sign-out', async (request) => {
          await request.session.flush()
          return {}
        })
      })
      const browser = new Browser(app, written.sessionKey)
      const names = written.values.map(([name]) => name)
      t.strictSame((await browser.get('/visit')).json(), { user: '1', visits: 2, big: 'bigint 9223372036854775808', names })

      const read = django.read({ session_key: written.sessionKey })
      t.equal(read.user, 'ada', 'still signed in')
      t.strictSame(Object.fromEntries(read.values).visits, '2')
      t.strictSame(without('visits', read), without('visits', written))
      t.equal(without('visits', written).length, 16, 'all kinds of values were compared, and the three of the login')

      django.change({ session_key: written.sessionKey, name: 'visits', value: 10 })
      t.equal((await browser.get('/visit')).json().visits, 11)
      await browser.get('/sign-out')
      t.match(django.read({ session_key: written.sessionKey }), { exists: false, user: '', values: [] })
    })

    t.test('what Fastify wrote and Django changed, Fastify reads with every other value and type as it was', async (t) => {
      const { django, knex } = await open(t, name)
      django.migrate()
      const values = {
        visits: 1,
        big: 2n ** 63n,
        nan: Number.NaN,
        infinite: [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
        float: 1.5,
        emoji: '😀 \u2028 \0 " \\ é',
        nested: [[1, [2, [null, true, { '': [] }]]], 'ü'],
        10: 'ten',
        constructor: false
      }
      const { app } = await createApp(t, { knex }, (app) => {
        app.get('/write', async (request) => {
          request.session.update(values)
          request.session.setExpiry(300)
          return {}
        })
      })
      const browser = new Browser(app)
      const earliest = Date.now() + 300_000
      await browser.get('/write')
      const latest = Date.now() + 300_000

      const sessionKey = browser.cookie as string
      const read = django.read({ session_key: sessionKey })
      t.strictSame(Object.fromEntries(read.values), {
        visits: '1',
        big: '9223372036854775808',
        nan: 'nan',
        infinite: '[inf, -inf]',
        float: '1.5',
        emoji: `'😀 \\u2028 \\x00 " \\\\ é'`,
        nested: `[[1, [2, [None, True, {'': []}]]], 'ü']`,
        10: "'ten'",
        constructor: 'False',
        _session_expiry: '300'
      })
      t.equal(read.expiryAge, 300)
      const expireDate = Date.parse(read.expireDate as string)
      t.ok(earliest <= expireDate && expireDate <= latest, 'the date is the same moment to Django')

      const changed = django.change({ session_key: sessionKey, name: 'visits', value: 2 })
      t.strictSame(without('visits', changed), without('visits', read))
      const session = await app.sessions.open(sessionKey).load()
      t.strictSame(session.toObject(), { ...values, visits: 2, _session_expiry: 300 })
    })

    t.test('each removes the expired sessions that the other left, and nothing else', async (t) => {
      const { django, knex } = await open(t, name)
      django.migrate()
      const { app } = await createApp(t, { knex })
      const month = 30 * 24 * 3600
      const { app: monthAgo } = await createApp(t, { knex, clock: () => new Date(Date.now() - month * 1000) })
      const create = async ({ sessions }: typeof app): Promise<string> => {
        const session = sessions.open().set('made by', 'Fastify')
        await session.save()
        return session.sessionKey as string
      }
      const live = [await create(app), django.create({ seconds: 60 })].sort()
      const expired = [await create(monthAgo), django.create({ seconds: -1 })].sort()
      t.strictSame(await keys(knex), [...live, ...expired].sort())
      django.clear_sessions()
      t.strictSame(await keys(knex), live, "Django's clearsessions")

      await create(monthAgo)
      django.create({ seconds: -1 })
      t.match(await app.sessions.clearExpired(), { deleted: 2 })
      t.strictSame(await keys(knex), live, 'clearExpired')
    })
  })
}
