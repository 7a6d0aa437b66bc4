/** The cache before the database: never stale for longer than it fails, never a way back for a session that was ended. */
import t, { type Test } from 'tap'
import { type Cache, MemoryCache } from '../../lib/caches/memory.ts'
import type { Engine, SessionRecord } from '../../lib/contract.ts'
import { newSessionKey } from '../../lib/django/keys.ts'
import type { BulkEngine } from '../../lib/engines/bulk.ts'
import { CachedDbEngine } from '../../lib/engines/cached-db.ts'
import { SessionCache } from '../../lib/engines/session-cache.ts'
import { alive } from '../fixtures/alive.ts'
import { addKeyRoutes, Browser, createApp, gate } from '../fixtures/app.ts'
import { openDatabase, recordQueries } from '../fixtures/databases.ts'
import { createDbEngine } from '../fixtures/tables.ts'
import { type UnhurriedEngine, unhurried } from '../fixtures/unhurried.ts'

const record = (text: string): SessionRecord => ({ sessionData: text, expireDate: new Date('2999-01-01'), data: () => ({}) })

/** A cache that can fail. */
class FlakyCache extends MemoryCache {
  failing = false
  override get(key: string) {
    return this.failing ? Promise.reject(new Error(`GET ${key} failed`)) : super.get(key)
  }
  override add(...args: Parameters<Cache['add']>) {
    return this.failing ? Promise.reject(new Error(`ADD ${args[1]} failed`)) : super.add(...args)
  }
  override replace(...args: Parameters<Cache['replace']>) {
    return this.failing ? Promise.reject(new Error(`REPLACE ${args[2]} failed`)) : super.replace(...args)
  }
}

async function createEngine(t: Test, clock = () => new Date()) {
  const knex = await openDatabase(t, 'sqlite')
  const db = createDbEngine(knex, clock)
  const cache = new FlakyCache()
  const warnings: string[] = []
  const log = { debug: () => {}, warn: (_details: object, message: string) => void warnings.push(message) }
  const engineOn = (database: BulkEngine) =>
    new CachedDbEngine({ db: database, cache: new SessionCache({ cache, prefix: '', clock, maxAge: 60 }), storeTimeout: 1, log })
  return { knex, database: db, db: unhurried(db), cache, warnings, engineOn, engine: unhurried(engineOn(db)) }
}

/** A session that the cache does not have, and a reader who stands at the door with the row it has read. */
async function startSlowRead(t: Test) {
  const { engine, engineOn, database, db, cache, knex } = await createEngine(t)
  const key = await engine.create(record('first'))
  cache.clear()
  const door = gate()
  const load: Engine['load'] = async (sessionKey) => {
    const stored = await db.load(sessionKey)
    await door.pass()
    return stored
  }
  const slowDb = new Proxy(database, { get: (target, name) => (name === 'load' ? load : Reflect.get(target, name).bind(target)) })
  const reading = unhurried(engineOn(slowDb)).load(key)
  await door.reached
  return { engine, db, knex, key, door, reading }
}

t.test('what was read once is read from the cache', async (t) => {
  const { engine, knex, cache } = await createEngine(t)
  const key = await engine.create(record('first'))
  const queries = recordQueries(knex)
  t.equal((await engine.load(key))?.sessionData, 'first', 'a new session is in the cache')
  t.equal(queries.length, 0)
  cache.clear()
  t.equal((await engine.load(key))?.sessionData, 'first')
  t.equal((await engine.load(key))?.sessionData, 'first')
  t.equal(queries.length, 1)
  await engine.save(key, record('second'), 'first')
  t.equal((await engine.load(key))?.sessionData, 'second')
  t.equal(queries.filter((sql) => sql.startsWith('SELECT')).length, 1, 'a save takes the cache along')
})

const endings: Record<string, (engine: UnhurriedEngine, key: string) => Promise<unknown>> = {
  'a logout': (engine, key) => engine.delete(key),
  'a new key': (engine, key) => engine.cycleKey(key, new Date('2999-01-01'), 'first')
}
for (const [what, end] of Object.entries(endings)) {
  t.test(`a fill after a miss cannot undo ${what} meanwhile`, async (t) => {
    const { engine, key, door, reading } = await startSlowRead(t)
    await end(engine, key)
    door.open()
    t.equal((await reading)?.sessionData, 'first', 'the reader was before')
    t.equal(await engine.load(key), null)
    t.equal(await engine.exists(key), false)
  })
}

