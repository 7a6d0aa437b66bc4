/** Changes are taken out of the cache of Django's `cached_db`. */
import t, { type Test } from 'tap'
import { addKeyRoutes, Browser, createApp } from '../fixtures/app.ts'
import { openDatabase } from '../fixtures/databases.ts'

async function createSite(t: Test) {
  const knex = await openDatabase(t, 'sqlite')
  const deleted: string[] = []
  let failing = false
  let onDelete = () => {}
  const djangoCache = {
    keyPrefix: 'site',
    version: 2,
    deleteAgainAfter: 0.001,
    delete: async (key: string) => {
      if (failing) throw new Error(`DEL ${key}`)
      deleted.push(key)
      onDelete()
    }
  }
  const { app, logs } = await createApp(t, { knex, djangoCache }, (app) => {
    app.get('/set', async (request) => String(request.session.set('a', 1).modified))
    app.get('/read', async (request) => (await request.session.load()).toObject())
    addKeyRoutes(app)
  })
  const browser = new Browser(app)
  await browser.get('/set')
  return {
    browser,
    logs,
    deleted,
    nextDelete: () =>
      new Promise<void>((resolve) => {
        onDelete = resolve
      }),
    fail: () => {
      failing = true
    }
  }
}

for (const url of ['/set', '/cycle', '/flush']) {
  t.test(`${url} deletes Django's entry`, async (t) => {
    const { browser, deleted, nextDelete } = await createSite(t)
    const entry = `site:2:django.contrib.sessions.cached_db${browser.cookie}`
    await browser.get(url)
    t.ok(deleted.includes(entry))
    await nextDelete()
    t.strictSame(new Set(deleted), new Set([entry]), 'and once more later')
  })
}

t.test('reading deletes nothing', async (t) => {
  const { browser, deleted } = await createSite(t)
  await browser.get('/read')
  t.strictSame(deleted, [])
})

t.test('when the cache fails a save is logged, and a logout is refused before anything happened', async (t) => {
  const { browser, logs, fail } = await createSite(t)
  fail()
  t.equal((await browser.get('/set')).statusCode, 200)
  t.ok(logs.some(({ msg }) => /keeps an entry/.test(String(msg))))
  t.notMatch(JSON.stringify(logs), browser.cookie)
  for (const url of ['/cycle', '/flush']) t.equal((await browser.get(url)).statusCode, 503)
  t.strictSame((await browser.get('/read')).json(), { a: 1 })
})

t.test(
  'a cache that does not answer has a fifth of storeTimeout: a save is acknowledged, a logout is refused before it began',
  async (t) => {
    const knex = await openDatabase(t, 'sqlite')
    const djangoCache = { delete: () => new Promise<never>(() => {}) }
    const { app, logs } = await createApp(t, { knex, djangoCache, storeTimeout: 2 }, (app) => {
      app.get('/set', async (request) => String(request.session.set('a', 2).modified))
      addKeyRoutes(app)
    })
    const session = app.sessions.open().set('a', 1)
    await session.save()
    const browser = new Browser(app, session.sessionKey)
    t.equal((await browser.get('/set')).statusCode, 200)
    t.match(
      logs.find(({ msg }) => /keeps an entry/.test(String(msg))),
      { err: { message: "The session store is unavailable: Django's cache did not answer in time" } }
    )
    for (const url of ['/cycle', '/flush']) {
      t.match((await browser.get(url)).json(), { statusCode: 503, code: 'FST_SESSION_STORE_UNAVAILABLE' }, url)
    }
    t.ok(await app.sessions.model.find(session.sessionKey as string), 'nothing has happened')
  }
)

t.test('the log names the kind of an error of Redis, and nothing else of it', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  class ReplyError extends Error {}
  const djangoCache = { delete: async (key: string) => Promise.reject(new ReplyError(`READONLY You can't write ${key}`)) }
  const { app, logs } = await createApp(t, { knex, djangoCache }, addKeyRoutes)
  const session = app.sessions.open().set('a', 1)
  await session.save()
  t.equal((await new Browser(app, session.sessionKey).get('/flush')).statusCode, 503)
  t.match(JSON.stringify(logs), "Django's cache failed (READONLY)")
  t.notMatch(JSON.stringify(logs), session.sessionKey as string)
})
