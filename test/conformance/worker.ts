/**
 * A worker of the conformance kit: Django's `SessionStore` over a pipe, one line of
 * JSON for each call and each answer. What is the kit's and Python's own is made here
 * (exceptions, stores that change under way); all else is the library's doing.
 */
import { mkdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Knex } from 'knex'
import { openKnex } from '../../lib/assembly.ts'
import { type Cache, MemoryCache } from '../../lib/caches/memory.ts'
import type { Engine } from '../../lib/contract.ts'
import { STORE_SALT } from '../../lib/django/codec.ts'
import { expiryAge, expiryDate, toStoredExpiry } from '../../lib/django/expiry.ts'
import { parse } from '../../lib/django/json.ts'
import { stringify } from '../../lib/django/json-writer.ts'
import { newSessionKey } from '../../lib/django/keys.ts'
import { type SessionOptions, signing } from '../../lib/index.ts'
import { lifecycleOf } from '../../lib/session/facade.ts'
import type { Session } from '../../lib/session/session.ts'
import { Sessions } from '../../lib/sessions.ts'
import { resolveSettings } from '../../lib/settings/settings.ts'

class PythonError extends Error {
  constructor(name: string, message = '') {
    super(message)
    this.name = name
  }
}

// --- values on the wire ----------------------------------------------------------

type Plain = string | number | boolean | null
type Wire = Plain | { $json: string } | { $datetime: string } | { $timedelta: number }

class Timedelta {
  readonly seconds: number
  constructor(seconds: number) {
    this.seconds = seconds
  }
}

function incoming(value: Wire): unknown {
  if (typeof value !== 'object' || value === null) return value
  if ('$json' in value) return parse(value.$json)
  return '$datetime' in value ? new Date(value.$datetime) : new Timedelta(value.$timedelta)
}

const json = (value: unknown): Wire => ({ $json: stringify(value, 'the result') })
const datetime = (date: Date): Wire => ({ $datetime: date.toISOString().replace('Z', '+00:00') })

// --- settings, and what follows from them ----------------------------------------

interface DjangoSettings {
  SECRET_KEY: string
  SECRET_KEY_FALLBACKS: string[]
  SESSION_COOKIE_AGE: number
  SESSION_COOKIE_NAME: string
  SESSION_CACHE_ALIAS: string
  SESSION_FILE_PATH: string | null
  CACHES: Record<string, keyof typeof cacheKinds>
  SESSION_EXPIRE_AT_BROWSER_CLOSE: boolean
}

interface LogLine {
  logger: string
  level: string
  message: string
  exception?: string | undefined
}

let settings: DjangoSettings
let knex: Knex | undefined
let now: Date | null = null
let queries = 0
let logs: LogLine[] = []
const clock = () => now ?? new Date()

const log = {
  debug() {},
  warn(details: object, message: string) {
    const isSuspicious = 'code' in details && details.code === 'FST_SESSION_SUSPICIOUS'
    if (isSuspicious) logs.push({ logger: 'django.security.SuspiciousSession', level: 'WARNING', message: 'Session data corrupted' })
    else if (message === 'The session cache failed and is passed over') logs.push(cacheFailure())
    else logs.push({ logger: 'django.contrib.sessions', level: 'WARNING', message })
  }
}

// --- caches ------------------------------------------------------------------------

const dummyCache: Cache = {
  get: async () => null,
  add: async () => true,
  replace: async () => false,
  delete: async () => {}
}

/** What a failing cache threw: the library shows nobody the message of a cache, since clients put keys and values into it. */
let thrownByCache: Error | undefined

async function failToStore(): Promise<never> {
  thrownByCache = new Error('Faked exception saving to cache')
  throw thrownByCache
}

const failingCache: Cache = { ...dummyCache, add: failToStore, replace: failToStore }

const cacheKinds = { memory: () => new MemoryCache({ clock }), dummy: () => dummyCache, failing: () => failingCache }

/** As Django's, caches outlive a change of the settings. */
const caches = new Map<string, Cache>()

const describeCache = (alias: string) => `the ${settings.CACHES[alias]} cache ${alias}`

function cacheOf(alias: string): Cache {
  const kind = settings.CACHES[alias]
  if (kind === undefined) throw new PythonError('InvalidCacheBackendError', `there is no cache ${alias}`)
  const name = describeCache(alias)
  const cache = caches.get(name) ?? cacheKinds[kind]()
  caches.set(name, cache)
  return cache
}

