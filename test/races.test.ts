/** Two requests on one session, in orders that gates dictate. */
import t, { type Test } from 'tap'
import type { SessionOptions } from '../lib/index.ts'
import { addKeyRoutes, Browser, createApp, gate } from './fixtures/app.ts'
import { type DatabaseName, databases, missing, openDatabase, recordQueries } from './fixtures/databases.ts'
import { createRows, createTable, soon } from './fixtures/tables.ts'

/** Requests that load, wait at a gate, and then act. */
async function createSite(t: Test, database: DatabaseName, options: Partial<SessionOptions> = {}) {
  const knex = await openDatabase(t, database)
  let door = gate()
  const { app, logs } = await createApp(t, { knex, ...options }, (app) => {
    app.get<{ Params: { name: string; value: string } }>('/set/:name/:value', async (request) => {
      request.session.set(request.params.name, request.params.value)
      return 'set'
    })
    app.get<{ Params: { name: string; value: string } }>('/slow-set/:name/:value', async (request) => {
      const session = await request.session.load()
      await door.pass()
      session.set(request.params.name, request.params.value)
      return 'set'
    })
    app.get('/slow-clear', async (request) => {
      const session = await request.session.load()
      await door.pass()
      session.clear()
      return 'cleared'
    })
    app.get('/slow-read', async (request) => {
      const session = await request.session.load()
      await door.pass()
      return session.toObject()
    })
    app.get('/slow-cycle', async (request) => {
      await request.session.load()
      await door.pass()
      await request.session.cycleKey()
      return 'cycled'
    })
    app.get('/slow-save-by-hand', async (request) => {
      const session = await request.session.load()
      await door.pass()
      session.set('by', 'hand')
      await session.save()
      return 'saved'
    })
    app.get('/count', async (request) => {
      request.session.set('count', (count = 0) => count + 1)
      return 'counted'
    })
    app.get('/login', async (request) => {
      await request.session.cycleKey()
      request.session.set('_auth_user_id', '42')
      return 'signed in'
    })
    addKeyRoutes(app)
    app.get('/read', async (request) => (await request.session.load()).toObject())
  })
  const browser = new Browser(app)
  await browser.get('/set/start/here')
  /** Sends `slow`, and when it has loaded the session lets `meanwhile` run before it goes on. */
  const overtake = async (slow: string, meanwhile: (other: Browser) => Promise<unknown>) => {
    door = gate()
    const other = browser.fork()
    const pending = browser.get(slow)
    await door.reached
    await meanwhile(other)
    door.open()
    return { response: await pending, other }
  }
  const keys = async (): Promise<string[]> => (await knex('django_session').select('session_key')).map((row) => row.session_key)
  return { knex, app, logs, browser, overtake, keys }
}

