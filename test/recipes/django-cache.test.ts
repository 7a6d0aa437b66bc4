/** Recipe: a Django site with `cached_db`, whose cache is a table of the same database (Django's `DatabaseCache`). */
import type { Knex } from 'knex'
import t, { type Test } from 'tap'
import { Browser, createApp } from '../fixtures/app.ts'
import { openDatabase } from '../fixtures/databases.ts'

const CACHE_TABLE = 'my_cache_table'

/** The table that `manage.py createcachetable` makes. */
async function createCacheTable(knex: Knex): Promise<void> {
  await knex.schema.createTable(CACHE_TABLE, (table) => {
    table.string('cache_key', 255).notNullable().primary()
    table.text('value').notNullable()
    table.datetime('expires').notNullable().index()
  })
}

async function createSite(t: Test) {
  const knex = await openDatabase(t, 'sqlite')
  await createCacheTable(knex)
  let refills: string[] = []
  let onDelete = () => {}
  const fill = (...keys: string[]) => {
    const rows = keys.map((key) => ({ cache_key: key, value: 'a pickle', expires: '2999-01-01' }))
    return knex(CACHE_TABLE).insert(rows)
  }
  const djangoCache = {
    deleteAgainAfter: 0.001,
    delete: async (key: string) => {
      await knex(CACHE_TABLE).where({ cache_key: key }).delete()
      const refill = refills.pop()
      if (refill === undefined) onDelete()
      else await fill(refill)
    }
  }
  const { app } = await createApp(t, { knex, djangoCache }, (app) => {
    app.get('/set', async (request) => ({ modified: request.session.set('a', 1).modified }))
    app.get('/logout', async (request) => {
      await request.session.flush()
      return {}
    })
  })
  const browser = new Browser(app)
  await browser.get('/set')
  const own = `:1:django.contrib.sessions.cached_db${browser.cookie}`
  return {
    browser,
    own,
    fill,
    cached: async () => (await knex(CACHE_TABLE).select('cache_key')).map((row) => row.cache_key),
    /** After each of so many deletes a Django request puts back what it has read before. The promise is for the next one. */
    refillAfter: (deletes: number) => {
      refills = Array(deletes).fill(own)
      return new Promise<void>((resolve) => {
        onDelete = resolve
      })
    }
  }
}

/** How often each deletes the entry before it answers. */
for (const [url, deletes] of Object.entries({ '/set': 1, '/logout': 2 })) {
  t.test(`${url} takes the session out of Django's cache, and nothing else`, async (t) => {
    const { browser, fill, own, cached } = await createSite(t)
    const others = [':1:page', ':1:django.contrib.sessions.cached_dbanother', ':2:django.contrib.sessions.cached_db']
    await fill(own, ...others)
    await browser.get(url)
    t.strictSame(new Set(await cached()), new Set(others))
  })

  t.test(`${url} takes out once more what a Django request put back`, async (t) => {
    const { browser, cached, refillAfter } = await createSite(t)
    const deletedAgain = refillAfter(deletes)
    await browser.get(url)
    await deletedAgain
    t.strictSame(await cached(), [])
  })
}
