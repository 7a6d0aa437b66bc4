/**
 * Two requests on one session, in every order of their operations on the store: what is
 * stored in the end is what one after the other would have left, no write that was
 * acknowledged is lost, and no key that was given up answers again.
 */
import { readdir, rm } from 'node:fs/promises'
import Keyv from 'keyv'
import t, { type Test } from 'tap'
import { KeyvCache } from '../lib/caches/keyv.ts'
import { type Cache, MemoryCache } from '../lib/caches/memory.ts'
import type { Engine, StoredSession } from '../lib/contract.ts'
import { ExpiredSessions } from '../lib/database/expired-sessions.ts'
import type { SessionTable } from '../lib/database/session-table.ts'
import { SettledTable } from '../lib/database/settled-table.ts'
import { deadlineIn } from '../lib/deadline.ts'
import { newSessionKey } from '../lib/django/keys.ts'
import { toObject } from '../lib/django/serializer.ts'
import { CacheEngine } from '../lib/engines/cache.ts'
import { CachedDbEngine } from '../lib/engines/cached-db.ts'
import { DbEngine } from '../lib/engines/db.ts'
import { FileEngine } from '../lib/engines/file/engine.ts'
import { SessionCache } from '../lib/engines/session-cache.ts'
import { SignedCookiesEngine } from '../lib/engines/signed-cookies.ts'
import { SessionInterrupted } from '../lib/errors.ts'
import { commit } from '../lib/http/commit.ts'
import { openSession } from '../lib/session/facade.ts'
import { KeyedMutex } from '../lib/session/keyed-mutex.ts'
import type { Session } from '../lib/session/session.ts'
import { resolveSettings } from '../lib/settings/settings.ts'
import { secretKey } from './fixtures/app.ts'
import { createContext } from './fixtures/context.ts'
import { type DatabaseName, databases, missing, openDatabase } from './fixtures/databases.ts'
import { createCodec } from './fixtures/engines.ts'
import { privateFolder } from './fixtures/folders.ts'
import { everyOrder, type Scheduler, type Steps, serially } from './fixtures/interleave.ts'
import { createRows, createTable, soon } from './fixtures/tables.ts'

const START = new Date('2030-01-01T00:00:00Z')
/** Seconds that the session has left at the start, unless somebody renews it. */
const LEFT = 60
let now = START
const clock = () => now
const codec = createCodec(clock)
const settings = resolveSettings({ secretKey, engine: 'signed_cookies', clock })
const log = {
  debug: () => {},
  warn: (_details: object, message: string) => t.fail(message)
}

// --- stores -----------------------------------------------------------------------------

const reads = (resource: 'database' | 'cache' | 'files') => ({ resource, writes: false }) as const
const writes = (resource: 'database' | 'cache' | 'files') => ({ resource, writes: true }) as const

const TABLE: Steps = {
  findLive: reads('database'),
  exists: reads('database'),
  insert: writes('database'),
  update: writes('database'),
  updateLocked: writes('database'),
  touch: writes('database'),
  cycleKey: writes('database'),
  delete: writes('database')
}
const EXPIRED: Steps = { oldest: reads('database'), pagesToSweep: reads('database'), delete: writes('database') }
const CACHE: Steps = { get: reads('cache'), add: writes('cache'), replace: writes('cache'), delete: writes('cache') }
const FILES: Steps = {
  load: reads('files'),
  create: writes('files'),
  save: writes('files'),
  saveLocked: writes('files'),
  touch: writes('files'),
  cycleKey: writes('files'),
  delete: writes('files'),
  clearExpired: writes('files')
}

interface Store {
  /** Removes all that earlier orders left. */
  empty(): Promise<void>
  /** Takes out of a cache what the start put there. */
  cool?(): void
  /** The engine of one process, whose operations wait for their turn. */
  engine(scheduler: Scheduler, client: number): Engine
  keys(): Promise<string[]>
  /** What a request would be answered from, found without leaving a trace. */
  peek(sessionKey: string): Promise<StoredSession | null>
}

async function openTable(t: Test, database: DatabaseName): Promise<SessionTable> {
  const inMemory = { connection: { filename: ':memory:' }, pool: { min: 1, max: 1 } }
  const knex = await openDatabase(t, database, database === 'sqlite' ? inMemory : {})
  return createTable(knex)
}

