/**
 * Recipe: Django's documented extension of the session, a model of one's own with a column
 * `account_id` and a cookie age of one's own.
 * https://docs.djangoproject.com/en/stable/topics/http/sessions/#extending-database-backed-session-engines
 */
import createKnex, { type Knex } from 'knex'
import t, { type Test } from 'tap'
import { createAuth } from '../../lib/auth/index.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { Browser, createApp } from '../fixtures/app.ts'
import { createDatabase, type DatabaseName, databases, missing } from '../fixtures/databases.ts'

const TABLE = 'accounts_customsession'

/** The table of the model, for a database that Django does not migrate. */
async function up(knex: Knex): Promise<void> {
  await knex.schema.createTable(TABLE, (table) => {
    table.string('session_key', 40).notNullable().primary()
    table.text('session_data', 'longtext').notNullable()
    table.datetime('expire_date', { precision: 6 }).notNullable().index()
    table.integer('account_id').nullable().index()
  })
}

/** What Django's documentation has in `create_model_instance` and `get_session_cookie_age`. */
const options: Partial<SessionOptions> = {
  tableName: TABLE,
  columns: (data) => ({ account_id: Number(data._auth_user_id) || null }),
  cookieAge: 24 * 60 * 60
}

const NOW = new Date('2026-01-02T03:04:05.678Z')

async function createSite(t: Test, name: DatabaseName) {
  const knex = createKnex(await createDatabase(t, name))
  t.teardown(() => knex.destroy())
  await up(knex)
  const { login, logout } = createAuth({ getUser: (id) => ({ id, password: '' }) })
  const { app } = await createApp(t, { knex, clock: () => NOW, ...options }, (app) => {
    app.get('/visit', async (request) => {
      const session = await request.session.load()
      session.set('visits', (visits = 0) => Number(visits) + 1)
      return { visits: session.get('visits') }
    })
    app.get<{ Params: { id: string } }>('/login/:id', async (request) => {
      await login(request, { id: request.params.id, password: '' })
      return {}
    })
    app.get('/logout', async (request) => {
      await logout(request)
      return {}
    })
  })
  const accounts = async () => (await knex(TABLE).select('account_id').orderBy('account_id')).map((row) => row.account_id)
  return { app, accounts }
}

for (const name of databases) {
  t.test(`a table with the column account_id on ${name}`, { skip: missing(name) }, async (t) => {
    t.test('has the account of each session, from login to logout', async (t) => {
      const { app, accounts } = await createSite(t, name)
      const browser = new Browser(app)
      await browser.get('/visit')
      t.strictSame(await accounts(), [null], 'a visitor has none')
      await browser.get('/login/7')
      t.strictSame(await accounts(), [7])
      t.strictSame((await browser.get('/visit')).json(), { visits: 2 })
      t.strictSame(await accounts(), [7], 'written with every save')
      await browser.get('/login/key-of-another-kind')
      t.strictSame(await accounts(), [null])
      await browser.get('/logout')
      t.strictSame(await accounts(), [])
    })

    t.test('keeps it when parallel requests are merged', async (t) => {
      const { app, accounts } = await createSite(t, name)
      const browser = new Browser(app)
      await browser.get('/login/7')
      await Promise.all(Array.from({ length: 10 }, () => browser.fork().get('/visit')))
      t.strictSame((await browser.get('/visit')).json(), { visits: 11 })
      t.strictSame(await accounts(), [7])
    })

    t.test('ends the sessions of one account by one query', async (t) => {
      const { app, accounts } = await createSite(t, name)
      const [first, second, other] = [new Browser(app), new Browser(app), new Browser(app)]
      for (const browser of [first, second]) await browser.get('/login/7')
      await other.get('/login/8')
      t.equal(await app.sessions.model.query().where({ account_id: 7 }).delete(), 2)
      t.strictSame(await accounts(), [8])
      t.strictSame((await first.get('/visit')).json(), { visits: 1 }, 'a new session')
    })

    t.test('has rows and cookies of the age that was set', async (t) => {
      const { app } = await createSite(t, name)
      const browser = new Browser(app)
      const response = await browser.get('/visit')
      t.match(response.cookies, [{ maxAge: 86_400 }])
      const row = await app.sessions.model.find(String(browser.cookie))
      t.strictSame(row?.expireDate, new Date('2026-01-03T03:04:05.678Z'))
    })
  })
}
