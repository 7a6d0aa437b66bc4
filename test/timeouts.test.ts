/** The option `timeouts`: sessions end after so long without use, and so long after their beginning. */
import fc from 'fast-check'
import type { Knex } from 'knex'
import t, { type Test } from 'tap'
import { MemoryCache } from '../lib/caches/memory.ts'
import type { SessionOptions } from '../lib/index.ts'
import { openSession } from '../lib/session/facade.ts'
import type { SessionContext } from '../lib/session/saving.ts'
import { resolveSettings } from '../lib/settings/settings.ts'
import { Browser, createApp, gate, memorySettings, secretKey } from './fixtures/app.ts'
import { createContext } from './fixtures/context.ts'
import { openDatabase, recordQueries } from './fixtures/databases.ts'
import { createCodec, engineOptions } from './fixtures/engines.ts'
import { SessionClient } from './fixtures/session-client.ts'
import type { Command } from './fixtures/session-model.ts'
import { createDbEngine } from './fixtures/tables.ts'

const START = new Date('2030-01-01T00:00:00Z')
const HOUR = 3600

/** A clock that stands, and is moved on by hand. */
function createClock() {
  let seconds = 0
  const clock = () => new Date(START.getTime() + seconds * 1000)
  return {
    clock,
    /** Seconds since START. */
    set: (to: number) => {
      seconds = to
    }
  }
}

const at = (seconds: number) => new Date(START.getTime() + seconds * 1000)

async function createSite(t: Test, options: Partial<SessionOptions>) {
  const time = createClock()
  const { app, logs } = await createApp(t, { clock: time.clock, ...options }, (app) => {
    app.get('/set', async (request) => request.session.set('a', 1).isEmpty)
    app.get('/read', async (request) => (await request.session.load()).get('a', 0))
    app.get('/untouched', async () => '')
    app.get('/ends', { config: { session: { renew: false } } }, async (request) => (await request.session.load()).endsAt)
    app.get('/poll', { config: { session: { renew: false } } }, async (request) => (await request.session.load()).get('a', 0))
    app.get(
      '/poll-and-set',
      { config: { session: { load: 'eager', renew: false } } },
      async (request) => request.session.set('b', 2).isEmpty
    )
    app.get('/poll-and-cycle', { config: { session: { renew: false } } }, async (request) => request.session.cycleKey())
    app.get('/clear', async (request) => request.session.clear().set('a', 1).isEmpty)
    app.get('/for-a-month', async (request) => request.session.set('a', 1).setExpiry(30 * 24 * HOUR).isEmpty)
    app.get('/for-a-week', async (request) => request.session.set('a', 1).setExpiry(at(7 * 24 * HOUR)).isEmpty)
  })
  const visitor = new Browser(app)
  const read = async (browser = visitor) => (await browser.get('/read')).body
  return { app, logs, time, visitor, read }
}