/** The engine on a table whose statements wait for their turn. */
const dbEngine = (scheduler: Scheduler, client: number, table: SessionTable) => {
  const gated = scheduler.gate(client, table, TABLE)
  const expired = scheduler.gate(client, new ExpiredSessions(table), EXPIRED)
  return new DbEngine({ table: gated, rows: new SettledTable(gated, gated), expired, clock, columns: undefined })
}
const query = ({ connections, tableName }: SessionTable) => connections.knex(tableName)
const keysOf = async (table: SessionTable): Promise<string[]> =>
  (await query(table).select('session_key')).map((row: { session_key: string }) => row.session_key)

async function createDbStore(t: Test, database: DatabaseName): Promise<Store & { table: SessionTable }> {
  const table = await openTable(t, database)
  return {
    table,
    empty: async () => void (await query(table).delete()),
    engine: (scheduler, client) => dbEngine(scheduler, client, table),
    keys: () => keysOf(table),
    peek: (sessionKey) => table.findLive(sessionKey, clock(), soon())
  }
}

/** A cache in memory whose keys can be listed. */
class ListedCache extends MemoryCache {
  readonly keys = new Set<string>()
  override add(...args: Parameters<Cache['add']>) {
    this.keys.add(args[0])
    return super.add(...args)
  }
  override clear() {
    this.keys.clear()
    super.clear()
  }
}

const sessionCache = (cache: Cache) => new SessionCache({ cache, prefix: '', clock })

async function createCachedDbStore(t: Test, database: DatabaseName, startsCold: boolean): Promise<Store> {
  const table = await openTable(t, database)
  const cache = new MemoryCache({ clock })
  const entries = sessionCache(cache)
  return {
    empty: async () => {
      await query(table).delete()
      cache.clear()
    },
    cool: () => startsCold && cache.clear(),
    engine: (scheduler, client) =>
      new CachedDbEngine({
        db: dbEngine(scheduler, client, table),
        cache: sessionCache(scheduler.gate(client, cache, CACHE)),
        storeTimeout: 60,
        log
      }),
    keys: () => keysOf(table),
    peek: async (sessionKey) => (await entries.get(sessionKey, soon()))?.stored ?? table.findLive(sessionKey, clock(), soon())
  }
}

async function createCacheStore(): Promise<Store> {
  const cache = new ListedCache({ clock })
  const engine = new CacheEngine(sessionCache(cache))
  return {
    empty: async () => cache.clear(),
    engine: (scheduler, client) => new CacheEngine(sessionCache(scheduler.gate(client, cache, CACHE))),
    keys: async () => [...cache.keys],
    peek: (sessionKey) => engine.load(sessionKey, deadlineIn(60))
  }
}

/** Keyv has no atomic verbs: what is below them is in the order of the scheduler. */
async function createKeyvStore(): Promise<Store> {
  const store = new Keyv({ throwOnErrors: true })
  const keys = new Set<string>()
  const listed = {
    get: (key: string) => store.get(key),
    set: (key: string, value: string, ttl: number) => {
      keys.add(key)
      return store.set(key, value, ttl)
    },
    delete: (key: string) => store.delete(key)
  }
  const engine = new CacheEngine(sessionCache(new KeyvCache(listed)))
  const steps: Steps = { get: reads('cache'), set: writes('cache'), delete: writes('cache') }
  return {
    empty: async () => {
      await store.clear()
      keys.clear()
    },
    engine: (scheduler, client) => new CacheEngine(sessionCache(new KeyvCache(scheduler.gate(client, listed, steps)))),
    keys: async () => [...keys],
    peek: (sessionKey) => engine.load(sessionKey, deadlineIn(60))
  }
}

async function createFileStore(t: Test): Promise<Store> {
  const folder = privateFolder(t)
  const engine = new FileEngine({ folder, cookieName: 'sessionid', cookieAge: settings.cookieAge, maxSize: settings.maxSize, codec, clock })
  const names = () => readdir(folder)
  return {
    empty: async () => void (await Promise.all((await names()).map((name) => rm(`${folder}/${name}`)))),
    engine: (scheduler, client) => scheduler.gate(client, engine, FILES),
    keys: async () => (await names()).map((name) => name.slice('sessionid'.length)),
    peek: (sessionKey) => engine.load(sessionKey)
  }
}