t.test('a fill after a miss cannot undo a logout of a session whose row somebody else has deleted', async (t) => {
  const { engine, db, key, door, reading } = await startSlowRead(t)
  await db.delete(key)
  await engine.delete(key)
  door.open()
  await reading
  t.equal(await engine.load(key), null)
})

t.test('a logout ends what only the cache still has', async (t) => {
  const { engine, db } = await createEngine(t)
  const key = await engine.create(record('first'))
  await db.delete(key)
  await engine.delete(key)
  t.equal(await engine.load(key), null)
})

t.test('forged logouts leave nothing in the cache, real ones a mark', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  let entries = 0
  class CountingCache extends MemoryCache {
    override async add(...args: Parameters<Cache['add']>) {
      const added = await super.add(...args)
      if (added) entries++
      return added
    }
  }
  const { app } = await createApp(t, { engine: 'cached_db', knex, cache: new CountingCache() }, (app) => {
    app.get('/set', async (request) => String(request.session.set('a', 1).modified))
    app.get('/read', async (request) => (await request.session.load()).toObject())
    addKeyRoutes(app)
  })
  for (let number = 0; number < 20; number++) await new Browser(app, newSessionKey()).get('/flush')
  t.equal(entries, 0)
  const browser = new Browser(app)
  await browser.get('/set')
  const copy = browser.fork()
  await browser.get('/flush')
  t.equal(entries, 1)
  t.strictSame((await copy.get('/read')).json(), {})
})

t.test('a fill after a miss cannot undo a save meanwhile', async (t) => {
  const { engine, key, door, reading } = await startSlowRead(t)
  await engine.save(key, record('second'), 'first')
  door.open()
  await reading
  t.equal((await engine.load(key))?.sessionData, 'second')
})

t.test('of two readers one fills the cache, and the other reads the database', async (t) => {
  const { engine, knex, key, door, reading: first } = await startSlowRead(t)
  const queries = recordQueries(knex)
  t.equal((await engine.load(key))?.sessionData, 'first')
  t.equal(queries.length, 1)
  door.open()
  await first
  await engine.load(key)
  t.equal(queries.length, 1)
})

t.test('another writer of the table is noticed at the next save, and the cache is given up', async (t) => {
  const { engine, db } = await createEngine(t)
  const key = await engine.create(record('first'))
  await db.save(key, record('other'), 'first')
  t.equal((await engine.load(key))?.sessionData, 'first', 'stale, which is why such tables need the engine db')
  t.match(await engine.save(key, record('mine'), 'first'), { outcome: 'changed', stored: { sessionData: 'other' } })
  t.equal((await engine.load(key))?.sessionData, 'other')
})

t.test('a failing cache is passed over on load and save, and refuses flush and cycleKey before anything happened', async (t) => {
  const { engine, cache, warnings, db } = await createEngine(t)
  const key = await engine.create(record('first'))
  cache.failing = true
  t.equal((await engine.load(key))?.sessionData, 'first')
  t.match(await engine.save(key, record('second'), 'first'), { outcome: 'saved' })
  t.equal(await engine.exists(key), true)
  t.ok(warnings.length > 0)
  t.notMatch(warnings.join(), key)
  await t.rejects(engine.delete(key), { code: 'FST_SESSION_STORE_UNAVAILABLE', statusCode: 503 })
  await t.rejects(engine.cycleKey(key, new Date('2999-01-01'), 'second'), { code: 'FST_SESSION_STORE_UNAVAILABLE' })
  t.equal((await db.load(key))?.sessionData, 'second')
})

