/**
 * Random programs of several browsers, whose requests overlap, against a model of what
 * sessions are. SEED=number tries other programs; a failure is shown in its shortest form.
 */
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { MemoryCache } from '../lib/cache.ts'
import { commit } from '../lib/commit.ts'
import { CacheEngine } from '../lib/engines/cache.ts'
import { CachedDbEngine } from '../lib/engines/cached-db.ts'
import type { Engine } from '../lib/engines/engine.ts'
import { FileEngine } from '../lib/engines/file.ts'
import { SessionCache } from '../lib/engines/session-cache.ts'
import { SessionInterrupted } from '../lib/errors.ts'
import { KeyQueue } from '../lib/key-queue.ts'
import { toObject } from '../lib/serializer.ts'
import { Session, type SessionContext } from '../lib/session.ts'
import { resolveSettings } from '../lib/settings.ts'
import { secretKey } from './fixtures/app.ts'
import { databases, missing, openDatabase } from './fixtures/databases.ts'
import { createCodec, createDbEngine } from './fixtures/engines.ts'

const seed = Number(process.env.SEED ?? 20_300_101)
const BROWSERS = 3

const START = new Date('2030-01-01T00:00:00Z')
const clock = () => START
const codec = createCodec(clock)
const settings = resolveSettings({ secretKey, engine: 'signed_cookies', clock })

type Data = Record<string, unknown>
type Change = (data: Data) => Data

type Command =
  | { kind: 'set'; name: string; value: number }
  | { kind: 'delete'; name: string }
  | { kind: 'count' | 'clear' | 'save' | 'flush' | 'cycle' | 'read' | 'end' }
  | { kind: 'share'; from: number }

/** What a request sees and has done; the session's data is in the model under `id`. */
interface ModelRequest {
  id: number | null
  snapshot: Data
  data: Data
  log: Change[]
  modified: boolean
  cookieIsDue: boolean
}

const LOGIN_NAMES = ['_auth_user_id', '_auth_user_backend', '_auth_user_hash']
const same = (a: Data, b: Data) => JSON.stringify(Object.entries(a).sort()) === JSON.stringify(Object.entries(b).sort())

/** Thrown where a request is to be interrupted. */
const INTERRUPTED = Symbol('interrupted')

/** Sessions by number, each with its data: all that there is. */
class Model {
  readonly sessions = new Map<number, Data>()
  #lastId = 0

  begin(cookie: number | null): ModelRequest {
    const stored = cookie === null ? undefined : this.sessions.get(cookie)
    const data = stored ?? {}
    return { id: stored === undefined ? null : cookie, snapshot: data, data, log: [], modified: false, cookieIsDue: false }
  }

  change(request: ModelRequest, change: Change): void {
    request.data = change(request.data)
    request.log.push(change)
    request.modified = true
  }

  save(request: ModelRequest): void {
    request.id ??= this.#create(request.data)
    const stored = this.sessions.get(request.id)
    if (stored === undefined) throw INTERRUPTED
    if (LOGIN_NAMES.some((name) => stored[name] !== request.snapshot[name]) && stored !== request.data) throw INTERRUPTED
    const data = stored === request.data ? stored : request.log.reduce((data, change) => change(data), stored)
    this.sessions.set(request.id, data)
    Object.assign(request, { snapshot: data, data, log: [], modified: false, cookieIsDue: true })
  }

  flush(request: ModelRequest): void {
    if (request.id !== null) this.sessions.delete(request.id)
    Object.assign(request, { id: null, snapshot: {}, data: {}, log: [], modified: true, cookieIsDue: false })
  }

  cycle(request: ModelRequest): void {
    if (request.id === null) return
    const stored = this.sessions.get(request.id)
    if (stored === undefined) throw INTERRUPTED
    this.sessions.delete(request.id)
    request.id = this.#create(stored)
    request.cookieIsDue = true
  }

