/** What is logged in a run through everything, failures too, at the most talkative level: no key, no secret, no data. */
import { mkdirSync } from 'node:fs'
import { rename as renameFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Knex } from 'knex'
import t, { type Test } from 'tap'
import { type Cache, MemoryCache } from '../lib/caches/memory.ts'
import { STORE_SALT } from '../lib/django/codec.ts'
import { TimestampSigner } from '../lib/django/signing.ts'
import type { SessionOptions } from '../lib/index.ts'
import { Browser, createApp, gate, secretKey } from './fixtures/app.ts'
import { databases, missing, openDatabase } from './fixtures/databases.ts'
import { privateFolder } from './fixtures/folders.ts'

const VALUE = 'a value that nobody may read'
const FALLBACK = 'the former secret key of the tests'

/** Fails with what clients of caches put into their errors: the command. */
class FailingCache extends MemoryCache {
  failing = false
  override get(key: string) {
    return this.failing ? Promise.reject(Object.assign(new Error(`GET ${key}`), { command: { args: [key] } })) : super.get(key)
  }
  override add(...args: Parameters<Cache['add']>) {
    return this.failing ? Promise.reject(new Error(`SET ${args.join()}`)) : super.add(...args)
  }
  override replace(...args: Parameters<Cache['replace']>) {
    return this.failing ? Promise.reject(new Error(`EVAL ${args.join()}`)) : super.replace(...args)
  }
}

interface Storage {
  options: Partial<SessionOptions>
  /** Breaks the storage, or mends it. */
  fail(fails: boolean): Promise<unknown>
  /** Stores another text under a key, as another writer would. */
  write(sessionKey: string, text: string): Promise<unknown>
}

const forgeries = (sessionKey: string) => [
  'no signed text at all',
  new TimestampSigner({ secretKey: 'the secret key of a forger', salt: STORE_SALT }).signBytes(
    Buffer.from(JSON.stringify({ name: VALUE, sessionKey })),
    false
  ),
  new TimestampSigner({ secretKey, salt: STORE_SALT }).signBytes(Buffer.from(`["${VALUE}"]`), true)
]

/** A run through everything that can happen to a session. Its log, and whatever must not be in it. */
async function runThroughEverything(t: Test, { options, fail, write }: Storage): Promise<{ logs: unknown[]; secrets: Set<string> }> {
  let door = gate()
  const { app, logs } = await createApp(t, { ...options, maxSize: 2000, secretKeyFallbacks: [FALLBACK] }, (app) => {
    app.get('/read', async (request) => String((await request.session.load()).size))
    app.get('/set', async (request) => String(request.session.set('name', VALUE).set('list', [VALUE]).modified))
    app.get('/in-place', async (request) => {
      const list = (await request.session.load()).get('list') as string[] | undefined
      return String(list?.push(VALUE))
    })
    app.get('/slow', async (request) => {
      const session = await request.session.load()
      await door.pass()
      return String(session.set('slow', VALUE).modified)
    })
    app.get('/late', async (request, reply) => {
      request.session.set('early', VALUE)
      await reply.saveSession()
      return String(request.session.set('late', VALUE).modified)
    })
    app.get('/twice', async (request, reply) => {
      request.session.set('twice', VALUE)
      reply.send('first')
    })
    app.get('/unloaded', async (request) => request.session.get('name'))
    app.get('/unstorable', async (request) => String(request.session.set('name', [VALUE, () => VALUE] as unknown[]).modified))
    app.get('/large', async (request) => String(request.session.set('large', VALUE.repeat(1000)).modified))
    app.get('/cycle', async (request) => String(await request.session.cycleKey()))
    app.get('/flush', async (request) => String(await request.session.flush()))
    app.get('/forgotten', async (request) => {
      request.session.set('forgotten', VALUE)
      request.session.save()
      return 'did not wait'
    })
  })
  const secrets = new Set([secretKey, FALLBACK, 'the secret key of a forger', VALUE])
  const browser = new Browser(app)
  const visit = async (url: string, visitor = browser) => {
    if (visitor.cookie !== null) secrets.add(visitor.cookie)
    await visitor.get(url)
    if (visitor.cookie !== null) secrets.add(visitor.cookie)
  }
  const urls = ['/read', '/set', '/in-place', '/late', '/twice', '/unloaded', '/unstorable', '/large', '/cycle', '/forgotten', '/nowhere']
  for (const url of ['/set', ...urls]) await visit(url)
  // Overtaken, signed out meanwhile, and a key that nobody has.
  for (const meanwhile of ['/set', '/flush']) {
    door = gate()
    const other = browser.fork()
    const slow = visit('/slow')
    await door.reached
    await visit(meanwhile, other)
    door.open()
    await slow
  }
  await visit('/read', new Browser(app, 'abcdefghijklmnopqrstuvwxyz012345'))
  await visit('/set', new Browser(app, 'no key: ../../etc/passwd'))
  await visit('/set')
  await fail(true)
  for (const url of [...urls, '/flush']) await visit(url, browser.fork())
  await fail(false)
  for (const index of [0, 1, 2]) {
    await visit('/set')
    const sessionKey = browser.cookie as string
    const text = forgeries(sessionKey)[index] as string
    secrets.add(text)
    await write(sessionKey, text)
    for (const url of ['/read', '/set']) await visit(url)
  }
  await visit('/flush')
  return { logs, secrets }
}

