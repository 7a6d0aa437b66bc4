/** Sessions of a user, between a real Django with the real django-allauth and this package. */
import createKnex from 'knex'
import t, { type Test } from 'tap'
import { createUserSessionsMigrationSource, migrationSource } from '../../lib/migrations.ts'
import { createDatabase, type DatabaseName, databases, missing } from '../fixtures/databases.ts'
import { readSchema } from '../fixtures/schema.ts'
import { TABLE } from '../fixtures/user-sessions.ts'
import { ALLAUTH, startDjango } from './django.ts'
import { startFastify, Visitor } from './site.ts'

const HAS_ALLAUTH = { HAS_ALLAUTH: true }

interface Listed {
  id: number
  userAgent: string
  ip: string
  isCurrent: boolean
}

async function openDatabase(t: Test, name: DatabaseName) {
  const config = await createDatabase(t, name)
  const knex = createKnex(config)
  t.teardown(() => knex.destroy())
  return { knex, connection: config.connection }
}

async function lists(visitor: Visitor, django: string, fastify: string): Promise<{ django: Listed[]; fastify: Listed[] }> {
  const { sessions } = (await (await visitor.open(`${django}/sessions/`)).json()) as { sessions: Listed[] }
  return { django: sessions, fastify: (await (await visitor.open(`${fastify}/sessions/`)).json()) as Listed[] }
}

const idsOf = (listed: Listed[]) => listed.map(({ id }) => id).sort()

for (const name of databases) {
  const skip = missing(name) || (ALLAUTH === undefined && 'ALLAUTH is not set')
  t.test(`sessions of a user with django-allauth on ${name}`, { skip }, async (t) => {
    t.test('signed in on either side, listed on both, and ended on either they are dead on both', async (t) => {
      const { knex, connection } = await openDatabase(t, name)
      const django = await startDjango(t, connection, HAS_ALLAUTH)
      const fastify = await startFastify(t, knex, { userSessions: true })
      const [here, there, third] = [new Visitor(), new Visitor(), new Visitor()]
      t.equal(await here.loginOnFastify(fastify, 'ada', 'lovelace'), 200)
      t.equal(await there.loginOnAllauth(django, 'ada', 'lovelace'), '/who/')
      t.equal(await third.loginOnDjango(django, 'ada', 'lovelace'), '/who/', 'past allauth, which enters nothing')
      t.strictSame(await third.who(fastify), { user: 'ada', visits: 0 })
      while ((await knex(TABLE)).length < 3) await new Promise(setImmediate)

      const seenHere = await lists(here, django, fastify)
      const seenThere = await lists(there, django, fastify)
      t.equal(seenHere.fastify.length, 3)
      for (const seen of [seenHere, seenThere]) t.strictSame(idsOf(seen.django), idsOf(seen.fastify), 'both lists are one')
      const currentOf = (listed: Listed[]) => listed.find(({ isCurrent }) => isCurrent)?.id as number
      for (const seen of [seenHere, seenThere]) t.equal(currentOf(seen.django), currentOf(seen.fastify))
      t.match(seenHere.django[0], { ip: '127.0.0.1', userAgent: 'node' })

      await here.open(`${fastify}/sessions/end/${currentOf(seenThere.fastify)}/`)
      for (const site of [django, fastify]) t.equal((await there.who(site)).user, null, 'ended here')
      await here.open(
        `${django}/sessions/end/${idsOf(seenHere.django).find((id) => ![currentOf(seenHere.django), currentOf(seenThere.django)].includes(id))}/`
      )
      for (const site of [django, fastify]) t.equal((await third.who(site)).user, null, 'ended there')
      for (const site of [django, fastify]) t.equal((await here.who(site)).user, 'ada')
      t.match(await lists(here, django, fastify), { django: [{ isCurrent: true }], fastify: [{ isCurrent: true }] })

      await here.logoutOnDjango(django)
      const other = new Visitor()
      await other.loginOnFastify(fastify, 'ada', 'lovelace')
      const { django: left, fastify: ours } = await lists(other, django, fastify)
      t.strictSame([left.length, ours.length], [1, 1], 'a logout there leaves nothing behind')
    })

    t.test('where allauth migrated, our migration changes nothing and its down leaves the table', async (t) => {
      const { knex, connection } = await openDatabase(t, name)
      await startDjango(t, connection, HAS_ALLAUTH)
      const before = await readSchema(knex, TABLE)
      t.not(before, null)
      const own = { migrationSource: createUserSessionsMigrationSource({ userId: 'bigint' }), tableName: 'own_migrations' }
      await knex.migrate.latest(own)
      t.strictSame(await readSchema(knex, TABLE), before)
      await knex.migrate.rollback(own)
      t.strictSame(await readSchema(knex, TABLE), before)
    })

    t.test('where we migrated, migrate --fake-initial takes the table over, and allauth works on it', async (t) => {
      const { knex, connection } = await openDatabase(t, name)
      await knex.migrate.latest({ migrationSource, tableName: 'session_migrations' })
      await knex.migrate.latest({ migrationSource: createUserSessionsMigrationSource({ userId: 'bigint' }), tableName: 'own_migrations' })
      const ours = await readSchema(knex, TABLE)
      // The site migrates by --fake-initial when it starts.
      const django = await startDjango(t, connection, HAS_ALLAUTH)
      t.strictSame(await readSchema(knex, TABLE), ours)
      const fastify = await startFastify(t, knex, { userSessions: true })
      const visitor = new Visitor()
      t.equal(await visitor.loginOnAllauth(django, 'ada', 'lovelace'), '/who/')
      const { django: theirs, fastify: listed } = await lists(visitor, django, fastify)
      t.strictSame(idsOf(theirs), idsOf(listed))
      t.equal(listed.length, 1)
    })
  })
}