// --- requests ------------------------------------------------------------------------------

interface Request {
  handle(session: Session, client: number): unknown
  /** Whether the key is worth nothing afterwards. */
  endsKey?: true
  renews?: true
}

const increment = (count = 0) => count + 1

const REQUESTS: Record<string, Request> = {
  load: { handle: (session) => session.load() },
  read: { handle: async (session) => (await session.load()).toObject() },
  set: { handle: (session, client) => session.set(`of ${client}`, client) },
  'set of the same key': { handle: (session, client) => session.set('same', client) },
  count: { handle: (session) => session.set('count', increment) },
  delete: { handle: (session) => session.delete('deletable') },
  clear: { handle: (session) => session.clear() },
  cycle: { handle: (session) => session.cycleKey(), endsKey: true },
  login: {
    handle: async (session) => {
      await session.cycleKey()
      session.set('_auth_user_id', '42')
    },
    endsKey: true
  },
  flush: { handle: (session) => session.flush(), endsKey: true },
  touch: { handle: () => {}, renews: true },
  'save by hand': {
    handle: async (session, client) => {
      session.set(`of ${client}`, 'by hand')
      await session.save()
    }
  }
}

/** Time passes until the session has ended, unless it was renewed, and the command clearsessions comes by. */
const CLEANUP = 'cleanup'

interface Result {
  request: string
  interrupted: boolean
  /** What the handler of 'read' saw. */
  answer: unknown
}

const keyIsEnded = ({ request, interrupted }: Result) => !interrupted && REQUESTS[request]?.endsKey === true

/** What becomes of a request, from its cookie to its reply. */
async function respond(request: string, session: Session, client: number): Promise<Result> {
  const { handle, renews = false } = REQUESTS[request] as Request
  const response = { cookieSent: true, statusCode: 200, renews }
  try {
    const answer = await handle(session, client)
    await commit(session, response)
    return { request, interrupted: false, answer: request === 'read' ? answer : null }
  } catch (error) {
    if (!(error instanceof SessionInterrupted)) throw error
    return { request, interrupted: true, answer: null }
  }
}

/** A request that comes when the marks in a cache that stand for a second have gone. */
const LATER = 'read later'

async function cleanUp(engine: Engine, time: Time): Promise<Result> {
  await time.passes(LEFT + 1)
  await engine.clearExpired()
  return { request: CLEANUP, interrupted: false, answer: null }
}

const FIRST_TEXT = codec.encode(
  new Map(Object.entries({ start: 'here', deletable: 1, count: 0 }).map(([name, value]) => [name, codec.serializer.member(name, value)]))
)

type Pair = readonly [string, string]
type Rival = (scheduler: Scheduler, client: number, sessionKey: string) => Promise<Result>

/** Requests on a session that is there, of a process each or (with a mutex) of one. */
class Race {
  readonly #store: Store
  readonly #requests: readonly string[]
  readonly #mutex: KeyedMutex | null
  readonly #rival: Rival | null
  sessionKey = ''

  constructor(
    store: Store,
    requests: readonly string[],
    { mutex = null, rival = null }: { mutex?: KeyedMutex | null; rival?: Rival | null } = {}
  ) {
    this.#store = store
    this.#requests = requests
    this.#mutex = mutex
    this.#rival = rival
  }

  readonly start = async (scheduler: Scheduler) => {
    now = START
    await this.#store.empty()
    const expireDate = new Date(START.getTime() + LEFT * 1000)
    this.sessionKey = await this.#store
      .engine(scheduler, 0)
      .create({ sessionData: FIRST_TEXT, expireDate, data: () => ({}) }, deadlineIn(60))
    this.#store.cool?.()
    return this.#requests.map((request, client) => () => this.#run(scheduler, request, client))
  }