function cacheFailure(): LogLine {
  const message = `Error saving to cache (${describeCache(settings.SESSION_CACHE_ALIAS)})`
  return { logger: 'django.contrib.sessions', level: 'ERROR', message, exception: thrownByCache?.message }
}

// --- engines -----------------------------------------------------------------------

const unimplemented = async (): Promise<never> => {
  throw new PythonError('NotImplementedError')
}

const abstractEngine: Engine = {
  load: unimplemented,
  create: unimplemented,
  save: unimplemented,
  saveLocked: unimplemented,
  touch: unimplemented,
  cycleKey: unimplemented,
  delete: unimplemented,
  exists: unimplemented,
  clearExpired: unimplemented
}

type EngineName = keyof typeof engines
const engines = {
  db: (): Partial<SessionOptions> => ({ knex }),
  custom_db: (): Partial<SessionOptions> => ({
    knex,
    tableName: 'sessions_tests_customsession',
    columns: ({ _auth_user_id: id }) => ({ account_id: /^\d+$/.test(String(id)) ? Number(id) : null }),
    cookieAge: 86_400
  }),
  cached_db: (): Partial<SessionOptions> => ({ engine: 'cached_db', knex, cache: cacheOf(settings.SESSION_CACHE_ALIAS) }),
  cache: (): Partial<SessionOptions> => ({ engine: 'cache', cache: cacheOf(settings.SESSION_CACHE_ALIAS) }),
  file: (): Partial<SessionOptions> => ({
    engine: 'file',
    ...(settings.SESSION_FILE_PATH !== null && { filePath: settings.SESSION_FILE_PATH })
  }),
  signed_cookies: (): Partial<SessionOptions> => ({ engine: 'signed_cookies' }),
  base: (): Partial<SessionOptions> => ({ engine: abstractEngine })
}

const serializers = {
  json: {},
  raising: {
    serializer: {
      dumps: (data: object) => stringify(data, 'the session'),
      loads() {
        throw new Error('this serializer reads nothing')
      }
    }
  }
}
type SerializerName = keyof typeof serializers

const cookieAgeOf = (engine: EngineName) => engines[engine]().cookieAge ?? settings.SESSION_COOKIE_AGE

function createSessions(engine: EngineName, serializer: SerializerName, options: Partial<SessionOptions> = {}): Promise<Sessions> {
  const resolved = resolveSettings({
    secretKey: settings.SECRET_KEY,
    secretKeyFallbacks: settings.SECRET_KEY_FALLBACKS,
    expireAtBrowserClose: settings.SESSION_EXPIRE_AT_BROWSER_CLOSE,
    cookie: { name: settings.SESSION_COOKIE_NAME },
    clock,
    ...engines[engine](),
    ...serializers[serializer],
    ...options
  })
  // Not by the option, which refuses ages that Django takes.
  return Sessions.create({ ...resolved, cookieAge: cookieAgeOf(engine) }, log)
}

/** One for each engine, until the settings change. */
const sessionsOf = new Map<string, Promise<Sessions>>()

function findSessions(engine: EngineName, serializer: SerializerName = 'json'): Promise<Sessions> {
  const name = `${engine} ${serializer}`
  const found = sessionsOf.get(name) ?? createSessions(engine, serializer)
  sessionsOf.set(name, found)
  return found
}

// --- Django's session object -------------------------------------------------------

interface ExpiryArguments {
  modification?: Date
  expiry?: Date | string | number | null
}

/** Methods have Django's names. Unlike a Session, a store can be given another key, other settings and another serializer. */
class Store {
  session: Session
  serializer: SerializerName = 'json'
  readonly engine: EngineName
  #sessions: Sessions

  constructor(engine: EngineName, sessions: Sessions, key: string | null) {
    this.engine = engine
    this.#sessions = sessions
    this.session = sessions.open(key)
  }

