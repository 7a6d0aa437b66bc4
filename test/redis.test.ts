/** The engine `cache` on a Redis that fails, several processes on one, and a cluster. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { Cluster, Redis } from 'ioredis'
import { createCluster } from 'redis'
import t, { type Test } from 'tap'
import { RedisCache } from '../lib/caches/redis.ts'
import { CacheEngine } from '../lib/engines/cache.ts'
import { SessionCache } from '../lib/engines/session-cache.ts'
import type { Cache } from '../lib/index.ts'
import { engineContract } from '../lib/testing.ts'
import { Browser, createApp } from './fixtures/app.ts'
import { missingRedisServer, RedisServer, startCluster } from './fixtures/redis.ts'

const skip = missingRedisServer()
const UNAVAILABLE = { statusCode: 503, code: 'FST_SESSION_STORE_UNAVAILABLE' }

function createSite(t: Test, cache: Cache) {
  return createApp(t, { engine: 'cache', cache, storeTimeout: 0.3 }, (app) => {
    app.get('/count', async (request) => {
      request.session.set('count', (count = 0) => count + 1)
      return 'counted'
    })
    app.get('/read', async (request) => (await request.session.load()).toObject())
    app.get('/flush', async (request) => {
      await request.session.flush()
      return 'flushed'
    })
  })
}

async function createClient(t: Test, port: number): Promise<Redis> {
  const client = new Redis(port, { retryStrategy: () => 10 })
  client.on('error', () => {})
  t.teardown(() => client.disconnect())
  await client.ping()
  return client
}

t.test('a Redis that stops: 503, no anonymous visitors, and service when it is back', { skip }, async (t) => {
  const server = await RedisServer.start(t, '--appendonly', 'yes', '--appendfsync', 'always')
  const client = await createClient(t, server.port)
  const { app, logs } = await createSite(t, new RedisCache(client))
  const browser = new Browser(app)
  await browser.get('/count')
  // The client sends what it was given when it can, a logout too.
  const leaving = new Browser(app)
  await leaving.get('/count')
  await server.stop()
  for (const [visitor, url] of [
    [browser, '/read'],
    [browser, '/count'],
    [leaving, '/flush']
  ] as const) {
    const response = await visitor.get(url)
    t.match(response.json(), UNAVAILABLE, url)
    t.notOk(response.headers['set-cookie'])
  }
  t.notMatch(JSON.stringify(logs), browser.cookie)
  await server.start()
  if (client.status !== 'ready') await once(client, 'ready')
  t.match((await browser.get('/read')).json(), { count: Number })
})

t.test('a Redis that does not answer: 503 within storeTimeout, and service when it does', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const { app } = await createSite(t, new RedisCache(await createClient(t, server.port)))
  const browser = new Browser(app)
  await browser.get('/count')
  server.signal('SIGSTOP')
  t.match((await browser.get('/read')).json(), UNAVAILABLE)
  server.signal('SIGCONT')
  t.strictSame((await browser.get('/read')).json(), { count: 1 })
})

t.test('other things under our keys are no sessions', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const client = await createClient(t, server.port)
  const { app } = await createSite(t, new RedisCache(client))
  const browser = new Browser(app)
  await browser.get('/count')
  const [key] = (await client.keys('*')) as [string]
  for (const garbage of ['', 'garbage', '{"count":1}', 'fds2 32503680000000 text', 'fds1 32503680000000 forged:text:here']) {
    await client.set(key, garbage)
    t.strictSame((await browser.fork().get('/read')).json(), {}, garbage)
  }
  await client.del(key)
  await client.hset(key, 'a', 'hash')
  t.match((await browser.fork().get('/read')).json(), UNAVAILABLE, 'a key of another type')
})

t.test('several processes on one Redis count right', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const { app } = await createSite(t, new RedisCache(await createClient(t, server.port)))
  const browser = new Browser(app)
  await browser.get('/count')
  const counters = Array.from({ length: 3 }, () =>
    fork(new URL('fixtures/counter.ts', import.meta.url), [`redis://127.0.0.1:${server.port}`, browser.cookie as string, '20'])
  )
  await Promise.all(counters.map((counter) => once(counter, 'message')))
  const exits = counters.map((counter) => once(counter, 'exit'))
  for (const counter of counters) counter.send('start')
  t.strictSame(await Promise.all(exits), Array(3).fill([0, null]))
  t.strictSame((await browser.get('/read')).json(), { count: 61 })
})

t.test('on a Redis cluster the contract holds, through ioredis and node-redis', { skip }, async (t) => {
  const nodes = await startCluster(t)
  const ioredis = new Cluster(nodes)
  t.teardown(() => ioredis.disconnect())
  const nodeRedis = createCluster({ rootNodes: nodes.map(({ host, port }) => ({ url: `redis://${host}:${port}` })) })
  await nodeRedis.connect()
  t.teardown(() => nodeRedis.close())
  for (const [name, client] of Object.entries({ ioredis, nodeRedis })) {
    const cache = new RedisCache(client as unknown as ConstructorParameters<typeof RedisCache>[0])
    // The contract's clock stands in the past, and the server's does not.
    const patient: Cache = {
      get: (key) => cache.get(key),
      add: (key, value) => cache.add(key, value, 100),
      replace: (key, expected, value) => cache.replace(key, expected, value, 100),
      delete: (key) => cache.delete(key)
    }
    for (const { name: what, run } of engineContract) {
      await t.test(`${name}: ${what}`, () =>
        run((clock) => new CacheEngine(new SessionCache({ cache: patient, prefix: `${name}:`, clock })))
      )
    }
  }
})