async function assertNothingLeaks(t: Test, storage: Storage) {
  const { logs, secrets } = await runThroughEverything(t, storage)
  const text = JSON.stringify(logs)
  // Where nothing was logged nothing could leak.
  for (const code of [
    /FST_SESSION_STORE_(UNAVAILABLE|REFUSED)/,
    'FST_SESSION_SUSPICIOUS',
    'FST_SESSION_INTERRUPTED',
    'FST_SESSION_CHANGED_AFTER_REPLY'
  ])
    t.match(text, code)
  t.match(text, /is not saved/)
  t.ok(secrets.size > 8)
  for (const secret of secrets) t.notOk(text.includes(secret), secret)
  // Base64 of {"
  t.notMatch(text, /SELECT|INSERT|UPDATE|DELETE|eyJ/)
}

const NEVER = '2999-01-01 00:00:00'
const rename = (knex: Knex) => (fails: boolean) =>
  fails ? knex.schema.renameTable('django_session', 'elsewhere') : knex.schema.renameTable('elsewhere', 'django_session')
const update = (knex: Knex) => (session_key: string, session_data: string) =>
  knex('django_session').where({ session_key }).update({ session_data, expire_date: NEVER })

for (const database of databases) {
  t.test(`the log of db on ${database}`, { skip: missing(database) }, async (t) => {
    const knex = await openDatabase(t, database)
    await assertNothingLeaks(t, { options: { knex }, fail: rename(knex), write: update(knex) })
  })
}

t.test('the log of cached_db, whose database and cache fail', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const cache = new FailingCache()
  await assertNothingLeaks(t, {
    options: { knex, engine: 'cached_db', cache },
    fail: (fails) => {
      cache.failing = fails
      return rename(knex)(fails)
    },
    write: async (sessionKey, text) => {
      cache.clear()
      await update(knex)(sessionKey, text)
    }
  })
})

t.test('the log of cache', async (t) => {
  const cache = new FailingCache()
  await assertNothingLeaks(t, {
    options: { engine: 'cache', cache },
    fail: async (fails) => {
      cache.failing = fails
    },
    write: async (sessionKey, text) => {
      const key = `fastify:django.contrib.sessions.cache:${sessionKey}`
      await cache.delete(key)
      await cache.add(key, `fds1 ${Date.parse(NEVER)} ${Date.now()} nonce - ${text}`, 60)
    }
  })
})

