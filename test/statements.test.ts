import t from 'tap'
import { Browser, createApp } from './fixtures/app.ts'
import { databases, missing, openDatabase, recordQueries } from './fixtures/databases.ts'

for (const name of databases) {
  t.test(`statements per request on ${name}`, { skip: missing(name) }, async (t) => {
    const knex = await openDatabase(t, name)
    const { app } = await createApp(t, { knex, verify: false }, (app) => {
      app.get('/untouched', async () => ({}))
      app.get('/read', async (request) => ({ a: (await request.session.load()).get('a') }))
      app.get('/set', async (request) => {
        request.session.set('a', 1)
        return {}
      })
      app.get('/change-loaded', async (request) => {
        const session = await request.session.load()
        session.set('a', 2)
        return {}
      })
      app.get('/flush', async (request) => {
        await request.session.flush()
        return {}
      })
      app.get('/cycle', async (request) => {
        await request.session.cycleKey()
        return {}
      })
    })
    const browser = new Browser(app)
    const queries = recordQueries(knex)
    const statements = async (url: string): Promise<string[]> => {
      queries.length = 0
      await browser.get(url)
      return queries.map((sql) => /SELECT|INSERT|UPDATE|DELETE/.exec(sql)?.[0] ?? sql)
    }

    t.strictSame(await statements('/untouched'), [], 'without a cookie')
    t.strictSame(await statements('/read'), [], 'read without a cookie')
    t.strictSame(await statements('/set'), ['INSERT'], 'create')
    t.strictSame(await statements('/untouched'), [], 'with a cookie')
    t.strictSame(await statements('/read'), ['SELECT'])
    t.strictSame(await statements('/set'), ['SELECT', 'UPDATE'])
    t.strictSame(await statements('/change-loaded'), ['SELECT', 'UPDATE'])
    t.strictSame(await statements('/cycle'), ['SELECT', 'UPDATE'])
    t.strictSame(await statements('/flush'), ['DELETE'])
  })
}
