/** `djangoCache`: Django reads sessions by its `cached_db`, and Fastify takes what it changes out of that cache. */
import { randomUUID } from 'node:crypto'
import { Redis } from 'ioredis'
import createKnex, { type Knex } from 'knex'
import t, { type Test } from 'tap'
import type { DjangoCache } from '../../lib/index.ts'
import { createDatabase, type DatabaseName, databases, missing } from '../fixtures/databases.ts'
import { features, startDjango } from './django.ts'
import { nobody, startFastify, Visitor } from './site.ts'

const redisUrl = process.env.REDIS_URL
if (redisUrl === undefined && process.env.CI !== undefined) throw new Error('REDIS_URL is not set')

interface CacheCase {
  name: string
  skip: string | false
  /** Django's setting `CACHES['default']`, and the option that fits it. */
  open(t: Test, knex: Knex): { setting: object; djangoCache: DjangoCache }
}

const cacheCases: CacheCase[] = [
  {
    name: 'Redis',
    skip: redisUrl === undefined && 'REDIS_URL is not set',
    open(t) {
      const keyPrefix = `test-${randomUUID()}`
      const redis = new Redis(redisUrl as string)
      t.teardown(async () => {
        const keys = await redis.keys(`${keyPrefix}:*`)
        if (keys.length > 0) await redis.del(keys)
        redis.disconnect()
      })
      return {
        setting: { BACKEND: features.redisBackend, LOCATION: redisUrl, KEY_PREFIX: keyPrefix, VERSION: 2 },
        djangoCache: { delete: (key) => redis.del(key), keyPrefix, version: 2 }
      }
    }
  },
  {
    name: "Django's database cache",
    skip: false,
    open: (_t, knex) => ({
      setting: { BACKEND: 'django.core.cache.backends.db.DatabaseCache', LOCATION: 'cache_table' },
      djangoCache: { delete: (key) => knex('cache_table').where({ cache_key: key }).delete() }
    })
  }
]

async function openSites(t: Test, name: DatabaseName, cacheCase: CacheCase) {
  const config = await createDatabase(t, name)
  const knex = createKnex(config)
  t.teardown(() => knex.destroy())
  const { setting, djangoCache } = cacheCase.open(t, knex)
  const settings = { SESSION_ENGINE: 'django.contrib.sessions.backends.cached_db', CACHES: { default: setting } }
  return {
    django: await startDjango(t, config.connection, settings),
    fastify: await startFastify(t, knex, { djangoCache }),
    careless: await startFastify(t, knex)
  }
}

for (const name of databases) {
  for (const cacheCase of cacheCases) {
    t.test(`Django's cached_db on ${name} and ${cacheCase.name}`, { skip: missing(name) || cacheCase.skip }, async (t) => {
      const { django, fastify, careless } = await openSites(t, name, cacheCase)

      t.test('without the option Django goes on answering from its cache', async (t) => {
        const visitor = new Visitor()
        await visitor.loginOnDjango(django, 'ada', 'lovelace')
        const thief = visitor.fork()
        await visitor.logoutOnFastify(careless)
        t.equal((await thief.who(django)).user, 'ada', 'so that the other tests can fail')
      })

      t.test('after a logout on either side nobody answers as the user, also to who holds a copy of the cookie', async (t) => {
        for (const logout of ['logoutOnFastify', 'logoutOnDjango'] as const) {
          const visitor = new Visitor()
          await visitor.loginOnDjango(django, 'ada', 'lovelace')
          const thief = visitor.fork()
          for (const site of [django, fastify]) t.equal((await thief.who(site)).user, 'ada')
          await visitor[logout](logout === 'logoutOnDjango' ? django : fastify)
          t.strictSame(await thief.fork().who(django), nobody, logout)
          t.strictSame(await thief.fork().who(fastify), nobody, logout)
        }
      })

      t.test('what one side changes is what the other reads next', async (t) => {
        const visitor = new Visitor()
        for (let visits = 1; visits <= 5; visits += 2) {
          await visitor.open(`${django}/visit/`)
          t.strictSame(await visitor.who(fastify), { user: null, visits })
          await visitor.open(`${fastify}/visit/`)
          t.strictSame(await visitor.who(django), { user: null, visits: visits + 1 })
        }
      })

      t.test('a login on Fastify makes the old key worth nothing to Django at once', async (t) => {
        const visitor = new Visitor()
        await visitor.open(`${django}/visit/`)
        const thief = visitor.fork()
        t.strictSame(await thief.who(django), { user: null, visits: 1 })
        t.equal(await visitor.loginOnFastify(fastify, 'ada', 'lovelace'), 200)
        t.not(visitor.sessionKey, thief.sessionKey)
        t.strictSame(await thief.who(django), nobody)
        t.strictSame(await visitor.who(django), { user: 'ada', visits: 1 })
      })
    })
  }
}
