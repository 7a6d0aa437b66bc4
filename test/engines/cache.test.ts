/** Caches and clients that answer in other forms than expected, and caches that engines share. */
import { randomUUID } from 'node:crypto'
import Keyv from 'keyv'
import { createClient, RESP_TYPES } from 'redis'
import t, { type Test } from 'tap'
import { type Cache, KeyvCache, MemoryCache, RedisCache, type SessionOptions } from '../../lib/index.ts'
import { addKeyRoutes, Browser, createApp } from '../fixtures/app.ts'
import { caches } from '../fixtures/caches.ts'
import { openDatabase } from '../fixtures/databases.ts'

const skip = process.env.REDIS_URL === undefined && 'REDIS_URL is not set'

function createSite(t: Test, options: Partial<SessionOptions>) {
  return createApp(t, options, (app) => {
    app.get('/count', async (request) => {
      const session = await request.session.load()
      session.set('count', (count: unknown = 0) => Number(count) + 1)
      return session.get('count')
    })
    app.get('/read', async (request) => (await request.session.load()).toObject())
    app.get('/health', async () => 'healthy')
    addKeyRoutes(app)
  })
}

/** A cache of which some methods answer otherwise. */
function withAnswers(answers: Partial<Record<keyof Cache, () => unknown>>, cache: Cache = new MemoryCache()): Cache {
  return {
    get: (...args) => (answers.get ? answers.get() : cache.get(...args)) as Promise<string | null>,
    add: (...args) => (answers.add ? answers.add() : cache.add(...args)) as Promise<boolean>,
    replace: (...args) => (answers.replace ? answers.replace() : cache.replace(...args)) as Promise<boolean>,
    delete: (...args) => (answers.delete ? answers.delete() : cache.delete(...args)) as Promise<void>
  }
}

const UNAVAILABLE = {
  statusCode: 503,
  code: 'FST_SESSION_STORE_UNAVAILABLE',
  error: 'Service Unavailable',
  message: 'The session store is unavailable'
}

/** The visitor gets no reason, which the log has. */
function checkUnavailable(t: Test, response: { json(): unknown }, logs: Record<string, unknown>[], reason: string): void {
  t.strictSame(response.json(), UNAVAILABLE)
  const messages = logs.map(({ err }) => String((err as Error | undefined)?.message))
  t.ok(
    messages.some((message) => message.includes(reason)),
    reason
  )
}

const NOTHING_STORED =
  'it stored nothing under 3 new keys, as if all of them were taken. Does something discard new sessions, such as a trigger?'
const NOTHING_REPLACED = 'the cache changed an entry in none of 100 attempts. Does its replace() compare with exactly what get() returned?'
const wrongAnswer = (expected: string, method: string, answer: string) =>
  `the option cache does not do what it should: expected ${expected} from its ${method}(), got ${answer}`

t.test('a cache that stores nothing new is a 503, and the process goes on answering', async (t) => {
  const answers: [answer: unknown, message: string][] = [
    [Promise.resolve(false), NOTHING_STORED],
    [Promise.resolve(undefined), wrongAnswer('true or false', 'add', 'undefined')],
    [undefined, wrongAnswer('true or false', 'add', 'undefined')],
    [Promise.resolve('OK'), wrongAnswer('true or false', 'add', 'a string')],
    [Promise.resolve(1), wrongAnswer('true or false', 'add', 'a number')]
  ]
  for (const [answer, message] of answers) {
    const { app, logs } = await createSite(t, { engine: 'cache', cache: withAnswers({ add: () => answer }) })
    const [response, health] = await Promise.all([new Browser(app).get('/count'), app.inject('/health')])
    checkUnavailable(t, response, logs, message)
    t.notOk(response.headers['set-cookie'])
    t.equal(health.body, 'healthy')
  }
})

t.test('a cache that replaces nothing is a 503 for saves and for a change of the key, and a logout works', async (t) => {
  for (const [answer, message] of [
    [false, NOTHING_REPLACED],
    [undefined, wrongAnswer('true or false', 'replace', 'undefined')]
  ] as const) {
    const { app, logs } = await createSite(t, { engine: 'cache', cache: withAnswers({ replace: async () => answer }) })
    const browser = new Browser(app)
    await browser.get('/count')
    for (const url of ['/count', '/cycle']) checkUnavailable(t, await browser.get(url), logs, message)
    t.strictSame((await browser.get('/read')).json(), { count: 1 })
    t.equal((await browser.get('/flush')).statusCode, 200)
    t.equal((await app.inject('/health')).body, 'healthy')
  }
})

t.test('cached_db passes over such a cache where the database decides, and refuses a logout', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const { app, logs } = await createSite(t, { engine: 'cached_db', knex, cache: withAnswers({ replace: async () => false }) })
  const browser = new Browser(app)
  await browser.get('/count')
  t.equal((await browser.get('/count')).statusCode, 200)
  t.match(
    logs.find(({ msg }) => msg === 'The session cache failed and is passed over'),
    { err: { message: `The session store is unavailable: ${NOTHING_REPLACED}` } }
  )
  checkUnavailable(t, await browser.get('/flush'), logs, NOTHING_REPLACED)
})