for (const { name, skip, options } of engineOptions) {
  t.test(name, { skip }, async (t) => {
    t.test('a session ends after so long without a request, and each request counts', async (t) => {
      const { time, visitor, read } = await createSite(t, { ...(await options(t)), timeouts: { idle: '1h' } })
      const { cookies } = await visitor.get('/set')
      t.equal(cookies[0]?.maxAge, HOUR)
      for (let hours = 1; hours <= 50; hours++) {
        time.set(hours * (HOUR - 1))
        t.equal((await visitor.get('/untouched')).cookies[0]?.maxAge, HOUR)
      }
      const left = visitor.fork()
      time.set(51 * (HOUR - 1))
      t.equal(await read(), '1', 'a second before its end')
      time.set(50 * (HOUR - 1) + 2 * HOUR)
      t.equal(await read(left), '0')
      t.equal(left.cookie, null, 'its cookie is deleted')
    })

    t.test('no use moves the absolute end, and the cookie ends with the session', async (t) => {
      const { time, visitor, read } = await createSite(t, { ...(await options(t)), timeouts: { idle: '30m', absolute: '2h' } })
      await visitor.get('/set')
      for (const url of ['/set', '/read', '/clear', '/for-a-month', '/for-a-week', '/untouched']) {
        for (const minutes of [20, 40, 60, 80, 100]) {
          time.set(minutes * 60)
          const browser = visitor.fork()
          const { cookies } = await browser.get(url)
          const maxAge = Math.min(30 * 60, (120 - minutes) * 60)
          t.equal(cookies[0]?.maxAge, maxAge, `${url} after ${minutes} minutes`)
          // With signed cookies the last cookie is the session.
          visitor.cookie = browser.cookie
        }
      }
      time.set(2 * HOUR - 1)
      t.equal(await read(visitor.fork()), '1')
      time.set(2 * HOUR)
      const response = await visitor.get('/read')
      t.equal(response.body, '0')
      t.match(response.headers['set-cookie'], /^sessionid=; Max-Age=0/)
    })

    t.test('what a route with renew: false does is no activity', async (t) => {
      const { time, visitor, read } = await createSite(t, { ...(await options(t)), timeouts: { idle: '1h' } })
      await visitor.get('/set')
      time.set(HOUR / 2)
      for (let polls = 0; polls < 100; polls++) t.equal((await visitor.get('/poll')).headers['set-cookie'], undefined)
      t.strictSame((await visitor.get('/ends')).json(), { idle: at(HOUR).toISOString(), absolute: null })
      // A signed cookie ends by the time at which it was signed.
      if (name !== 'signed_cookies')
        for (const url of ['/poll-and-set', '/poll-and-cycle']) t.equal((await visitor.get(url)).statusCode, 200)
      t.strictSame((await visitor.get('/ends')).json(), { idle: at(HOUR).toISOString(), absolute: null })
      time.set(HOUR)
      t.equal(await read(), '0')
    })

    t.test('endsAt tells both ends as they are stored', async (t) => {
      const { app, time, visitor } = await createSite(t, { ...(await options(t)), timeouts: { idle: '1h', absolute: '90m' } })
      t.equal((await new Browser(app).get('/ends')).body, 'null', 'of a visitor without a session')
      await visitor.get('/set')
      const ends = async () => (await visitor.get('/ends')).json()
      t.strictSame(await ends(), { idle: at(HOUR).toISOString(), absolute: at(1.5 * HOUR).toISOString() })
      time.set(HOUR / 4)
      await visitor.get('/read')
      t.strictSame(await ends(), { idle: at(1.25 * HOUR).toISOString(), absolute: at(1.5 * HOUR).toISOString() })
      time.set(HOUR)
      await visitor.get('/read')
      t.strictSame(await ends(), { idle: at(1.5 * HOUR).toISOString(), absolute: at(1.5 * HOUR).toISOString() })
    })
  })
}

t.test('a hundred polls write nothing, and ask for the session once each', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const { visitor, time } = await createSite(t, { knex, verify: false, timeouts: { idle: '1h', absolute: '1d' } })
  await visitor.get('/set')
  time.set(HOUR - 1)
  const queries = recordQueries(knex)
  for (let polls = 0; polls < 100; polls++) await visitor.get('/poll')
  t.strictSame([...new Set(queries.map((sql) => sql.slice(0, 6)))], ['SELECT'])
  t.equal(queries.length, 100)
})

t.test('use renews a row once in a twentieth of the time', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const { visitor, time } = await createSite(t, { knex, verify: false, timeouts: { idle: HOUR } })
  await visitor.get('/set')
  const queries = recordQueries(knex)
  for (let seconds = 1; seconds <= 360; seconds++) {
    time.set(seconds)
    await visitor.get('/read')
  }
  t.equal(queries.filter((sql) => sql.startsWith('UPDATE')).length, 2, 'after 180 and 360 seconds')
})

t.test('a fixed end does not keep use from renewing the session until then', async (t) => {
  const { visitor, time, read } = await createSite(t, { engine: 'cache', cache: new MemoryCache(), timeouts: { idle: '1h' } })
  await visitor.get('/for-a-week')
  for (const minutes of [40, 80, 120]) {
    time.set(minutes * 60)
    t.equal(await read(), '1')
  }
  t.equal((await visitor.get('/ends')).json().idle, at(3 * HOUR).toISOString())
})

