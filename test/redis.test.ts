/** The engine `cache` on a Redis that fails, several processes on one, and a cluster. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { Cluster, Redis } from 'ioredis'
import { createCluster, createClient as createNodeRedis } from 'redis'
import t, { type Test } from 'tap'
import { RedisCache } from '../lib/caches/redis.ts'
import { CacheEngine } from '../lib/engines/cache.ts'
import { SessionCache } from '../lib/engines/session-cache.ts'
import type { Cache } from '../lib/index.ts'
import { engineContract } from '../lib/testing.ts'
import { createAddress } from './fixtures/address.ts'
import { addRoutes, Browser, createApp } from './fixtures/app.ts'
import { openDatabase } from './fixtures/databases.ts'
import { createProxy } from './fixtures/proxy.ts'
import { missingRedisServer, RedisServer, startCluster } from './fixtures/redis.ts'

const skip = missingRedisServer()
const UNAVAILABLE = { statusCode: 503, code: 'FST_SESSION_STORE_UNAVAILABLE' }

function createSite(t: Test, cache: Cache, storeTimeout = 0.3) {
  return createApp(t, { engine: 'cache', cache, storeTimeout }, addRoutes)
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

/** The clients with their default settings, of which ioredis sends a command again when it has connected again. */
const clients: Record<'ioredis' | 'node-redis', (t: Test, url: string) => Promise<ConstructorParameters<typeof RedisCache>[0]>> = {
  ioredis: async (t, url) => {
    const client = new Redis(url)
    client.on('error', () => {})
    t.teardown(() => client.disconnect())
    await client.ping()
    return client
  },
  'node-redis': async (t, url) => {
    const client = createNodeRedis({ url })
    client.on('error', () => {})
    t.teardown(() => client.destroy())
    await client.connect()
    return client as unknown as ConstructorParameters<typeof RedisCache>[0]
  }
}

/** How the clients write the names of commands. */
const spelling = { ioredis: (name: string) => name.toLowerCase(), 'node-redis': (name: string) => name }

for (const [name, connectTo] of Object.entries(clients)) {
  const commandNamed = (command: string) => `\r\n${spelling[name as keyof typeof spelling](command)}\r\n`
  for (const when of ['before', 'after'] as const) {
    const open = async (t: Test) => {
      const server = await RedisServer.start(t)
      const proxy = await createProxy(t, `redis://127.0.0.1:${server.port}`)
      const { app } = await createSite(t, new RedisCache(await connectTo(t, proxy.url)), 5)
      const direct = await createClient(t, server.port)
      return { proxy, browser: new Browser(app), keys: () => direct.keys('*') }
    }

    t.test(`a connection of ${name} that is cut ${when} a save was carried out: it counts once`, { skip }, async (t) => {
      const { proxy, browser, keys } = await open(t)
      proxy.fail(commandNamed('SET'), when)
      t.equal((await browser.get('/count')).statusCode, 200, 'a new session')
      t.equal((await keys()).length, 1)
      for (const count of [2, 3]) {
        proxy.fail(commandNamed('EVAL'), when)
        t.equal((await browser.get('/count')).statusCode, 200)
        t.strictSame((await browser.get('/read')).json(), { count })
      }
      t.equal(proxy.failures, 3)
    })

    t.test(
      `a connection of ${name} that is cut ${when} a step of a new key was carried out: the session has the new key`,
      { skip },
      async (t) => {
        const { proxy, browser } = await open(t)
        await browser.get('/count')
        for (const step of [commandNamed('SET'), commandNamed('EVAL'), 'fds-moved']) {
          const before = browser.fork()
          proxy.fail(step, when)
          t.equal((await browser.get('/cycle')).statusCode, 200)
          t.not(browser.cookie, before.cookie)
          t.strictSame((await browser.get('/read')).json(), { count: 1 })
          t.strictSame((await before.get('/read')).json(), {})
        }
        t.equal(proxy.failures, 3)
      }
    )
  }
}