for (const database of databases) {
  t.test(`races on ${database}`, { skip: missing(database) }, async (t) => {
    t.test('two writers of different keys both survive', async (t) => {
      const { browser, overtake } = await createSite(t, database)
      const { response } = await overtake('/slow-set/mine/1', (other) => other.get('/set/theirs/2'))
      t.equal(response.statusCode, 200)
      t.strictSame((await browser.get('/read')).json(), { start: 'here', theirs: '2', mine: '1' })
    })

    t.test('of two writers of one key the later save wins', async (t) => {
      const { browser, overtake } = await createSite(t, database)
      await overtake('/slow-set/key/late', (other) => other.get('/set/key/early'))
      t.match((await browser.get('/read')).json(), { key: 'late' })
    })

    t.test('a slow reader overwrites nothing, and answers what it read', async (t) => {
      const { browser, overtake, knex } = await createSite(t, database)
      const queries = recordQueries(knex)
      const { response } = await overtake('/slow-read', async (other) => {
        await other.get('/set/new/value')
        queries.length = 0
      })
      t.strictSame(response.json(), { start: 'here' })
      t.strictSame(queries, [])
      t.match((await browser.get('/read')).json(), { new: 'value' })
    })

    t.test('a slow clear() is made on top of what was written meanwhile', async (t) => {
      const { browser, overtake } = await createSite(t, database)
      await overtake('/slow-clear', (other) => other.get('/set/new/value'))
      t.strictSame((await browser.get('/read')).json(), {})
    })

    for (const slow of ['/slow-set/a/1', '/slow-clear', '/slow-cycle', '/slow-save-by-hand']) {
      t.test(`a logout during ${slow} stays a logout`, async (t) => {
        const { overtake, keys } = await createSite(t, database)
        const { response } = await overtake(slow, (other) => other.get('/flush'))
        t.equal(response.statusCode, 400)
        t.match(response.json(), { code: 'FST_SESSION_INTERRUPTED' })
        t.notOk(response.headers['set-cookie'], 'the browser may hold a successor already')
        t.strictSame(await keys(), [])
      })

      t.test(`a new key taken during ${slow} is the only one alive`, async (t) => {
        const { overtake, keys } = await createSite(t, database)
        const { response, other } = await overtake(slow, (other) => other.get('/cycle'))
        t.equal(response.statusCode, 400)
        t.notOk(response.headers['set-cookie'])
        t.strictSame(await keys(), [other.cookie])
        t.strictSame((await other.get('/read')).json(), { start: 'here' })
      })
    }

    t.test('a logout during a slow reader stays a logout', async (t) => {
      const { overtake, keys } = await createSite(t, database)
      const { response } = await overtake('/slow-read', (other) => other.get('/flush'))
      t.equal(response.statusCode, 200)
      t.notOk(response.headers['set-cookie'])
      t.strictSame(await keys(), [])
    })

    t.test('a logout is a logout also for a request that renews the session', async (t) => {
      const { overtake, keys } = await createSite(t, database, { saveEveryRequest: true })
      const { response } = await overtake('/slow-read', (other) => other.get('/flush'))
      t.equal(response.statusCode, 400)
      t.notOk(response.headers['set-cookie'])
      t.strictSame(await keys(), [])
    })

    t.test('a request that renews the session leaves another one’s end alone', async (t) => {
      const { overtake, knex } = await createSite(t, database, { saveEveryRequest: true })
      await overtake('/slow-read', (other) => other.get('/set/new/value'))
      t.equal((await knex('django_session').select()).length, 1)
    })

    t.test('a login during a slow writer leaves the browser with the new key', async (t) => {
      const { overtake, keys } = await createSite(t, database)
      const { response, other } = await overtake('/slow-set/a/1', (other) => other.get('/login'))
      t.equal(response.statusCode, 400)
      t.notOk(response.headers['set-cookie'])
      t.strictSame(await keys(), [other.cookie])
      t.strictSame((await other.get('/read')).json(), { start: 'here', _auth_user_id: '42' })
    })

    for (const name of ['_auth_user_id', '_auth_user_backend']) {
      t.test(`a request is interrupted when ${name} changed under it`, async (t) => {
        const { overtake, browser } = await createSite(t, database)
        const { response, other } = await overtake('/slow-set/a/1', (other) => other.get(`/set/${name}/other`))
        t.equal(response.statusCode, 400)
        t.notOk(response.headers['set-cookie'])
        t.strictSame((await other.get('/read')).json(), { start: 'here', [name]: 'other' })
        t.equal(browser.cookie, other.cookie)
      })
    }

    t.test('twenty requests at once that each write another key are all kept', async (t) => {
      const { browser } = await createSite(t, database)
      const names = Array.from({ length: 20 }, (_, index) => `key${index}`)
      const responses = await Promise.all(names.map((name) => browser.fork().get(`/set/${name}/1`)))
      t.ok(responses.every(({ statusCode }) => statusCode === 200))
      t.strictSame(Object.keys((await browser.get('/read')).json()).sort(), [...names, 'start'].sort())
    })

    t.test('twenty requests at once that count up one key count right', async (t) => {
      const { browser } = await createSite(t, database)
      await Promise.all(Array.from({ length: 20 }, () => browser.fork().get('/count')))
      t.match((await browser.get('/read')).json(), { count: 20 })
    })

    t.test('several processes count right: applications that share nothing but the database', async (t) => {
      const { browser, knex } = await createSite(t, database)
      const apps = await Promise.all(
        Array.from({ length: 4 }, (_, index) =>
          // Some send batches and some do not.
          createApp(t, { knex, batching: index % 2 === 0 }, (app) => {
            app.get('/count', async (request) => {
              request.session.set('count', (count = 0) => count + 1)
              return 'counted'
            })
          })
        )
      )
      const requests = apps.flatMap(({ app }) => Array.from({ length: 5 }, () => new Browser(app, browser.cookie).get('/count')))
      t.strictSame(new Set((await Promise.all(requests)).map(({ statusCode }) => statusCode)), new Set([200]))
      t.match((await browser.get('/read')).json(), { count: 20 })
    })

    t.test("onConflict: 'reject' interrupts when both changed the same key, and merges otherwise", async (t) => {
      const { browser, overtake } = await createSite(t, database, { onConflict: 'reject' })
      const merged = await overtake('/slow-set/mine/1', (other) => other.get('/set/theirs/2'))
      t.equal(merged.response.statusCode, 200)
      const rejected = await overtake('/slow-set/theirs/3', (other) => other.get('/set/theirs/4'))
      t.equal(rejected.response.statusCode, 400)
      const cleared = await overtake('/slow-clear', (other) => other.get('/set/fifth/5'))
      t.equal(cleared.response.statusCode, 400)
      t.strictSame((await browser.get('/read')).json(), { start: 'here', theirs: '4', mine: '1', fifth: '5' })
    })

    t.test("onConflict: 'overwrite' is Django's last write wins, and still no logout is undone", async (t) => {
      const { browser, overtake, keys } = await createSite(t, database, { onConflict: 'overwrite' })
      await overtake('/slow-set/mine/1', (other) => other.get('/set/theirs/2'))
      t.strictSame((await browser.get('/read')).json(), { start: 'here', mine: '1' })
      const { response } = await overtake('/slow-set/mine/2', (other) => other.get('/flush'))
      t.equal(response.statusCode, 400)
      t.strictSame(await keys(), [])
    })

    t.test('the row disappears before the save (clearsessions, another stack): interrupted', async (t) => {
      const { overtake, knex, keys } = await createSite(t, database)
      const { response } = await overtake('/slow-set/a/1', () => knex('django_session').delete())
      t.equal(response.statusCode, 400)
      t.strictSame(await keys(), [])
    })

    t.test('of two that make, or delete, the row of one key at once, one did', async (t) => {
      const table = createTable(await openDatabase(t, database))
      const rows = createRows(table)
      const key = 'thekeyofthesession'
      const make = (text: string) => rows.insert(key, { sessionData: text, expireDate: new Date(Date.now() + 60_000) }, {}, soon())
      const made = await Promise.all(['one', 'other'].map(make))
      t.strictSame(made.toSorted(), [false, true])
      t.match(await table.find(key), { sessionData: made[0] ? 'one' : 'other' })
      const deleted = await Promise.all([rows.delete(key, soon()), rows.delete(key, soon())])
      t.strictSame(deleted.toSorted(), [false, true])
    })
  })
}