  #run(scheduler: Scheduler, request: string, client: number): Promise<Result> {
    if (client === 1 && this.#rival !== null) return this.#rival(scheduler, client, this.sessionKey)
    const engine = this.#store.engine(scheduler, client)
    const gatedTime = scheduler.gate(client, time, { passes: { resource: 'time', writes: true } })
    if (request === CLEANUP) return cleanUp(engine, gatedTime)
    const context = createContext({ engine, codec, settings, log }, this.#mutex ?? undefined)
    const session = openSession(context, this.sessionKey)
    return request === LATER ? gatedTime.passes(2).then(() => respond('read', session, client)) : respond(request, session, client)
  }

  /** Everything that lives now, apart from what new keys are, and what was answered. */
  async end(results: readonly Result[]): Promise<string> {
    const keys = (await this.#store.keys()).filter((key) => key !== this.sessionKey)
    const [old, ...others] = await Promise.all([this.sessionKey, ...keys].map((key) => this.#describe(key)))
    const answers = this.#requests.map((_request, client) => results[client]?.answer ?? null)
    return JSON.stringify({ old, others: others.filter((other) => other !== null).sort(), answers })
  }

  async #describe(sessionKey: string): Promise<string | null> {
    const stored = await this.#store.peek(sessionKey)
    if (stored === null) return null
    const renewed = stored.expireDate.getTime() > START.getTime() + LEFT * 1000
    return JSON.stringify([renewed, Object.entries(toObject(codec.decode(stored.sessionData))).sort()])
  }

  /** What there can be in the end when these clients were served, and the others were not. */
  async explanations(clients: readonly number[]): Promise<Set<string>> {
    const ends = new Set<string>()
    for (const order of permutations(clients)) ends.add(await this.end(await serially(this.start, order)))
    return ends
  }

  /** How many orders there are, and what is wrong with which of them. */
  async run(mayBeInterrupted: boolean): Promise<{ orders: number; wrong: string[] }> {
    const explained = new Map<string, Set<string>>()
    const everybody = [...this.#requests.keys()]
    for (const clients of subsets(everybody)) explained.set(clients.join(), await this.explanations(clients))
    const wrong: string[] = []
    const orders = await everyOrder<Result>({
      start: this.start,
      watch: async (results, text) => {
        const ended = [...results.values()].some(keyIsEnded)
        if (ended && (await this.#store.peek(this.sessionKey)) !== null) wrong.push(`the ended key answers: ${text}`)
      },
      check: async ({ results, text }) => {
        const served = everybody.filter((client) => !results[client]?.interrupted)
        if (served.length < everybody.length && !mayBeInterrupted) wrong.push(`interrupted: ${text}`)
        if (served.length === 0) wrong.push(`nobody was served: ${text}`)
        const end = await this.end(results)
        if (!explained.get(served.join())?.has(end)) wrong.push(`no serial order explains ${end}: ${text}`)
      }
    })
    return { orders, wrong }
  }
}

interface Time {
  passes(seconds: number): Promise<void>
}

const time: Time = {
  passes: async (seconds) => {
    now = new Date(now.getTime() + seconds * 1000)
  }
}

function subsets(clients: readonly number[]): number[][] {
  return clients.reduce<number[][]>((sets, client) => sets.flatMap((set) => [set, [...set, client]]), [[]])
}

function permutations(clients: readonly number[]): number[][] {
  if (clients.length === 0) return [[]]
  return clients.flatMap((first) => permutations(clients.filter((client) => client !== first)).map((rest) => [first, ...rest]))
}

const names = [...Object.keys(REQUESTS), CLEANUP]
const pairs: readonly Pair[] = names.flatMap((first, index) => names.slice(index).map((second) => [first, second] as const))

/** Only who takes a session away may interrupt another one: all others are merged. */
const takesAway = (request: string) => request === CLEANUP || REQUESTS[request]?.endsKey === true

async function assertEveryOrder(
  t: Test,
  store: Store,
  { of = pairs, mutex = null }: { of?: readonly Pair[]; mutex?: KeyedMutex | null } = {}
) {
  let total = 0
  for (const pair of of) {
    const { orders, wrong } = await new Race(store, pair, { mutex }).run(pair.some(takesAway))
    t.strictSame(wrong.slice(0, 3), [], `${pair.join(' and ')}: ${orders} orders`)
    total += orders
  }
  t.comment(`${total} orders`)
}

/** With a cache that is filled meanwhile there are hundreds of orders of each pair, the same ones for all that change data: one stands for them. */
const SAME_ORDERS = ['set', 'set of the same key', 'delete', 'clear', 'save by hand', 'load', 'login']
const fewPairs = pairs.filter((pair) => !pair.some((request) => SAME_ORDERS.includes(request)))

for (const database of databases) {
  const skip = missing(database)
  t.test(`every order of two requests on db on ${database}`, { skip }, async (t) => assertEveryOrder(t, await createDbStore(t, database)))

  t.test(`every order of two requests on cached_db on ${database}, from a full cache`, { skip }, async (t) =>
    assertEveryOrder(t, await createCachedDbStore(t, database, false), database === 'sqlite' ? {} : { of: fewPairs })
  )
}

t.test('every order of two requests on cached_db, from an empty cache', async (t) =>
  assertEveryOrder(t, await createCachedDbStore(t, 'sqlite', true), { of: fewPairs })
)

for (const requests of [
  ['flush', 'count', LATER],
  ['cycle', 'count', LATER]
]) {
  t.test(`every order of ${requests.join(', ')} on cached_db: no reader fills the cache with what is being taken away`, async (t) => {
    const { orders, wrong } = await new Race(await createCachedDbStore(t, 'sqlite', false), requests).run(true)
    t.strictSame(wrong.slice(0, 3), [], `${orders} orders`)
  })
}

t.test('every order of two requests on cache', async (t) => assertEveryOrder(t, await createCacheStore()))

t.test('every order of two requests on file', async (t) => assertEveryOrder(t, await createFileStore(t)))

t.test('every order of two requests of one process', async (t) =>
  assertEveryOrder(t, await createDbStore(t, 'sqlite'), { mutex: new KeyedMutex() })
)

t.test('a request that another one overtakes at each attempt is saved under the lock', async (t) => {
  const store = await createDbStore(t, 'sqlite')
  const thrice: Rival = async (scheduler, client, sessionKey) => {
    const context = createContext({ engine: store.engine(scheduler, client), codec, settings, log })
    const session = openSession(context, sessionKey)
    for (const name of ['first', 'second', 'third']) {
      session.set(name, 1).set('count', increment)
      await session.save()
    }
    return { request: 'load', interrupted: false, answer: null }
  }
  for (const request of ['set', 'count', 'touch']) {
    let locked = 0
    const race = new Race(store, [request, 'load'], { rival: thrice })
    const ends = await race.explanations([0, 1])
    await everyOrder<Result>({
      start: race.start,
      check: async ({ results, text }) => {
        const end = await race.end(results)
        if (!ends.has(end)) t.fail(`${end}: ${text}`)
        if (text.includes('0:updateLocked')) locked++
      }
    })
    t.equal(locked > 0, request !== 'touch', request)
  }
})

// --- where less is promised ------------------------------------------------------------------

/**
 * What Django does, as its middleware and its engine `db` do it: the last write wins the
 * whole row (`save(must_create=False)`), and a new key is a new row before the old one goes.
 */
const DJANGO: Record<string, (row: DjangoRow, text: string | null) => Promise<boolean>> = {
  'set by Django': async (row, text) => {
    if (text === null) return row.insert(newSessionKey(), withMember('{}', 'by Django'))
    return row.update(withMember(text, 'by Django'))
  },
  'flush by Django': async (row) => row.delete(),
  'cycle by Django': async (row, text) => {
    await row.insert(newSessionKey(), text ?? codec.encode(new Map()))
    return row.delete()
  }
}

const ENDED_BY_DJANGO = ['flush by Django', 'cycle by Django']

interface DjangoRow {
  select(): Promise<string | null>
  insert(sessionKey: string, text: string): Promise<boolean>
  /** False when there is none, which is Django's UpdateError. */
  update(text: string): Promise<boolean>
  delete(): Promise<boolean>
}

const DJANGO_STEPS: Steps = {
  select: reads('database'),
  insert: writes('database'),
  update: writes('database'),
  delete: writes('database')
}

function withMember(text: string, name: string): string {
  const members = text === '{}' ? new Map() : codec.decode(text)
  members.set(name, codec.serializer.member(name, true))
  return codec.encode(members)
}

function djangoRow(table: SessionTable, sessionKey: string): DjangoRow {
  const rows = createRows(table)
  const stored = (text: string) => ({ sessionData: text, expireDate: new Date(START.getTime() + settings.cookieAge * 1000) })
  return {
    select: async () => (await table.findLive(sessionKey, clock(), soon()))?.sessionData ?? null,
    insert: (newKey, text) => rows.insert(newKey, stored(text), {}, soon()),
    update: (text) => rows.update(sessionKey, stored(text), {}, null, soon()),
    delete: async () => (await rows.delete(sessionKey, soon())) || true
  }
}

t.test('every order of a request and one of Django', async (t) => {
  const store = await createDbStore(t, 'sqlite')
  for (const [name, act] of Object.entries(DJANGO)) {
    const rival: Rival = async (scheduler, client, sessionKey) => {
      const row = scheduler.gate(client, djangoRow(store.table, sessionKey), DJANGO_STEPS)
      return { request: name, interrupted: !(await act(row, await row.select())), answer: null }
    }
    for (const request of Object.keys(REQUESTS)) {
      const race = new Race(store, [request, name], { rival })
      const both = await race.explanations([0, 1])
      const djangoAlone = await race.explanations([1])
      const wrong: string[] = []
      let orders = 0
      let overwritten = 0
      await everyOrder<Result>({
        start: race.start,
        watch: async (results, text) => {
          const ended = [...results.values()].some((result) => keyIsEnded(result) || ENDED_BY_DJANGO.includes(result.request))
          if (ended && (await store.peek(race.sessionKey)) !== null) wrong.push(`the ended key answers: ${text}`)
        },
        check: async ({ results, text }) => {
          orders++
          const [ours, djangos] = results as [Result, Result]
          const end = await race.end(results)
          // Of a key that both change, Django makes a second session, which is nobody's but the one of whoever got it.
          if (name === 'cycle by Django' && REQUESTS[request]?.endsKey) return
          if (djangos.interrupted || both.has(end)) return
          if (!sameButAnswers(djangoAlone, end)) wrong.push(`${end}: ${text}`)
          else if (!ours.interrupted) overwritten++
        }
      })
      t.strictSame(wrong.slice(0, 3), [], `${request} and ${name}: ${orders} orders, ${overwritten} overwritten by Django`)
    }
  }
})

function sameButAnswers(ends: ReadonlySet<string>, end: string): boolean {
  const state = (text: string) => text.slice(0, text.indexOf('"answers"'))
  return [...ends].some((other) => state(other) === state(end))
}

t.test('on Keyv, which has no atomic verbs, some orders lose a write or bring a session back, as documented', async (t) => {
  const store = await createKeyvStore()
  const violations = async (...pair: Pair) => (await new Race(store, pair).run(true)).wrong
  const lost = await violations('count', 'count')
  t.ok(lost.some((text) => text.startsWith('no serial order explains')))
  const back = await violations('set', 'flush')
  t.ok(back.some((text) => text.startsWith('the ended key answers')))
  t.strictSame(await violations('read', 'set'), [], 'a reader does no harm there either')
})

t.test('on signed_cookies the browser keeps one of two changes, and a cookie outlives its session, as documented', async (t) => {
  now = START
  const codec = createCodec(clock)
  const engine = new SignedCookiesEngine({ codec, cookieName: 'sessionid', cookieAge: settings.cookieAge, clock })
  const open = (cookie: string | null) => openSession(createContext({ engine, codec, settings, log }), cookie)
  const first = open(null)
  first.set('start', 'here')
  await first.save()
  const cookie = first.sessionKey
  const sessions = [open(cookie), open(cookie)] as const
  for (const [client, session] of sessions.entries()) await respond('set', session, client)
  const last = await open(sessions[1].sessionKey).load()
  t.strictSame(last.toObject(), { start: 'here', 'of 1': 1 }, 'even one after the other, when both came with the same cookie')
  await respond('flush', open(cookie), 0)
  t.strictSame((await open(cookie).load()).toObject(), { start: 'here' }, 'a copied cookie works after the logout')
})