t.test('a connection that stands open and leads nowhere: ioredis with socketTimeout makes another one in time', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const proxy = await createProxy(t, `redis://127.0.0.1:${server.port}`)
  const client = new Redis(proxy.url, { socketTimeout: 100 })
  client.on('error', () => {})
  t.teardown(() => client.disconnect())
  const { app } = await createSite(t, new RedisCache(client), 5)
  const browser = new Browser(app)
  await browser.get('/count')
  proxy.fail('eval', 'silence')
  t.equal((await browser.get('/count')).statusCode, 200)
  t.strictSame((await browser.get('/read')).json(), { count: 2 })
  t.equal(proxy.failures, 1)
})

t.test('an address that has moved to another primary: ioredis with reconnectOnError follows it', { skip }, async (t) => {
  const [first, second] = [await RedisServer.start(t), await RedisServer.start(t)]
  const [firstAdmin, secondAdmin] = [await createClient(t, first.port), await createClient(t, second.port)]
  await secondAdmin.replicaof('127.0.0.1', first.port)
  const address = await createAddress(t, first.port)
  const client = new Redis(address.port, { reconnectOnError: (error) => (error.message.startsWith('READONLY') ? 2 : false) })
  client.on('error', () => {})
  t.teardown(() => client.disconnect())
  const { app } = await createSite(t, new RedisCache(client), 5)
  const browser = new Browser(app)
  await browser.get('/count')
  await firstAdmin.wait(1, 0)
  await secondAdmin.replicaof('NO', 'ONE')
  await firstAdmin.replicaof('127.0.0.1', second.port)
  address.moveTo(second.port)
  t.equal((await browser.get('/count')).statusCode, 200)
  t.strictSame((await browser.get('/read')).json(), { count: 2 })
})

t.test('the log names the kind of an error of Redis, and nothing else of it', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const admin = await createClient(t, server.port)
  for (const [name, connectTo] of Object.entries(clients)) {
    const { app, logs } = await createSite(t, new RedisCache(await connectTo(t, `redis://127.0.0.1:${server.port}`)))
    const browser = new Browser(app)
    await browser.get('/count')
    const reasonFor = async (kind: string) => {
      logs.length = 0
      t.match((await browser.get('/count')).json(), UNAVAILABLE)
      t.match(JSON.stringify(logs), `the cache failed (${kind})`, `${kind} through ${name}`)
      t.notMatch(JSON.stringify(logs), /replica|maxmemory|script/)
    }
    await admin.config('SET', 'maxmemory', '1')
    await reasonFor('OOM')
    await admin.config('SET', 'maxmemory', '0')
    await admin.replicaof('127.0.0.1', 1)
    await reasonFor('READONLY')
    await admin.replicaof('NO', 'ONE')
  }
})

t.test('the log says that a client of node-redis was never connected', async (t) => {
  const { app, logs } = await createSite(t, new RedisCache(createNodeRedis({ url: 'redis://127.0.0.1:1' })))
  t.match((await new Browser(app).get('/count')).json(), UNAVAILABLE)
  t.match(JSON.stringify(logs), 'the cache failed (ClientClosedError): its client is closed. Is await client.connect() missing?')
})

/** The cache, and how many of its commands have failed so far. */
function counted(cache: Cache) {
  let failures = 0
  const count = (error: unknown): never => {
    failures++
    throw error
  }
  const counting: Cache = {
    get: (key) => Promise.resolve(cache.get(key)).catch(count),
    add: (...args) => Promise.resolve(cache.add(...args)).catch(count),
    replace: (...args) => Promise.resolve(cache.replace(...args)).catch(count),
    delete: (key) => Promise.resolve(cache.delete(key)).catch(count)
  }
  return { cache: counting, failures: () => failures }
}

for (const [name, connectTo] of Object.entries(clients)) {
  t.test(`an error that passes is waited for, through ${name}: a replica that becomes the primary`, { skip }, async (t) => {
    const server = await RedisServer.start(t)
    const admin = await createClient(t, server.port)
    const proxy = await createProxy(t, `redis://127.0.0.1:${server.port}`)
    const { cache, failures } = counted(new RedisCache(await connectTo(t, proxy.url)))
    const { app } = await createSite(t, cache, 60)
    const browser = new Browser(app)
    await browser.get('/count')
    await admin.replicaof('127.0.0.1', 1)
    const saving = browser.get('/count')
    while (failures() < 3) await admin.ping()
    proxy.fail(`\r\n${spelling[name as keyof typeof spelling]('EVAL')}\r\n`, 'before')
    while (proxy.failures < 1) await admin.ping()
    await admin.replicaof('NO', 'ONE')
    t.equal((await saving).statusCode, 200, 'although the connection was cut meanwhile')
    t.strictSame((await browser.get('/read')).json(), { count: 2 })
  })
}