t.test('a cache that does not answer is waited for once in each operation, and a fifth of its time', async (t) => {
  const { database, db } = await createEngine(t)
  const key = await db.create(record('first'))
  const commands: string[] = []
  const silent = (name: string) => () => {
    commands.push(name)
    return new Promise<never>(() => {})
  }
  const hanging: Cache = { get: silent('get'), add: silent('add'), replace: silent('replace'), delete: silent('delete') }
  const cache = new SessionCache({ cache: hanging, prefix: '', clock: () => new Date() })
  const engine = unhurried(new CachedDbEngine({ db: database, cache, storeTimeout: 1, log: { debug: () => {}, warn: () => {} } }))
  const commandsOf = async (operation: Promise<unknown>) => {
    await operation
    return commands.splice(0)
  }
  t.strictSame(await commandsOf(engine.load(key)), ['get'])
  t.equal((await engine.load(key))?.sessionData, 'first')
  commands.length = 0
  t.strictSame(await commandsOf(engine.create(record('other'))), ['add'])
  t.strictSame(await commandsOf(engine.save(key, record('second'), 'first')), ['get'])
  t.strictSame(await commandsOf(engine.touch(key, new Date('2999-01-02'), 'second')), ['get'])
  const timedOut = { code: 'FST_SESSION_STORE_UNAVAILABLE', cause: { message: /the cache did not answer in time/ } }
  await t.rejects(engine.delete(key), timedOut)
  await t.rejects(engine.cycleKey(key, new Date('2999-01-01'), 'second'), timedOut)
  t.strictSame(commands, ['get', 'get'])
  t.equal((await db.load(key))?.sessionData, 'second')
})

t.test('a cache that hangs while a copy is made does not keep the answer', async (t) => {
  const { database, db } = await createEngine(t)
  const key = await db.create(record('first'))
  const cache = new MemoryCache()
  cache.replace = () => new Promise<never>(() => {})
  const log = { debug: () => {}, warn: () => {} }
  const entries = new SessionCache({ cache, prefix: '', clock: () => new Date() })
  const engine = unhurried(new CachedDbEngine({ db: database, cache: entries, storeTimeout: 1, log }))
  t.equal((await engine.load(key))?.sessionData, 'first')
  t.equal((await engine.load(key))?.sessionData, 'first', 'the mark in the cache is no session')
})

t.test('after a save whose old copy could not be taken away, this process reads the database until it could', async (t) => {
  const { engine, engineOn, database, cache, knex } = await createEngine(t)
  const key = await engine.create(record('an admin'))
  cache.failing = true
  t.match(await engine.save(key, record('nobody'), 'an admin'), { outcome: 'saved' })
  t.equal((await engine.load(key))?.sessionData, 'nobody', 'while the cache fails')
  cache.failing = false
  const another = unhurried(engineOn(database))
  t.equal((await another.load(key))?.sessionData, 'an admin', 'another process cannot know')
  t.equal((await engine.load(key))?.sessionData, 'nobody')
  t.equal((await another.load(key))?.sessionData, 'nobody', 'the old copy was taken away at the first use')
  cache.clear()
  await engine.load(key)
  const queries = recordQueries(knex)
  t.equal((await engine.load(key))?.sessionData, 'nobody')
  t.equal(queries.length, 0, 'the cache is in use again')
})

/** Resolves when an entry of the cache has been replaced. @param refused the key of one that cannot be */
function nextReplacement(cache: FlakyCache, refused?: string): Promise<void> {
  return new Promise((resolve) => {
    const { replace } = cache
    cache.replace = async (key, ...args) => {
      if (key === refused) throw new Error('READONLY')
      const answer = await replace.call(cache, key, ...args)
      resolve()
      return answer
    }
  })
}

t.test('an old copy that could not be taken away is taken away for other processes too, though nobody uses the session', async (t) => {
  const { engine, engineOn, database, cache } = await createEngine(t)
  const key = await engine.create(record('an admin'))
  cache.failing = true
  await engine.save(key, record('nobody'), 'an admin')
  const repeated = nextReplacement(cache)
  cache.failing = false
  await alive(repeated)
  t.equal((await unhurried(engineOn(database)).load(key))?.sessionData, 'nobody')
})

t.test('a session that the cache refuses for good does not keep others from being taken away', async (t) => {
  const { engine, cache } = await createEngine(t)
  const refused = await engine.create(record('refused'))
  const other = await engine.create(record('an admin'))
  cache.failing = true
  await engine.save(refused, record('nobody'), 'refused')
  await engine.save(other, record('nobody'), 'an admin')
  const repeated = nextReplacement(cache, refused)
  cache.failing = false
  await alive(repeated)
  t.notMatch(await cache.get(other), 'an admin')
})