  /** The cookie that the browser has afterwards. */
  end(request: ModelRequest, cookie: number | null): number | null {
    if (request.id === null && same(request.data, {})) return null
    if (request.modified) this.save(request)
    return request.cookieIsDue ? request.id : cookie
  }

  #create(data: Data): number {
    this.#lastId++
    this.sessions.set(this.#lastId, data)
    return this.#lastId
  }
}

interface Browser {
  cookie: string | null
  modelCookie: number | null
  request: { session: Session; model: ModelRequest } | null
}

/** The browsers on the real engine, and the same on the model. */
class World {
  readonly #contexts: readonly SessionContext[]
  readonly #engine: Engine
  readonly #model = new Model()
  readonly #browsers: Browser[] = Array.from({ length: BROWSERS }, () => ({ cookie: null, modelCookie: null, request: null }))
  /** The real keys of the model's sessions. */
  readonly #keys = new Map<number, string>()

  constructor(engine: Engine, warn: (message: string) => void) {
    this.#engine = engine
    const log = { debug: () => {}, warn: (_details: object, message: string) => warn(message) }
    // Browsers whose requests meet different processes.
    this.#contexts = this.#browsers.map(() => ({ engine, codec, queue: new KeyQueue(5), settings, log }))
  }

  async do(client: number, command: Command): Promise<void> {
    const browser = this.#browsers[client] as Browser
    if (command.kind === 'share') {
      const { cookie, modelCookie } = this.#browsers[command.from] as Browser
      Object.assign(browser, { cookie, modelCookie })
      return
    }
    if (browser.request === null) {
      const session = await new Session(this.#contexts[client] as SessionContext, browser.cookie).load()
      browser.request = { session, model: this.#model.begin(browser.modelCookie) }
    }
    const { session, model } = browser.request
    const expected = this.#expect(browser, model, command)
    const actual = await act(browser, session, command)
    if (actual !== expected) throw new Error(`expected to be ${expected}, was ${actual}`)
    if (model.id !== null && session.sessionKey !== null && expected === 'served') this.#keys.set(model.id, session.sessionKey)
    if (expected === 'served') assertSame('the request sees', session.toObject(), model.data)
    if (expected === 'interrupted' || command.kind === 'end') browser.request = null
    await this.#compare()
  }

  #expect(browser: Browser, request: ModelRequest, command: Command): 'served' | 'interrupted' {
    try {
      this.#apply(browser, request, command)
      return 'served'
    } catch (error) {
      if (error !== INTERRUPTED) throw error
      return 'interrupted'
    }
  }

  #apply(browser: Browser, request: ModelRequest, command: Command): void {
    const model = this.#model
    if (command.kind === 'set') model.change(request, (data) => ({ ...data, [command.name]: command.value }))
    else if (command.kind === 'count') model.change(request, (data) => ({ ...data, count: ((data.count as number) ?? 0) + 1 }))
    else if (command.kind === 'delete') {
      if (command.name in request.data) model.change(request, ({ [command.name]: _deleted, ...rest }) => rest)
    } else if (command.kind === 'clear') model.change(request, () => ({}))
    else if (command.kind === 'save') model.save(request)
    else if (command.kind === 'flush') model.flush(request)
    else if (command.kind === 'cycle') model.cycle(request)
    else if (command.kind === 'end') browser.modelCookie = model.end(request, browser.modelCookie)
  }

  /** Each session of the model is stored as it is there, and no other key answers. */
  async #compare(): Promise<void> {
    for (const [id, key] of this.#keys) {
      const stored = await this.#engine.load(key)
      const data = stored === null ? null : toObject(codec.decode(stored.text))
      assertSame(`session ${id} is`, data, this.#model.sessions.get(id) ?? null)
    }
    for (const { cookie, modelCookie } of this.#browsers) {
      const expected = modelCookie === null ? null : this.#keys.get(modelCookie)
      if (cookie !== expected) throw new Error('a browser has another cookie')
    }
  }
}

