/** A database that discards new rows without an error. */
import type { Knex } from 'knex'
import t from 'tap'
import { MemoryCache } from '../../lib/index.ts'
import { Browser, createApp } from '../fixtures/app.ts'
import { type DatabaseName, databases, missing, openDatabase } from '../fixtures/databases.ts'

/** Triggers of MariaDB cannot discard a row. */
const discard: Partial<Record<DatabaseName, (knex: Knex) => Promise<unknown>>> = {
  sqlite: (knex) => knex.raw('CREATE TRIGGER discard BEFORE INSERT ON django_session BEGIN SELECT RAISE(IGNORE); END'),
  postgres: async (knex) => {
    await knex.raw('CREATE FUNCTION discard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$')
    await knex.raw('CREATE TRIGGER discard BEFORE INSERT ON django_session FOR EACH ROW EXECUTE FUNCTION discard()')
  }
}

for (const database of databases.filter((name) => name in discard)) {
  for (const engine of ['db', 'cached_db'] as const) {
    t.test(
      `${engine} on ${database}: a trigger that discards new sessions is a 503, and the process goes on`,
      { skip: missing(database) },
      async (t) => {
        const knex = await openDatabase(t, database)
        await discard[database]?.(knex)
        const { app, logs } = await createApp(t, { engine, knex, ...(engine === 'cached_db' && { cache: new MemoryCache() }) }, (app) => {
          app.get('/set', async (request) => String(request.session.set('a', 1).modified))
          app.get('/health', async () => 'healthy')
        })
        // Several at once leave as one statement on PostgreSQL.
        const responses = await Promise.all([1, 2, 3].map(() => new Browser(app).get('/set')))
        for (const response of responses) {
          t.strictSame(response.json(), {
            statusCode: 503,
            code: 'FST_SESSION_STORE_UNAVAILABLE',
            error: 'Service Unavailable',
            message: 'The session store is unavailable'
          })
        }
        t.match(logs.filter(({ err }) => err !== undefined).pop(), {
          err: {
            message:
              /it stored nothing under 3 new keys, as if all of them were taken\. Does something discard new sessions, such as a trigger\?/
          }
        })
        t.equal((await app.inject('/health')).body, 'healthy')
      }
    )
  }
}