t.test('a client that sends a save twice counts once, even when another process saved between the two', async (t) => {
  const store = new MemoryCache()
  const { app: another } = await createSite(t, { engine: 'cache', cache: store })
  let rivals = 0
  const cache = withAnswers({}, store)
  cache.replace = async (...args) => {
    await store.replace(...args)
    for (let rival = 0; rival < rivals; rival++) await elsewhere.get('/count')
    return store.replace(...args)
  }
  const { app } = await createSite(t, { engine: 'cache', cache })
  const browser = new Browser(app)
  await browser.get('/count')
  const elsewhere = new Browser(another, browser.cookie)
  for (rivals of [0, 1, 3]) {
    const { count } = (await browser.get('/read')).json()
    await browser.get('/count')
    t.strictSame((await browser.get('/read')).json(), { count: count + 1 + rivals }, `${rivals} rivals`)
  }
})

t.test('a cache on a Map answers undefined for what it does not have', async (t) => {
  const map = new Map<string, string>()
  const { app } = await createSite(t, {
    engine: 'cache',
    cache: {
      get: async (key) => map.get(key) as string,
      add: async (key, value) => !map.has(key) && Boolean(map.set(key, value)),
      replace: async (key, expected, value) => map.get(key) === expected && Boolean(map.set(key, value)),
      delete: async (key) => void map.delete(key)
    }
  })
  const browser = new Browser(app)
  t.equal((await browser.get('/count')).body, '1')
  t.equal((await browser.get('/count')).body, '2')
  await browser.get('/flush')
  t.equal((await browser.get('/count')).body, '1')
})

t.test('an answer that is no entry is an error that names it, and nobody is signed out', async (t) => {
  for (const [answer, kind] of [
    [42, 'a number'],
    [Buffer.from('x'), 'an instance of Buffer'],
    [{ value: 'x' }, 'a plain object'],
    [true, 'a boolean']
  ] as const) {
    const { app, logs } = await createSite(t, { engine: 'cache', cache: withAnswers({ get: async () => answer }) })
    const browser = new Browser(app, 'abcdefghijklmnopqrstuvwxyz012345')
    checkUnavailable(t, await browser.get('/read'), logs, wrongAnswer('a string or null', 'get', kind))
    t.equal(browser.cookie, 'abcdefghijklmnopqrstuvwxyz012345')
  }
})

t.test('what a cache throws instead of rejecting with it names no key', async (t) => {
  const cache = new MemoryCache()
  const { app, logs } = await createSite(t, {
    engine: 'cache',
    cache: {
      get: (key) => {
        throw new Error(`GET ${key}`)
      },
      add: cache.add.bind(cache),
      replace: cache.replace.bind(cache),
      delete: cache.delete.bind(cache)
    }
  })
  const response = await new Browser(app, 'abcdefghijklmnopqrstuvwxyz012345').get('/read')
  checkUnavailable(t, response, logs, 'the cache failed (Error)')
  t.notMatch(JSON.stringify(logs), 'abcdefghijklmnopqrstuvwxyz012345')
})

t.test('node-redis with replies as Buffers, strings for numbers or bigints works', { skip }, async (t) => {
  const client = createClient({ url: process.env.REDIS_URL as string })
  await client.connect()
  t.teardown(() => client.close())
  const mappings = {
    Buffers: { [RESP_TYPES.BLOB_STRING]: Buffer, [RESP_TYPES.SIMPLE_STRING]: Buffer },
    'strings for numbers': { [RESP_TYPES.NUMBER]: String }
  }
  for (const [name, mapping] of Object.entries(mappings)) {
    const mapped = client.withTypeMapping(mapping) as unknown as ConstructorParameters<typeof RedisCache>[0]
    const { app } = await createSite(t, { engine: 'cache', cache: new RedisCache(mapped) })
    const browser = new Browser(app)
    for (const count of ['1', '2', '3']) t.equal((await browser.get('/count')).body, count, name)
    await browser.get('/cycle')
    t.equal((await browser.get('/count')).body, '4', name)
    await browser.get('/flush')
    t.strictSame((await browser.get('/read')).json(), {}, name)
  }
})

t.test('node-redis in legacy mode, which answers nothing, is an error that says so', { skip }, async (t) => {
  const client = createClient({ url: process.env.REDIS_URL as string })
  // It does not reject either: it emits.
  client.on('error', () => {})
  await client.connect()
  t.teardown(() => client.close())
  const legacy = client.legacy() as unknown as ConstructorParameters<typeof RedisCache>[0]
  const { app, logs } = await createSite(t, { engine: 'cache', cache: new RedisCache(legacy) })
  const remedy = 'Give it a client with its default replies, and not one in legacy mode'
  const browser = new Browser(app, 'abcdefghijklmnopqrstuvwxyz012345')
  checkUnavailable(t, await browser.get('/read'), logs, `the client of RedisCache answered GET with undefined. ${remedy}`)
  checkUnavailable(t, await new Browser(app).get('/count'), logs, `the client of RedisCache answered SET with undefined. ${remedy}`)
  t.equal((await app.inject('/health')).body, 'healthy')
})