  /** Takes over settings that have changed. */
  async refresh(): Promise<void> {
    const sessions = await findSessions(this.engine, this.serializer)
    if (sessions === this.#sessions) return
    this.#sessions = sessions
    await this.reopen(this.session.sessionKey, this.data)
  }

  /** Goes on under this key; `data` is what counts as loaded. */
  async reopen(key: string | null, data: Record<string, unknown> | null): Promise<void> {
    const { accessed, modified } = this.session
    this.session = this.#sessions.open(key)
    if (data !== null) await lifecycleOf(this.session.clear().update(data)).load(null)
    this.session.modified = modified
    this.session.accessed = accessed
  }

  get data(): Record<string, unknown> | null {
    const { accessed } = this.session
    const data = this.session.isLoaded ? this.session.toObject() : null
    this.session.accessed = accessed
    return data
  }

  // --- the data

  async #loadWith(name: string): Promise<Session> {
    const session = await this.session.load()
    if (!session.has(name)) throw new PythonError('KeyError', name)
    return session
  }

  async get(name: string, fallback: unknown): Promise<Wire> {
    return json((await this.session.load()).get(name, fallback))
  }

  async getitem(name: string): Promise<Wire> {
    return json((await this.#loadWith(name)).get(name))
  }

  async set(name: string, value: unknown): Promise<void> {
    ;(await this.session.load()).set(name, value)
  }

  async delitem(name: string): Promise<void> {
    ;(await this.#loadWith(name)).delete(name)
  }

  async pop(name: string, ...fallback: unknown[]): Promise<Wire> {
    const session = fallback.length === 0 ? await this.#loadWith(name) : await this.session.load()
    return json(session.pop(name, fallback[0]))
  }

  async setdefault(name: string, value: unknown): Promise<Wire> {
    return json((await this.session.load()).setDefault(name, value))
  }

  async update(data: Record<string, unknown>): Promise<void> {
    ;(await this.session.load()).update(data)
  }

  async has_key(name: string): Promise<Wire> {
    return (await this.session.load()).has(name)
  }

  async keys(): Promise<Wire> {
    return json((await this.session.load()).keys())
  }

  async values(): Promise<Wire> {
    return json((await this.session.load()).values())
  }

  async items(): Promise<Wire> {
    return json((await this.session.load()).entries())
  }

  async clear(): Promise<void> {
    ;(await this.session.load()).clear()
  }

  is_empty(): Wire {
    return this.session.isEmpty
  }

  async set_test_cookie(): Promise<void> {
    ;(await this.session.load()).setTestCookie()
  }

  async test_cookie_worked(): Promise<Wire> {
    return (await this.session.load()).testCookieWorked()
  }

  async delete_test_cookie(): Promise<void> {
    ;(await this.session.load()).deleteTestCookie()
  }

  // --- signed text

  encode(data: Record<string, unknown>): Wire {
    return signing.dumps(data, { secretKey: settings.SECRET_KEY, salt: STORE_SALT, compress: true, clock })
  }

  /** What a session makes of the text that it finds stored. */
  async decode(text: string): Promise<Wire> {
    const engine = { ...abstractEngine, load: async () => ({ sessionData: text, expireDate: clock() }) }
    // What only the engine of the store uses goes with it.
    const without = { cache: undefined, filePath: undefined, columns: undefined }
    const sessions = await createSessions(this.engine, this.serializer, { ...without, engine })
    return json((await sessions.open(newSessionKey()).load()).toObject())
  }

  // --- when it ends

  get_session_cookie_age(): number {
    return cookieAgeOf(this.engine)
  }

  async #expiry(given: ExpiryArguments): Promise<[expiry: unknown, cookieAge: number, now: Date]> {
    const expiry = 'expiry' in given ? given.expiry : (await this.session.load()).get('_session_expiry')
    const stored = expiry instanceof Date ? toStoredExpiry(expiry, clock()) : expiry
    return [stored, this.get_session_cookie_age(), given.modification ?? clock()]
  }

  async get_expiry_age(given?: ExpiryArguments): Promise<Wire> {
    if (given === undefined) return (await this.session.load()).getExpiryAge()
    return expiryAge(...(await this.#expiry(given)))
  }

  async get_expiry_date(given?: ExpiryArguments): Promise<Wire> {
    if (given === undefined) return datetime((await this.session.load()).getExpiryDate())
    return datetime(expiryDate(...(await this.#expiry(given))))
  }

  async set_expiry(value: number | Date | Timedelta | null): Promise<void> {
    const session = await this.session.load()
    // A negative age is refused by ours, and read as Django's.
    if (typeof value === 'number' && value < 0) session.set('_session_expiry', value)
    else session.setExpiry(value instanceof Timedelta ? new Date(clock().getTime() + value.seconds * 1000) : value)
  }

  async get_expire_at_browser_close(): Promise<Wire> {
    return (await this.session.load()).getExpireAtBrowserClose()
  }

  // --- the storage

  /** Another object for the same session, as another request would have. */
  other(key: string | null = this.session.sessionKey): Session {
    return this.#sessions.open(key)
  }

  flush(): Promise<void> {
    return this.session.flush()
  }

  cycle_key(): Promise<void> {
    return this.session.cycleKey()
  }

  async exists(key: string | null): Promise<Wire> {
    const other = this.other(key)
    return (await lifecycleOf(other).load(other)).sessionKey !== null
  }

  async load(): Promise<Wire> {
    const stored = this.other()
    await lifecycleOf(stored).load(null)
    if (stored.sessionKey === null) await this.reopen(null, this.data)
    return json(stored.toObject())
  }

  async create(): Promise<void> {
    await this.reopen(null, this.data)
    await this.save(false)
  }

  async save(mustCreate: boolean): Promise<void> {
    const { sessionKey, modified } = this.session
    if (mustCreate && sessionKey !== null) {
      if (await this.exists(sessionKey)) throw new PythonError('CreateError')
      return this.create()
    }
    await this.session.save()
    // Django's create() sets it, and a save leaves it alone.
    this.session.modified = modified || sessionKey === null
  }

  delete(key: string | null = null): Promise<void> {
    return this.other(key ?? undefined).flush()
  }

  _get_new_session_key(): Wire {
    return newSessionKey()
  }
}

/** What Django's abstract class leaves to its subclasses fails with or without a key. */
class AbstractStore extends Store {
  override exists = unimplemented
  override load = unimplemented
  override create = unimplemented
  override save = unimplemented
  override delete = unimplemented
}

class CacheStore extends Store {
  cache_key(): string {
    return `fastify:django.contrib.sessions.${this.engine}:${this.session.sessionKey}`
  }
}

class FileStore extends Store {
  /** Nobody but the library itself says which keys lead to a file: it is shown a session under that name. */
  async _key_to_file(key: string): Promise<Wire> {
    const prefix = join(String(settings.SESSION_FILE_PATH), settings.SESSION_COOKIE_NAME)
    const planted = this.other(null).set('planted', true)
    await planted.save()
    const path = prefix + key
    await mkdir(dirname(path), { recursive: true })
    await rename(prefix + planted.sessionKey, path)
    const isFound = await this.exists(key)
    await rm(path)
    if (!isFound) throw new PythonError('InvalidSessionKey', key)
    return path
  }
}

/** Nothing is stored: no key is taken, and only the object itself forgets its data. */
class CookieStore extends Store {
  override async exists(): Promise<Wire> {
    return false
  }

  override delete(): Promise<void> {
    return this.session.flush()
  }
}

const storeClasses: Record<EngineName, typeof Store> = {
  db: Store,
  custom_db: Store,
  cached_db: CacheStore,
  cache: CacheStore,
  file: FileStore,
  signed_cookies: CookieStore,
  base: AbstractStore
}

async function testCookie(store: Store): Promise<[name: string, value: unknown]> {
  const session = await store.other(null).setTestCookie().load()
  return session.entries()[0] as [string, unknown]
}

function cacheStore(store: Store): CacheStore {
  if (!(store instanceof CacheStore)) throw new PythonError('AttributeError', 'it has no cache')
  return store
}

interface Attribute {
  read(store: Store): unknown
  write?(store: Store, value: unknown): unknown
}

const attributes: Record<string, Attribute> = {
  session_key: { read: ({ session }) => session.sessionKey },
  _session_key: {
    read: ({ session }) => session.sessionKey,
    write: (store, key) => store.reopen(key as string | null, store.data)
  },
  accessed: {
    read: ({ session }) => session.accessed,
    write({ session }, accessed) {
      session.accessed = accessed as boolean
    }
  },
  modified: {
    read: ({ session }) => session.modified,
    write({ session }, modified) {
      const { accessed } = session
      session.modified = modified as boolean
      session.accessed = accessed
    }
  },
  _session_cache: {
    read({ data }) {
      if (data === null) throw new PythonError('AttributeError', '_session_cache')
      return json(data)
    }
  },
  serializer: {
    read: ({ serializer }) => serializer,
    async write(store, name) {
      store.serializer = name as SerializerName
      await store.refresh()
    }
  },
  cache_key: { read: (store) => cacheStore(store).cache_key() },
  _cache: { read: (store) => cacheStore(store) && describeCache(settings.SESSION_CACHE_ALIAS) },
  key_salt: { read: () => STORE_SALT },
  TEST_COOKIE_NAME: { read: async (store) => (await testCookie(store))[0] },
  TEST_COOKIE_VALUE: { read: async (store) => (await testCookie(store))[1] }
}

// --- the operations ----------------------------------------------------------------

interface Message {
  id: number
  op: keyof typeof operations
  now?: string
  db: { client: 'sqlite'; filename: string } | { client: 'pg'; url: string }
  settings: DjangoSettings
  handle: number
  engine: EngineName
  key: string | null
  method: string
  name: string
  alias: string
  args: Wire[]
  kwargs?: Record<string, Wire>
  value: Wire
}

const stores = new Map<number, Store>()

async function storeOf({ handle }: Message): Promise<Store> {
  const store = stores.get(handle)
  if (store === undefined) throw new Error(`there is no session ${handle}`)
  await store.refresh()
  return store
}

function attributeOf({ name }: Message): Attribute {
  const attribute = attributes[name]
  if (attribute === undefined) throw new PythonError('AttributeError', name)
  return attribute
}

/** All of it is asynchronous anyway, so Django's `aget` is `get`. */
const withoutA = (target: object, method: string) => (method in target ? method : method.replace(/^a/, ''))

const operations = {
  async init({ db, settings: given }: Message) {
    settings = given
    const opened = await openKnex(
      db.client === 'pg' ? { client: 'pg', connection: db.url } : { client: 'better-sqlite3', connection: { filename: db.filename } },
      5
    )
    knex = opened.knex as Knex
    knex.on('query', () => {
      queries += 1
    })
    return { name: 'fastify-django-sessions', engines: Object.keys(engines), capabilities: ['modern'], time_resolution: 'ms' }
  },
  settings({ settings: given }: Message) {
    settings = given
    sessionsOf.clear()
  },
  reset() {
    stores.clear()
    caches.clear()
    sessionsOf.clear()
  },
  async new({ handle, engine, key }: Message) {
    const StoreClass = storeClasses[engine]
    stores.set(handle, new StoreClass(engine, await findSessions(engine), key))
  },
  async call(message: Message) {
    const store = await storeOf(message)
    const args = message.args.map(incoming)
    if (message.kwargs) args.push(Object.fromEntries(Object.entries(message.kwargs).map(([name, value]) => [name, incoming(value)])))
    const methods = store as unknown as Record<string, (...args: unknown[]) => unknown>
    const method = methods[withoutA(store, message.method)]
    if (method === undefined) throw new PythonError('AttributeError', message.method)
    return method.apply(store, args)
  },
  async get(message: Message) {
    return attributeOf(message).read(await storeOf(message))
  },
  async set(message: Message) {
    const { write } = attributeOf(message)
    if (write === undefined) throw new PythonError('AttributeError', `${message.name} is read-only`)
    await write(await storeOf(message), incoming(message.value))
  },
  async del(message: Message) {
    const store = await storeOf(message)
    await store.reopen(store.session.sessionKey, null)
  },
  async static({ engine }: Message) {
    await (await findSessions(engine)).clearExpired()
  },
  cache({ alias, method, args: [key] }: Message) {
    return cacheOf(alias)[method as 'get' | 'delete'](String(key))
  }
}

const errorTypes: Record<string, string> = {
  FST_SESSION_INTERRUPTED: 'UpdateError',
  FST_SESSION_INVALID_OPTIONS: 'ImproperlyConfigured'
}

function errorOf(thrown: unknown): { type: string; message: string } {
  const error = thrown as Error & { code?: string }
  return { type: errorTypes[error.code ?? ''] ?? error.name, message: error.message }
}

async function answer(message: Message) {
  logs = []
  queries = 0
  now = message.now === undefined ? null : new Date(message.now)
  try {
    return { id: message.id, ok: (await operations[message.op](message)) ?? null, logs, queries }
  } catch (error) {
    return { id: message.id, error: errorOf(error), logs, queries }
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line)))}\n`)
}
await knex?.destroy()
