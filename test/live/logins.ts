/** Logins shared with a real Django site, through its own pages. */
import createKnex from 'knex'
import t, { type Test } from 'tap'
import { secretKey } from '../fixtures/app.ts'
import { createDatabase, type DatabaseName, databases, missing } from '../fixtures/databases.ts'
import { features, startDjango } from './django.ts'
import { nobody, startFastify, Visitor } from './site.ts'

const newSecretKey = 'the next secret key of the tests'

async function openSites(t: Test, name: DatabaseName) {
  const config = await createDatabase(t, name)
  const knex = createKnex(config)
  t.teardown(() => knex.destroy())
  const startAnotherDjango = (t: Test, settings: object) => startDjango(t, config.connection, settings)
  const django = await startDjango(t, config.connection)
  const fastify = await startFastify(t, knex)
  return { django, fastify, knex, startAnotherDjango }
}

for (const name of databases) {
  t.test(`logins shared with a Django site on ${name}`, { skip: missing(name) }, async (t) => {
    const { django, fastify, knex, startAnotherDjango } = await openSites(t, name)

    t.test("Fastify sends to Django's login page, and whoever signs in there comes back as that user", async (t) => {
      const visitor = new Visitor()
      const refused = await visitor.open(`${fastify}/members/`)
      t.match([refused.status, refused.headers.get('location')], [302, '/login/?next=/members/'])

      const login = django + refused.headers.get('location')
      t.equal(await visitor.submit(login, { username: 'ada', password: 'wrong' }), null)
      t.strictSame(await visitor.who(fastify), nobody)
      const back = await visitor.submit(login, { username: 'ada', password: 'lovelace' })
      t.equal(back, '/members/')
      const ada = await knex('auth_user').where({ username: 'ada' }).first('id')
      t.strictSame(await (await visitor.open(fastify + back)).json(), { userId: String(ada.id) })
      t.strictSame(await visitor.who(fastify), { user: 'ada', visits: 0 })
      t.strictSame(await visitor.who(django), { user: 'ada', visits: 0 })
    })

    t.test(
      "whoever signs in on Fastify, by Django's password field, is that user on Django's pages, and takes the session along",
      async (t) => {
        const visitor = new Visitor()
        await visitor.open(`${django}/visit/`)
        const thief = visitor.fork()
        t.equal(await visitor.loginOnFastify(fastify, 'ada', 'hopper'), 403)
        t.equal(await visitor.loginOnFastify(fastify, 'nobody', 'lovelace'), 403)
        t.strictSame(await visitor.who(django), { user: null, visits: 1 })
        t.equal(await visitor.loginOnFastify(fastify, 'ada', 'lovelace'), 200)
        t.strictSame(await visitor.who(django), { user: 'ada', visits: 1 })
        t.strictSame(await visitor.who(fastify), { user: 'ada', visits: 1 })
        t.strictSame(await thief.who(django), nobody, 'the key from before the login is worth nothing')

        t.equal(await visitor.loginOnDjango(django, 'grace', 'hopper'), '/who/')
        t.strictSame(await visitor.who(fastify), { user: 'grace', visits: 0 }, 'another user inherits nothing from Django')
        await visitor.open(`${fastify}/visit/`)
        t.equal(await visitor.loginOnFastify(fastify, 'ada', 'lovelace'), 200)
        t.strictSame(await visitor.who(django), { user: 'ada', visits: 0 })
      }
    )

    t.test('a logout on either side is one on both, also for who holds a copy of the cookie', async (t) => {
      for (const logout of ['logoutOnFastify', 'logoutOnDjango'] as const) {
        for (const login of ['loginOnFastify', 'loginOnDjango'] as const) {
          const visitor = new Visitor()
          await visitor[login](login === 'loginOnDjango' ? django : fastify, 'ada', 'lovelace')
          const thief = visitor.fork()
          for (const site of [django, fastify]) t.equal((await thief.who(site)).user, 'ada', login)
          await visitor[logout](logout === 'logoutOnDjango' ? django : fastify)
          t.equal(visitor.sessionKey, undefined, logout)
          t.strictSame(await thief.fork().who(django), nobody, `${login}, ${logout}`)
          t.strictSame(await thief.fork().who(fastify), nobody, `${login}, ${logout}`)
        }
      }
    })

    t.test("a new password in Django ends the user's other sessions on Fastify, and not the one that set it", async (t) => {
      const [visitor, elsewhere] = [new Visitor(), new Visitor()]
      await visitor.loginOnDjango(django, 'grace', 'hopper')
      await elsewhere.loginOnFastify(fastify, 'grace', 'hopper')
      const oldKey = elsewhere.sessionKey
      const fields = { old_password: 'hopper', new_password1: 'cobol', new_password2: 'cobol' }
      t.equal(await visitor.submit(`${django}/password/`, fields), '/who/')
      t.equal((await visitor.who(fastify)).user, 'grace')
      t.equal((await knex('django_session').where({ session_key: oldKey })).length, 1, 'Django does not look for other sessions')
      t.strictSame(await elsewhere.who(fastify), nobody)
      t.strictSame([elsewhere.sessionKey, await knex('django_session').where({ session_key: oldKey })], [undefined, []], 'it is flushed')

      t.equal(await elsewhere.loginOnFastify(fastify, 'grace', 'hopper'), 403)
      t.equal(await elsewhere.loginOnFastify(fastify, 'grace', 'cobol'), 200)
      t.equal((await elsewhere.who(django)).user, 'grace')
    })

    t.test('a login on Fastify that notes it in last_login makes a link to a new password worthless, as one on Django does', async (t) => {
      // As in docs/logins.md.
      const now = name === 'mariadb' ? knex.raw('UTC_TIMESTAMP(6)') : knex.fn.now()
      const onLogin = async (user: { id: unknown }) => knex('auth_user').where({ id: user.id }).update({ last_login: now })
      const noting = await startFastify(t, knex, {}, { onLogin })
      // A token holds the second of the last login: an earlier one of this second would make no difference.
      await knex('auth_user').where({ username: 'ada' }).update({ last_login: null })
      const visitor = new Visitor()
      const json = async (url: string) => (await visitor.open(`${django}/reset-token/${url}`)).json()
      const { token } = (await json('?username=ada')) as { token: string }
      const isValid = async () => ((await json(`check/?username=ada&token=${token}`)) as { isValid: boolean }).isValid
      t.equal(await visitor.loginOnFastify(fastify, 'ada', 'lovelace'), 200)
      t.equal(await isValid(), true, 'without the hook it stays valid')
      t.equal(await visitor.loginOnFastify(noting, 'ada', 'lovelace'), 200)
      t.equal(await isValid(), false)
      t.equal((await visitor.who(django)).user, 'ada')
    })

    t.test("use of Django's pages moves the end by inactivity, and the absolute end neither there nor here", async (t) => {
      const timed = await startFastify(t, knex, { timeouts: { idle: '1h', absolute: '12h' } })
      const visitor = new Visitor()
      t.equal(await visitor.loginOnFastify(timed, 'ada', 'lovelace'), 200)
      const ends = async () => (await (await visitor.open(`${timed}/ends/`)).json()) as { idle: string; absolute: string }
      const before = await ends()
      await visitor.open(`${django}/visit/`)
      const after = await ends()
      t.equal(after.absolute, before.absolute)
      t.equal(after.idle, before.absolute, "Django's age is two weeks: what is left here is the absolute end")
      await visitor.open(`${timed}/visit/`)
      t.equal((await ends()).absolute, before.absolute)
    })

    t.test('a user who is not active any more is nobody on both sides', async (t) => {
      const visitor = new Visitor()
      await visitor.loginOnDjango(django, 'edsger', 'dijkstra')
      t.equal((await visitor.who(fastify)).user, 'edsger')
      await knex('auth_user').where({ username: 'edsger' }).update({ is_active: false })
      t.equal((await visitor.who(fastify)).user, null)
      t.equal((await visitor.who(django)).user, null)
    })

    t.test(
      'a login outlives its secret key: Fastify knows the old one and signs again, so that Django needs only the new one',
      async (t) => {
        const newDjango = await startAnotherDjango(t, { SECRET_KEY: newSecretKey })
        const rotating = await startFastify(t, knex, { secretKey: newSecretKey, secretKeyFallbacks: [secretKey] })
        const newFastify = await startFastify(t, knex, { secretKey: newSecretKey })
        const visitor = new Visitor()
        await visitor.loginOnDjango(django, 'ada', 'lovelace')
        await visitor.open(`${django}/visit/`)
        const thief = visitor.fork()
        for (const site of [newDjango, newFastify]) t.strictSame(await visitor.fork().who(site), nobody, 'the new key alone is not enough')

        t.strictSame(await visitor.who(rotating), { user: 'ada', visits: 1 })
        t.strictSame(await visitor.who(newDjango), { user: 'ada', visits: 1 })
        t.strictSame(await visitor.who(newFastify), { user: 'ada', visits: 1 })
        t.equal(visitor.sessionKey, thief.sessionKey, 'the key stays')
        t.strictSame(await thief.who(django), nobody, 'the old secret key reads nothing any more')
      }
    )

    // Only where Django has SECRET_KEY_FALLBACKS that keep logins.
    if (!features.hasSecretKeyFallbacks) return
    t.test('a login outlives its secret key: Django knows the old one, and Fastify needs only the new one', async (t) => {
      const rotating = await startAnotherDjango(t, { SECRET_KEY: newSecretKey, SECRET_KEY_FALLBACKS: [secretKey] })
      const newFastify = await startFastify(t, knex, { secretKey: newSecretKey })
      const visitor = new Visitor()
      await visitor.loginOnFastify(fastify, 'ada', 'lovelace')
      await visitor.open(`${fastify}/visit/`)
      t.strictSame(await visitor.fork().who(newFastify), nobody, 'the new key alone is not enough')
      t.strictSame(await visitor.who(rotating), { user: 'ada', visits: 1 })
      t.strictSame(await visitor.who(newFastify), { user: 'ada', visits: 1 })
    })
  })
}