t.test('a save of a poll keeps the end that a request set in the meantime', async (t) => {
  const { app, visitor, time } = await createSite(t, { knex: await openDatabase(t, 'sqlite'), timeouts: { idle: '1h' } })
  const { reached, pass, open } = gate()
  app.get('/slow-poll', { config: { session: { renew: false } } }, async (request) => {
    await request.session.load()
    await pass()
    return request.session.set('b', 2).isEmpty
  })
  await visitor.get('/set')
  const poll = visitor.get('/slow-poll')
  await reached
  time.set(600)
  await visitor.get('/set')
  time.set(1200)
  open()
  t.equal((await poll).statusCode, 200)
  t.equal((await visitor.get('/ends')).json().idle, at(600 + HOUR).toISOString())
  t.match((await app.sessions.open(visitor.cookie).load()).toObject(), { a: 1, b: 2 })
})

t.test('endsAt throws before load()', async (t) => {
  const { app } = await createSite(t, { engine: 'cache', cache: new MemoryCache(), timeouts: 'nist-aal2' })
  t.throws(() => app.sessions.open().endsAt, { code: 'FST_SESSION_NOT_LOADED' })
})

t.test('without timeouts endsAt has the one end, and nothing is stored for them', async (t) => {
  const { app, visitor } = await createSite(t, { engine: 'cache', cache: new MemoryCache() })
  await visitor.get('/set')
  t.strictSame((await visitor.get('/ends')).json(), { idle: at(14 * 24 * HOUR).toISOString(), absolute: null })
  t.strictSame((await app.sessions.open(visitor.cookie).load()).toObject(), { a: 1 })
})

t.test("the presets have the figures of NIST SP 800-63B-4, and leave the cookie's age alone where it names none", async (t) => {
  const settings = (timeouts: SessionOptions['timeouts']) => resolveSettings({ secretKey, engine: 'signed_cookies', timeouts })
  t.match(settings('nist-aal1'), { timeouts: { absolute: 2_592_000 }, cookieAge: 1_209_600, saveEveryRequest: false, touchAfter: 0 })
  t.match(settings('nist-aal2'), { timeouts: { idle: 3600, absolute: 86_400 }, cookieAge: 3600, saveEveryRequest: true, touchAfter: 180 })
  t.match(settings('nist-aal3'), { timeouts: { idle: 900, absolute: 43_200 }, cookieAge: 900, saveEveryRequest: true, touchAfter: 45 })
})

// --- beside Django -----------------------------------------------------------------------------------------

t.test('the age of a session that ends by inactivity is exact, however long its computation takes', async (t) => {
  let milliseconds = 0
  const { app } = await createApp(t, {
    ...memorySettings(),
    timeouts: { idle: '1h' },
    clock: () => new Date(START.getTime() + milliseconds++)
  })
  const session = await app.sessions.open().load()
  t.equal(session.set('a', 1).getExpiryAge(), HOUR)
})

/** A row as another program left it. */
async function insert(knex: Knex, clock: () => Date, data: Record<string, unknown>, end: string): Promise<string> {
  const codec = createCodec(clock)
  const key = 'k'.repeat(32)
  const members = new Map(Object.entries(data).map(([name, value]) => [name, codec.serializer.member(name, value)]))
  await knex('django_session').insert({ session_key: key, session_data: codec.encode(members), expire_date: end })
  return key
}

t.test('a session whose row Django keeps for longer ends here all the same', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const { app, time, visitor, read, logs } = await createSite(t, { knex, timeouts: { absolute: '1h' } })
  await visitor.get('/set')
  await knex('django_session').update({ expire_date: '2031-01-01 00:00:00.000000' })
  const { idle, absolute } = (await visitor.get('/ends')).json()
  t.strictSame([idle, absolute], [at(HOUR).toISOString(), at(HOUR).toISOString()])
  time.set(HOUR - 1)
  t.equal(await read(), '1')
  time.set(HOUR)
  t.equal(await read(), '0')
  t.ok(logs.some(({ code, msg }) => code === 'FST_SESSION_UNKNOWN_KEY' && String(msg).includes('its absolute timeout has passed')))
  t.equal((await app.sessions.model.find(visitor.cookie ?? ''))?.sessionKey, undefined)
})