async function act(browser: Browser, session: Session, command: Command): Promise<'served' | 'interrupted'> {
  try {
    if (command.kind === 'set') session.set(command.name, command.value)
    else if (command.kind === 'count') session.set('count', (count = 0) => count + 1)
    else if (command.kind === 'delete') session.delete(command.name)
    else if (command.kind === 'clear') session.clear()
    else if (command.kind === 'save') await session.save()
    else if (command.kind === 'flush') await session.flush()
    else if (command.kind === 'cycle') await session.cycleKey()
    else if (command.kind === 'end') {
      const action = await commit(session, { cookieSent: browser.cookie !== null, statusCode: 200 }, settings)
      if (action === 'set') browser.cookie = session.sessionKey
      if (action === 'delete') browser.cookie = null
    }
    return 'served'
  } catch (error) {
    if (!(error instanceof SessionInterrupted)) throw error
    return 'interrupted'
  }
}

function assertSame(what: string, actual: Data | null, expected: Data | null): void {
  if (actual === null ? expected === null : expected !== null && same(actual, expected)) return
  throw new Error(`${what} ${JSON.stringify(actual)}, not ${JSON.stringify(expected)}`)
}

const name = fc.constantFrom('a', 'b', 'count', '_auth_user_id')
const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('set' as const), name, value: fc.nat(3) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('delete' as const), name }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('share' as const), from: fc.nat(BROWSERS - 1) }) },
  { weight: 4, arbitrary: fc.constant({ kind: 'end' as const }) },
  { weight: 6, arbitrary: fc.constantFrom('count', 'clear', 'save', 'flush', 'cycle', 'read').map((kind) => ({ kind }) as Command) }
)
const program = fc.array(fc.tuple(fc.nat(BROWSERS - 1), command), { minLength: 5, maxLength: 40, size: 'max' })

/** All browsers start with the cookie of one session, and with requests that have read it. */
const IN_COMMON: readonly [number, Command][] = [
  [0, { kind: 'set', name: 'a', value: 1 }],
  [0, { kind: 'end' }],
  [1, { kind: 'share', from: 0 }],
  [2, { kind: 'share', from: 0 }],
  [0, { kind: 'read' }],
  [1, { kind: 'read' }],
  [2, { kind: 'read' }]
]

async function assertPrograms(t: Test, engine: Engine, numRuns: number) {
  const run = async (steps: [number, Command][]) => {
    const world = new World(engine, (message) => t.fail(message))
    for (const [client, command] of [...IN_COMMON, ...steps]) await world.do(client, command)
    // The replies that are still due.
    for (let client = 0; client < BROWSERS; client++) await world.do(client, { kind: 'end' })
  }
  await fc.assert(fc.asyncProperty(program, run), { seed, numRuns })
  t.pass(`${numRuns} programs of the seed ${seed}`)
}

const sessionCache = () => new SessionCache({ cache: new MemoryCache({ clock }), prefix: '', clock, timeout: 5 })

for (const database of databases) {
  t.test(`random programs on db on ${database}`, { skip: missing(database) }, async (t) => {
    const inMemory = { connection: { filename: ':memory:' }, pool: { min: 1, max: 1 } }
    const knex = await openDatabase(t, database, database === 'sqlite' ? inMemory : {})
    await assertPrograms(t, createDbEngine(knex, clock), database === 'sqlite' ? 300 : 50)
  })
}

t.test('random programs on cached_db', async (t) => {
  const knex = await openDatabase(t, 'sqlite', { connection: { filename: ':memory:' }, pool: { min: 1, max: 1 } })
  const log = { debug: () => {}, warn: (_details: object, message: string) => t.fail(message) }
  await assertPrograms(t, new CachedDbEngine({ db: createDbEngine(knex, clock), cache: sessionCache(), log }), 300)
})

t.test('random programs on cache', (t) => assertPrograms(t, new CacheEngine(sessionCache()), 500))

t.test('random programs on file', (t) =>
  assertPrograms(t, new FileEngine({ folder: t.testdir(), cookieName: 'sessionid', cookieAge: settings.cookieAge, codec, clock }), 50)
)