t.test('a copy is believed for a minute, whatever the cache has kept or brought back', async (t) => {
  let now = new Date('2030-01-01T00:00:00Z')
  const { engineOn, database, cache } = await createEngine(t, () => now)
  const kept = new Map<string, string>()
  cache.get = async (key) => kept.get(key) ?? null
  cache.add = async (key, value) => !kept.has(key) && Boolean(kept.set(key, value))
  cache.replace = async (key, expected, value) => kept.get(key) === expected && Boolean(kept.set(key, value))
  const engine = unhurried(engineOn(database))
  const key = await engine.create(record('first'))
  const replica = [...kept]
  await engine.delete(key)
  for (const [name, value] of replica) kept.set(name, value)
  now = new Date(now.getTime() + 59_999)
  t.equal((await engine.load(key))?.sessionData, 'first', 'a replica without the last writes has taken over')
  now = new Date(now.getTime() + 1)
  t.equal(await engine.load(key), null)
})

t.test('cacheMaxAge is how long a process may see what another one changed without the cache', async (t) => {
  let now = new Date('2030-01-01T00:00:00Z')
  const clock = () => now
  const knex = await openDatabase(t, 'sqlite')
  const options = { engine: 'cached_db', knex, clock, cache: new MemoryCache({ clock }), cacheMaxAge: 10 } as const
  const { app } = await createApp(t, options, (app) => {
    app.get('/set', async (request) => String(request.session.set('role', 'admin').modified))
    app.get('/read', async (request) => (await request.session.load()).toObject())
  })
  const { app: another } = await createApp(t, { engine: 'db', knex, clock }, addKeyRoutes)
  const browser = new Browser(app)
  await browser.get('/set')
  await new Browser(another, browser.cookie).get('/flush')
  now = new Date(now.getTime() + 9_999)
  t.strictSame((await browser.fork().get('/read')).json(), { role: 'admin' })
  now = new Date(now.getTime() + 1)
  t.strictSame((await browser.get('/read')).json(), {})
})

t.test('a save whose answer was lost leaves nothing stale in the cache', async (t) => {
  const { database, engine, engineOn } = await createEngine(t)
  const key = await engine.create(record('first'))
  const save: Engine['save'] = async (sessionKey, stored, snapshot, deadline) => {
    await database.save(sessionKey, stored, snapshot, deadline)
    throw new Error('the answer was lost')
  }
  const losing = new Proxy(database, { get: (target, name) => (name === 'save' ? save : Reflect.get(target, name).bind(target)) })
  await t.rejects(unhurried(engineOn(losing)).save(key, record('second'), 'first'))
  t.equal((await engine.load(key))?.sessionData, 'second')
})

t.test('entries that are none of ours are not believed, and replaced', async (t) => {
  for (const garbage of [
    '',
    'garbage',
    '{"a":1}',
    'fds1',
    'fds-moved elsewhere',
    'fds1 soon 1 nonce - text',
    'fds2 32503680000000 1 nonce - text',
    'fds1 1 1 nonce - expired'
  ]) {
    const { engine, cache } = await createEngine(t)
    const key = await engine.create(record('first'))
    cache.clear()
    await cache.add(key, garbage, 100)
    t.equal((await engine.load(key))?.sessionData, 'first', garbage)
    t.match(await engine.save(key, record('second'), 'first'), { outcome: 'saved' })
    t.equal((await engine.load(key))?.sessionData, 'second')
  }
})

t.test('as an option: reads cost no query, a logout is one everywhere', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const cache = new MemoryCache()
  const { app } = await createApp(t, { engine: 'cached_db', knex, cache }, (app) => {
    app.get('/set', async (request) => String(request.session.set('a', 1).modified))
    app.get('/read', async (request) => (await request.session.load()).toObject())
    app.get('/flush', async (request) => {
      await request.session.flush()
      return 'flushed'
    })
  })
  const browser = new Browser(app)
  await browser.get('/set')
  const queries = recordQueries(knex)
  t.strictSame((await browser.get('/read')).json(), { a: 1 })
  t.equal(queries.length, 0)
  const copy = browser.fork()
  await browser.get('/flush')
  t.strictSame((await copy.get('/read')).json(), {})
})