t.test('a login that regenerate() keeps ends when it would have', async (t) => {
  const { app, time } = await createSite(t, { ...memorySettings(), timeouts: { absolute: 100 } })
  const names = ['_auth_user_id', '_auth_user_backend', '_auth_user_hash']
  for (const recorded of [{ account_authentication_methods: [{ method: 'password', at: START.getTime() / 1000 }] }, {}]) {
    time.set(0)
    const session = app.sessions.open().update({ _auth_user_id: '7', ...recorded })
    await session.save()
    time.set(60)
    await session.regenerate(names)
    await session.save()
    t.strictSame(session.endsAt?.absolute, at(100))
    await session.regenerate(['cart'])
    await session.set('cart', 1).save()
    t.strictSame(session.endsAt?.absolute, at(160), 'without the login it is another session')
  }
})

t.test('a session of unknown age begins with its first save here', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const { app, time, read } = await createSite(t, { knex, timeouts: { absolute: '1h' } })
  const visitor = new Browser(app, await insert(knex, time.clock, { a: 1 }, '2031-01-01 00:00:00.000000'))
  time.set(5 * HOUR)
  t.equal(await read(visitor), '1', 'reading writes nothing')
  t.equal((await visitor.get('/ends')).json().absolute, null)
  await visitor.get('/set')
  t.equal((await visitor.get('/ends')).json().absolute, at(6 * HOUR).toISOString())
  time.set(6 * HOUR)
  t.equal(await read(visitor), '0')
})

const BEGAN = START.getTime() / 1000
const user = { _auth_user_id: '1' }
const password = (seconds: unknown) => ({ method: 'password', at: seconds })

const ages: [title: string, data: Record<string, unknown>, absolute: number | null][] = [
  [
    'the last entry of django-allauth counts',
    { ...user, account_authentication_methods: [password(BEGAN - 500), password(BEGAN - 100.5)] },
    HOUR - 100.5
  ],
  ['before the second factor there is no user, and no entry counts', { account_authentication_methods: [password(BEGAN)] }, null],
  [
    'a login counts, and not the first save',
    { ...user, _session_began: BEGAN - 900, account_authentication_methods: [password(BEGAN - 60)] },
    HOUR - 60
  ],
  [
    'the first save counts where no login is recorded',
    { ...user, _session_began: BEGAN - 900, account_authentication_methods: [] },
    HOUR - 900
  ],
  ['a clock may be five minutes ahead', { _session_began: BEGAN + 300 }, HOUR + 300],
  ['a time further ahead, as one in milliseconds, is none', { _session_began: BEGAN + 301 }, null],
  ...[password('now'), password(Number.NaN), password(-1), password(BEGAN * 1000), password(null), {}, null, 'password', [BEGAN]].map(
    (entry): (typeof ages)[number] => [`${JSON.stringify(entry)} is no time`, { ...user, account_authentication_methods: [entry] }, null]
  ),
  ['a list that is none is no time', { ...user, account_authentication_methods: { at: BEGAN } }, null]
]

for (const [title, data, absolute] of ages) {
  t.test(`the age of a session: ${title}`, async (t) => {
    const knex = await openDatabase(t, 'sqlite')
    const { app, time } = await createSite(t, { knex, timeouts: { absolute: HOUR } })
    const key = await insert(knex, time.clock, data, '2031-01-01 00:00:00.000000')
    const session = await app.sessions.open(key).load()
    t.equal(session.endsAt?.absolute?.getTime() ?? null, absolute === null ? null : at(absolute).getTime())
  })
}

t.test('a save that is merged with another keeps the stored beginning of the session', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const { app, time } = await createSite(t, { knex, timeouts: { absolute: HOUR } })
  const key = await insert(knex, time.clock, { a: 1 }, '2031-01-01 00:00:00.000000')
  const [first, second] = await Promise.all([app.sessions.open(key).load(), app.sessions.open(key).load()])
  await first.set('b', 1).save()
  time.set(600)
  await second.set('c', 1).save()
  t.strictSame((await app.sessions.open(key).load()).toObject(), { a: 1, b: 1, _session_began: BEGAN, c: 1 })
})

// --- random programs ---------------------------------------------------------------------------------------

type Step = { who: number; do: Command } | { who: 'django'; do: 'load' | 'save' } | { who: 'time'; pass: number }

const ABSOLUTE = 1000