t.test('a Redis that loads its file is waited for', { skip }, async (t) => {
  // Microseconds for each key; and after so many bytes it answers that it is loading.
  const server = await RedisServer.start(t, '--key-load-delay', '500', '--loading-process-events-interval-bytes', '1024')
  const admin = await createClient(t, server.port)
  await admin.eval("for number = 1, 2000 do redis.call('SET', 'filling ' .. number, 1) end", 0)
  const { cache, failures } = counted(new RedisCache(await clients['node-redis'](t, `redis://127.0.0.1:${server.port}`)))
  const { app } = await createSite(t, cache, 60)
  const browser = new Browser(app)
  await browser.get('/count')
  await admin.save()
  await server.stop()
  const started = server.start()
  t.equal((await browser.get('/count')).statusCode, 200)
  t.ok(failures() > 2, `${failures()} refusals`)
  await started
  t.strictSame((await browser.get('/read')).json(), { count: 2 })
})

t.test('a Redis that is silent while a save in cached_db is acknowledged: this process never shows the old data', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const knex = await openDatabase(t, 'sqlite')
  const client = await createClient(t, server.port)
  const options = { engine: 'cached_db', knex, cache: new RedisCache(client) } as const
  const { app } = await createApp(t, options, (app) => {
    app.get('/promote', async (request) => String(request.session.set('role', 'admin').modified))
    app.get('/demote', async (request) => String(request.session.set('role', 'nobody').modified))
    app.get('/read', async (request) => (await request.session.load()).get('role'))
  })
  const browser = new Browser(app)
  await browser.get('/promote')
  t.equal((await browser.get('/read')).body, 'admin')
  server.signal('SIGSTOP')
  t.equal((await browser.get('/demote')).statusCode, 200)
  t.equal((await browser.get('/read')).body, 'nobody', 'while it is silent')
  server.signal('SIGCONT')
  t.equal((await browser.get('/read')).body, 'nobody')
  const { app: another } = await createApp(t, options, (app) => {
    app.get('/read', async (request) => (await request.session.load()).get('role'))
  })
  t.equal((await new Browser(another, browser.cookie).get('/read')).body, 'nobody', 'the old copy was taken away')
})

t.test('values of other programs under our keys are not taken for sessions', { skip }, async (t) => {
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

t.test('counters of several processes on one Redis stay exact', { skip }, async (t) => {
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
  const nodes = (await startCluster(t)).map(({ port }) => ({ host: '127.0.0.1', port }))
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

t.test(
  'a node of a cluster that dies with a command under way: node-redis repeats it when a replica is in its place',
  { skip },
  async (t) => {
    const servers = await startCluster(t, 1, '--cluster-node-timeout', '500')
    const rootNodes = servers.map(({ port }) => ({ url: `redis://127.0.0.1:${port}` }))
    const cluster = createCluster({ rootNodes, topologyRefreshOnReconnectionAttemptStrategy: 100 })
    cluster.on('error', () => {})
    await cluster.connect()
    t.teardown(() => cluster.destroy())
    const cache = new RedisCache(cluster as unknown as ConstructorParameters<typeof RedisCache>[0])
    const { app } = await createSite(t, cache, 60)
    const browser = new Browser(app)
    await browser.get('/count')
    const masters = await Promise.all(servers.slice(0, 3).map(async (server) => ({ server, admin: await createClient(t, server.port) })))
    const sizes = await Promise.all(masters.map(({ admin }) => admin.dbsize()))
    const { server, admin } = masters[sizes.indexOf(1)] as (typeof masters)[number]
    await admin.wait(1, 0)
    server.signal('SIGSTOP')
    const { get } = cache
    const asked = new Promise<void>((resolve) => {
      cache.get = (key) => {
        resolve()
        return get.call(cache, key)
      }
    })
    const counting = browser.get('/count')
    await asked
    await server.stop()
    t.equal((await counting).statusCode, 200)
    t.strictSame((await browser.get('/read')).json(), { count: 2 })
  }
)