t.test('the log of file', async (t) => {
  const folder = join(privateFolder(t), 'sessions')
  mkdirSync(folder, { mode: 0o700 })
  await assertNothingLeaks(t, {
    options: { engine: 'file', filePath: folder },
    fail: (fails) => (fails ? renameFile(folder, `${folder}-elsewhere`) : renameFile(`${folder}-elsewhere`, folder)),
    write: (sessionKey, text) => writeFile(join(folder, `sessionid${sessionKey}`), text)
  })
})

/** The log's lines about a cookie, as level and code. */
async function linesFor(t: Test, options: Partial<SessionOptions>, cookie: string): Promise<[level: unknown, code: unknown][]> {
  const { app, logs } = await createApp(t, options, (app) => {
    app.get('/', async (request) => (await request.session.load()).toObject())
  })
  t.strictSame((await new Browser(app, cookie).get('/')).json(), {}, cookie)
  const parts = cookie.split(':').filter((part) => part.length >= 20)
  for (const part of [cookie, ...parts]) t.notOk(JSON.stringify(logs).includes(part), 'the log does not have the value')
  return logs.filter(({ code }) => code !== undefined).map(({ level, code }) => [level, code])
}

const DEBUG = 20
const WARN = 40
const UNKNOWN_KEY = 'abcdefghijklmnopqrstuvwxyz012345'

t.test('each cookie of no session is a line in the log: an unknown key at debug, a value that can be none as a warning', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const engines: Record<string, Partial<SessionOptions>> = {
    db: { knex },
    cached_db: { engine: 'cached_db', knex, cache: new MemoryCache() },
    cache: { engine: 'cache', cache: new MemoryCache() },
    file: { engine: 'file', filePath: privateFolder(t) }
  }
  for (const [name, options] of Object.entries(engines)) {
    t.strictSame(await linesFor(t, options, UNKNOWN_KEY), [[DEBUG, 'FST_SESSION_UNKNOWN_KEY']], name)
    t.strictSame(await linesFor(t, options, '../../etc/passwd'), [[DEBUG, 'FST_SESSION_UNKNOWN_KEY']], name)
    t.strictSame(await linesFor(t, options, 'short'), [[WARN, 'FST_SESSION_UNKNOWN_KEY']], name)
    t.strictSame(await linesFor(t, options, 'x'.repeat(41)), [[WARN, 'FST_SESSION_UNKNOWN_KEY']], name)
  }
})

t.test('a signed cookie that was forged is a warning, one that has expired is not', async (t) => {
  const sign = (secretKey: string, time: string) =>
    new TimestampSigner({
      secretKey,
      salt: 'django.contrib.sessions.backends.signed_cookies',
      clock: () => new Date(time)
    }).signBytes(Buffer.from('{"name":"somebody"}'), false)
  const options: Partial<SessionOptions> = { engine: 'signed_cookies', clock: () => new Date('2026-01-30') }
  for (const cookie of [
    sign('the secret key of a forger', '2026-01-29'),
    sign(secretKey, '2026-01-29').slice(0, -1),
    UNKNOWN_KEY,
    'a:forged:cookie'
  ]) {
    t.strictSame(await linesFor(t, options, cookie), [[WARN, 'FST_SESSION_SUSPICIOUS']], cookie)
  }
  t.strictSame(await linesFor(t, options, sign(secretKey, '2026-01-01')), [[DEBUG, 'FST_SESSION_UNKNOWN_KEY']], 'expired')
})

t.test('a cache entry that somebody else wrote under the key of a session is a warning', async (t) => {
  for (const entry of ['', 'garbage', '{"name":"somebody"}', 'fds2 32503680000000 text']) {
    const cache = new MemoryCache()
    await cache.add(`fastify:django.contrib.sessions.cache:${UNKNOWN_KEY}`, entry, 60)
    t.strictSame(await linesFor(t, { engine: 'cache', cache }, UNKNOWN_KEY), [[WARN, 'FST_SESSION_SUSPICIOUS']], entry)
  }
})