/** Two processes of ours and one of Django's on one session, which began at START. */
class World {
  readonly #time = createClock()
  readonly #clients: SessionClient[]
  readonly #context: () => SessionContext
  readonly #knex: Knex
  /** Each key that the session ever had. */
  readonly keys = new Set<string>()
  #held: { session_key: string; session_data: string } | undefined
  #now = 0

  constructor(knex: Knex) {
    this.#knex = knex
    const { clock } = this.#time
    const settings = resolveSettings({ secretKey, knex, clock, timeouts: { idle: 400, absolute: ABSOLUTE } })
    const log = { debug: () => {}, warn: () => {} }
    const codec = createCodec(clock)
    const engine = createDbEngine(knex, clock)
    this.#context = () => createContext({ engine, codec, settings, log })
    this.#clients = [this.#context(), this.#context()].map(
      (context) => new SessionClient((cookie) => openSession(context, cookie), settings)
    )
  }

  async begin(): Promise<void> {
    const session = openSession(this.#context(), null).set('a', 0)
    await session.save()
    this.keys.add(session.sessionKey as string)
    for (const client of this.#clients) client.cookie = session.sessionKey
  }

  async do(step: Step): Promise<void> {
    if (step.who === 'time') this.#pass(step.pass)
    else if (step.who === 'django') await this.#django(step.do)
    else {
      const client = this.#clients[step.who] as SessionClient
      const before = await client.do({ kind: 'read' })
      const after = await client.do(step.do)
      // A rotation.
      if (before.key !== null && this.keys.has(before.key) && after.key !== null) this.keys.add(after.key)
    }
    for (const key of this.keys) {
      const { endsAt } = await openSession(this.#context(), key).load()
      if (endsAt !== null && endsAt.absolute?.getTime() !== at(ABSOLUTE).getTime())
        throw new Error(`ends at ${endsAt.absolute?.toISOString()}`)
      if (endsAt !== null && this.#now >= ABSOLUTE) throw new Error('is alive after its end')
    }
  }

  #pass(seconds: number): void {
    this.#now += seconds
    this.#time.set(this.#now)
  }

  /** Its save wins the whole row, and moves the end by two weeks. */
  async #django(what: 'load' | 'save'): Promise<void> {
    const rows = this.#knex('django_session')
    if (what === 'load') this.#held = await rows.whereIn('session_key', [...this.keys]).first('session_key', 'session_data')
    else if (this.#held) {
      const expire_date = at(this.#now + 14 * 24 * HOUR)
        .toISOString()
        .replace('T', ' ')
        .replace('Z', '000')
      await rows.where({ session_key: this.#held.session_key }).update({ session_data: this.#held.session_data, expire_date })
    }
  }
}

const command: fc.Arbitrary<Command> = fc.oneof(
  fc.record({ kind: fc.constant('set' as const), name: fc.constantFrom('a', 'b', '_session_expiry'), value: fc.nat(5000) }),
  fc.record({ kind: fc.constant('delete' as const), name: fc.constantFrom('a', '_session_began') }),
  fc.constantFrom('clear', 'save', 'cycle', 'end', 'end', 'end').map((kind) => ({ kind }) as Command)
)
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.record({ who: fc.nat(1), do: command }) },
    { weight: 2, arbitrary: fc.record({ who: fc.constant('django' as const), do: fc.constantFrom('load' as const, 'save' as const) }) },
    { weight: 1, arbitrary: fc.record({ who: fc.constant('time' as const), pass: fc.nat(300) }) }
  ),
  { minLength: 5, maxLength: 40, size: 'max' }
)

t.test('no sequence of operations, ours and those of Django, moves the absolute end', async (t) => {
  const knex = await openDatabase(t, 'sqlite', { connection: { filename: ':memory:' }, pool: { min: 1, max: 1 } })
  let alive = 0
  const run = async (program: Step[]) => {
    await knex('django_session').delete()
    const world = new World(knex)
    await world.begin()
    for (const step of program) await world.do(step)
    alive += Number(
      await knex('django_session')
        .whereIn('session_key', [...world.keys])
        .first()
        .then(Boolean)
    )
    await world.do({ who: 'time', pass: ABSOLUTE })
  }
  await fc.assert(fc.asyncProperty(steps, run), { seed: Number(process.env.SEED ?? 20_300_101), numRuns: 200 })
  t.ok(alive > 50, 'in many of the programs the session was still there')
})
