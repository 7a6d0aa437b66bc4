/**
 * Random programs of several browsers, whose requests overlap, against a model of what
 * sessions are. SEED=number tries other programs; a failure is shown in its shortest form.
 */
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { MemoryCache } from '../lib/caches/memory.ts'
import type { Engine } from '../lib/contract.ts'
import { deadlineIn } from '../lib/deadline.ts'
import { toObject } from '../lib/django/serializer.ts'
import { CacheEngine } from '../lib/engines/cache.ts'
import { CachedDbEngine } from '../lib/engines/cached-db.ts'
import { FileEngine } from '../lib/engines/file/engine.ts'
import { SessionCache } from '../lib/engines/session-cache.ts'
import { openSession } from '../lib/session/facade.ts'
import { resolveSettings } from '../lib/settings/settings.ts'
import { secretKey } from './fixtures/app.ts'
import { createContext } from './fixtures/context.ts'
import { databases, missing, openDatabase } from './fixtures/databases.ts'
import { createCodec } from './fixtures/engines.ts'
import { privateFolder } from './fixtures/folders.ts'
import { SessionClient } from './fixtures/session-client.ts'
import { type Command, type Data, Model } from './fixtures/session-model.ts'
import { createDbEngine } from './fixtures/tables.ts'

const seed = Number(process.env.SEED ?? 20_300_101)
const BROWSERS = 3

const START = new Date('2030-01-01T00:00:00Z')
const clock = () => START
const codec = createCodec(clock)
const settings = resolveSettings({ secretKey, engine: 'signed_cookies', clock })

/** Another tab of the same browser: the cookie of another one. */
type Step = Command | { kind: 'share'; from: number }

/** The browsers on the real engine, and the same on the model. */
class World {
  readonly #clients: readonly SessionClient[]
  readonly #engine: Engine
  readonly #model = new Model({ clients: BROWSERS })

  constructor(engine: Engine, warn: (message: string) => void) {
    this.#engine = engine
    const log = { debug: () => {}, warn: (_details: object, message: string) => warn(message) }
    // Browsers whose requests meet different processes.
    const context = () => createContext({ engine, codec, settings, log })
    this.#clients = Array.from({ length: BROWSERS }, context).map(
      (context) => new SessionClient((cookie) => openSession(context, cookie), settings)
    )
  }

  async do(client: number, step: Step): Promise<void> {
    const browser = this.#clients[client] as SessionClient
    if (step.kind === 'share') {
      browser.cookie = (this.#clients[step.from] as SessionClient).cookie
      this.#model.cookies[client] = this.#model.cookies[step.from] ?? null
      return
    }
    const wrong = this.#model.follow(client, step, await browser.do(step)) ?? this.#model.compare(await this.#stored())
    if (wrong !== null) throw new Error(`client ${client}, ${step.kind}: ${wrong}`)
  }

  /** What answers under the keys that anybody ever had. */
  async #stored(): Promise<Map<string, Data>> {
    const stored = new Map<string, Data>()
    for (const key of this.#model.keys.values()) {
      const session = await this.#engine.load(key, deadlineIn(60))
      if (session !== null) stored.set(key, toObject(codec.decode(session.sessionData)))
    }
    return stored
  }
}

const name = fc.constantFrom('a', 'b', 'count', '_auth_user_id')
const command: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('set' as const), name, value: fc.nat(3) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('delete' as const), name }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('share' as const), from: fc.nat(BROWSERS - 1) }) },
  { weight: 4, arbitrary: fc.constant({ kind: 'end' as const }) },
  { weight: 6, arbitrary: fc.constantFrom('count', 'clear', 'save', 'flush', 'cycle', 'read').map((kind) => ({ kind }) as Step) }
)
const program = fc.array(fc.tuple(fc.nat(BROWSERS - 1), command), { minLength: 5, maxLength: 40, size: 'max' })

/** All browsers start with the cookie of one session, and with requests that have read it. */
const IN_COMMON: readonly [number, Step][] = [
  [0, { kind: 'set', name: 'a', value: 1 }],
  [0, { kind: 'end' }],
  [1, { kind: 'share', from: 0 }],
  [2, { kind: 'share', from: 0 }],
  [0, { kind: 'read' }],
  [1, { kind: 'read' }],
  [2, { kind: 'read' }]
]

async function assertPrograms(t: Test, engine: Engine, numRuns: number) {
  const run = async (steps: [number, Step][]) => {
    const world = new World(engine, (message) => t.fail(message))
    for (const [client, command] of [...IN_COMMON, ...steps]) await world.do(client, command)
    // The replies that are still due.
    for (let client = 0; client < BROWSERS; client++) await world.do(client, { kind: 'end' })
  }
  await fc.assert(fc.asyncProperty(program, run), { seed, numRuns })
  t.pass(`${numRuns} programs of the seed ${seed}`)
}

const sessionCache = () => new SessionCache({ cache: new MemoryCache({ clock }), prefix: '', clock })

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
  await assertPrograms(t, new CachedDbEngine({ db: createDbEngine(knex, clock), cache: sessionCache(), storeTimeout: 60, log }), 300)
})

t.test('random programs on cache', (t) => assertPrograms(t, new CacheEngine(sessionCache()), 500))

t.test('random programs on file', (t) =>
  assertPrograms(
    t,
    new FileEngine({
      folder: privateFolder(t),
      cookieName: 'sessionid',
      cookieAge: settings.cookieAge,
      maxSize: settings.maxSize,
      codec,
      clock
    }),
    50
  )
)