t.test('the answers of a Redis client to EVAL are told apart, whatever their type', async (t) => {
  const cacheFor = (answer: unknown) =>
    new RedisCache({ get: async () => null, set: async () => null, del: async () => 0, eval: async () => answer, defineCommand: null })
  for (const yes of [1, 1n, '1', Buffer.from('1')]) t.equal(await cacheFor(yes).replace('key', 'a', 'b', 1), true)
  for (const no of [0, 0n, '0', Buffer.from('0')]) t.equal(await cacheFor(no).replace('key', 'a', 'b', 1), false)
  for (const none of [undefined, null, true, 'QUEUED', Promise, {}]) {
    await t.rejects(cacheFor(none).replace('key', 'a', 'b', 1), {
      code: 'FST_SESSION_STORE_UNAVAILABLE',
      cause: { message: /answered EVAL with/ }
    })
  }
})

t.test('what is no client is refused when the cache is made', async (t) => {
  const redis = (client: unknown) => new RedisCache(client as ConstructorParameters<typeof RedisCache>[0])
  t.throws(() => redis(undefined), {
    name: 'TypeError',
    message: 'RedisCache: expected a client of ioredis, iovalkey or redis, got undefined without get, set, eval, del'
  })
  t.throws(() => redis('redis://localhost'), { message: /got a string without get, set, eval, del$/ })
  t.throws(() => redis(new Map()), { message: /got an instance of Map without eval, del$/ })
  t.throws(() => new KeyvCache('redis://localhost' as never), {
    message: 'KeyvCache: expected a Keyv, got a string without get, set, delete'
  })
  const keyv5 = Object.assign(new Keyv(), { throwOnErrors: false })
  t.throws(() => new KeyvCache(keyv5), {
    name: 'TypeError',
    message: 'KeyvCache: expected a Keyv that throws the errors of its store, such as new Keyv({ store, throwOnErrors: true })'
  })
})

t.test('a Keyv whose store fails is an outage, and no anonymous visitor', async (t) => {
  const store = Object.assign(new Map(), { failing: false })
  for (const name of ['get', 'set', 'delete'] as const) {
    const original = store[name].bind(store) as (...args: unknown[]) => unknown
    Object.assign(store, {
      [name](...args: unknown[]) {
        if (store.failing) throw new Error(`${name} failed`)
        return original(...args)
      }
    })
  }
  const keyv = new Keyv({ store, throwOnErrors: true })
  // Which makes Keyv 6 answer a call that failed as if there were no entry.
  keyv.on('error', () => {})
  const { app, logs } = await createSite(t, { engine: 'cache', cache: new KeyvCache(keyv) })
  const browser = new Browser(app)
  await browser.get('/count')
  store.failing = true
  for (const url of ['/read', '/count', '/flush']) checkUnavailable(t, await browser.get(url), logs, 'the cache failed (Error)')
  store.failing = false
  t.equal((await browser.get('/count')).body, '2')
})

t.test('a Keyv that stores nothing, or gives objects, is an error', async (t) => {
  const keyv = (answers: object) =>
    new KeyvCache({ get: async () => undefined, set: async () => true, delete: async () => true, ...answers })
  await t.rejects(keyv({ set: async () => false }).add('key', 'value', 1), {
    cause: { message: /the store of KeyvCache stored nothing$/ }
  })
  await t.rejects(keyv({ get: async () => ({ a: 1 }) }).get('key'), {
    code: 'FST_SESSION_STORE_UNAVAILABLE',
    cause: { message: /KeyvCache answered get\(\) with a plain object, expected the string that was set/ }
  })
})

for (const { name, skip, create } of caches) {
  t.test(`the engines cache and cached_db share nothing in one ${name}, whatever a cookie says`, { skip }, async (t) => {
    const knex = await openDatabase(t, 'sqlite')
    const createCache = await create(t)
    const inner = createCache(() => new Date())
    const keys = new Set<string>()
    const own = randomUUID()
    const cache: Cache = {
      get: (key) => inner.get(own + key),
      add: (key, ...rest) => {
        keys.add(key)
        return inner.add(own + key, ...rest)
      },
      replace: (key, ...rest) => inner.replace(own + key, ...rest),
      delete: (key) => inner.delete(own + key)
    }
    const cached = await createSite(t, { engine: 'cached_db', knex, cache })
    const plain = await createSite(t, { engine: 'cache', cache })
    const user = new Browser(cached.app)
    await user.get('/count')
    t.strictSame([...keys], [`fastify:django.contrib.sessions.cached_db:${user.cookie}`])
    for (const planted of [`d_db${user.cookie}`, `d_db:${user.cookie}`, `:${user.cookie}`, `${user.cookie}`]) {
      for (const url of ['/read', '/flush', '/count']) {
        await new Browser(plain.app, planted).get(url)
        t.strictSame((await user.fork().get('/read')).json(), { count: 1 }, `${url} with the cookie ${planted}`)
      }
      t.strictSame((await new Browser(plain.app, planted).get('/read')).json(), {})
    }
  })
}
