/**
 * The options of `register`: their types, Django's defaults, and the checks, made
 * once and all together. What comes out is frozen and trusted everywhere else.
 */
import type { Knex } from 'knex'
import type { Cache } from '../caches/memory.js'
import type { ClearExpiredOptions, Engine } from '../contract.js'
import type { Columns } from '../database/columns.js'
import { clientProblem, DRIVERS } from '../database/dialects.js'
import { MAX_AGE } from '../django/expiry.js'
import type { Serializer } from '../django/serializer.js'
import type { DjangoCache } from '../engines/django-cache.js'
import { InvalidOptions } from '../errors.js'
import { type ClearExpiredSchedule, isCron, parseDuration } from './schedule.js'
import { placeholderProblems } from './secret-key.js'

/** The option `cookie`: Django's settings `SESSION_COOKIE_…`. */
export interface CookieOptions {
  /** `SESSION_COOKIE_NAME`. @default 'sessionid' */
  name?: string
  /** `SESSION_COOKIE_DOMAIN`. @default the host of the request only */
  domain?: string
  /** `SESSION_COOKIE_PATH`. @default '/' */
  path?: string
  /** `SESSION_COOKIE_SECURE`; 'auto' is true for requests that came over https (behind a proxy this needs Fastify's trustProxy). @default 'auto' */
  secure?: boolean | 'auto'
  /** `SESSION_COOKIE_HTTPONLY`. @default true */
  httpOnly?: boolean
  /** `SESSION_COOKIE_SAMESITE`; false sends no SameSite. @default 'lax' */
  sameSite?: 'lax' | 'strict' | 'none' | false
  /** Keeps the cookie apart per top-level site (CHIPS); needs `secure: true`. @default false */
  partitioned?: boolean
  /** Which cookies a browser drops last when it has too many. @default no Priority */
  priority?: 'low' | 'medium' | 'high'
}

/** Django's names of its engines. */
export type EngineName = 'db' | 'cached_db' | 'cache' | 'file' | 'signed_cookies'

/** An engine of your own as a class, of which an instance is made when the plugin is registered. Its `salt` must be static. */
export interface EngineClass {
  new (options: { clock: () => Date }): Engine
  /** As in `Engine`. */
  readonly salt?: string
}

/** The options of `register`, checked all together at the start. */
export interface SessionOptions {
  /** `SECRET_KEY`: signs the data of sessions. Django's own, where sessions are shared. */
  secretKey: string
  /** `SECRET_KEY_FALLBACKS`: former keys, whose sessions are still read. @default [] */
  secretKeyFallbacks?: readonly string[]
  /** `SESSION_ENGINE`: where sessions live, by name or as an object of your own. @default 'db' */
  engine?: EngineName | Engine | EngineClass
  /** The database: a Knex instance, which stays yours to destroy, or a Knex configuration, whose connections end with `fastify.close()`. */
  knex?: Knex | Knex.Config
  /** @default 'django_session' */
  tableName?: string
  /**
   * Returns values of additional columns of the table, written at each create and save, as
   * Django's `create_model_instance` does. A value is a string, a finite number, a bigint of
   * 64 bits, a boolean, a Date (stored in UTC), binary data, or null. `undefined` is stored as
   * NULL. Anything else, and an async function, fails the request with a TypeError before
   * anything is sent.
   */
  columns?: (data: Record<string, unknown>, sessionKey: string) => Columns
  /** Where the engines `cache` and `cached_db` keep sessions: a MemoryCache, RedisCache, KeyvCache, or one of your own. */
  cache?: Cache
  /**
   * With the engine `cached_db`: seconds after which an entry of the cache is read from the database again. For so long a
   * process may see old data after another one could not reach the cache. @default 60
   */
  cacheMaxAge?: number
  /** With the engine `db` on a table that Django reads by its `cached_db`: Django's cache, from which changed sessions are deleted. */
  djangoCache?: DjangoCache
  /**
   * `SESSION_FILE_PATH`: the folder of the engine `file`, which users other than its owner and its group have no access to.
   *
   * @default fastify-django-sessions-<uid> in the system's folder for temporary files, made with mode 0700
   */
  filePath?: string
  /** `SESSION_SERIALIZER`. Another one than JSON keeps no exact text of untouched values. @default JSON */
  serializer?: Serializer
  /** Attributes of the cookie. */
  cookie?: CookieOptions
  /** `SESSION_COOKIE_AGE`, in seconds. @default 1209600 (two weeks) */
  cookieAge?: number
  /** `SESSION_EXPIRE_AT_BROWSER_CLOSE`. @default false */
  expireAtBrowserClose?: boolean
  /** `SESSION_SAVE_EVERY_REQUEST`: renews the session and its cookie with every request. @default false */
  saveEveryRequest?: boolean
  /** With `saveEveryRequest`: seconds since the last renewal in which the row is left alone. @default 0 */
  touchAfter?: number
  /** 'lazy' loads a session when `load()` is called, 'eager' before every handler. @default 'lazy' */
  load?: 'lazy' | 'eager'
  /**
   * When another request saved the session meanwhile: 'merge' puts this request's changes on top of
   * what it wrote, 'reject' does so unless both changed the same key, and 'overwrite' ignores it, as Django does. @default 'merge'
   */
  onConflict?: 'merge' | 'reject' | 'overwrite'
  /** Saves changes made inside a value (`session.get('cart').push(…)`) without `session.modified = true`. @default false */
  saveNestedChanges?: boolean
  /** Seconds until an operation of the store fails that has no answer. @default 5 */
  storeTimeout?: number
  /**
   * Greatest size of a session in bytes of JSON, read or written. With the engine `signed_cookies` at most 65536.
   * @default 1048576 (1 MiB)
   */
  maxSize?: number
  /** Bytes of JSON from which on the data is deflated where that makes it shorter; 0 is Django's rule. Django reads both. @default 1024 */
  compressAbove?: number
  /** Prepares statements on PostgreSQL and MariaDB, once for each connection. Not for a PgBouncer before 1.21 that pools transactions. @default true */
  preparedStatements?: boolean
  /** Reads, saves, creates and deletes of several sessions leave as one statement each, where the database can do that. @default true */
  batching?: boolean
  /**
   * Removes expired sessions from time to time, in one process at a time: `{ every: '1h' }` or `{ cron: '17 3 * * *' }`,
   * from `fastify.ready()` to `fastify.close()`. @default never: run `clearsessions` or call `sessions.clearExpired()`
   */
  clearExpired?: ClearExpiredSchedule
  /**
   * Makes `fastify.ready()` fail when the table of sessions or one of its columns is missing. A database that cannot be
   * reached is a warning only. @default true
   */
  verify?: boolean
  /** The time, for tests. @default the system's clock */
  clock?: () => Date
}

/** Options that stay undefined where they are not given. */
type Absent = 'knex' | 'clearExpired' | 'columns' | 'serializer' | 'cache' | 'djangoCache' | 'filePath'

export type Settings = Readonly<
  Required<Omit<SessionOptions, Absent | 'cookie'>> & { [Name in Absent]: SessionOptions[Name] } & {
    cookie: Readonly<Required<Omit<CookieOptions, 'domain' | 'priority'>> & Pick<CookieOptions, 'domain' | 'priority'>>
  }
>

type Check = readonly [expected: string, holds: (value: unknown) => boolean]

const isText = (value: unknown): value is string => typeof value === 'string' && value !== ''
const isKey = (value: unknown): value is string => isText(value) && value.trim() !== ''
const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value)
const isNumberFrom =
  (least: number, most = Number.POSITIVE_INFINITY) =>
  (value: unknown) =>
    typeof value === 'number' && value >= least && value <= most && Number.isFinite(value)
const oneOf = (...values: unknown[]): Check => [
  values.map((value) => JSON.stringify(value)).join(' or '),
  (value) => values.includes(value)
]
/** Whether `new` can be used on it: not on arrow functions, say. */
const isClass = (value: unknown): boolean => {
  try {
    Reflect.construct(Object, [], value as NewableFunction)
    return true
  } catch {
    return false
  }
}
const BOOLEAN: Check = ['true or false', (value) => typeof value === 'boolean']
const FUNCTION: Check = ['a function', (value) => typeof value === 'function']

const ENGINE_NAMES: readonly string[] = ['db', 'cached_db', 'cache', 'file', 'signed_cookies'] satisfies EngineName[]
const ENGINE_METHODS = ['load', 'create', 'save', 'saveLocked', 'touch', 'cycleKey', 'delete', 'exists', 'clearExpired']
const CACHE_METHODS = ['get', 'add', 'replace', 'delete']

const CHECKS: Record<keyof SessionOptions, Check> = {
  secretKey: ['a string that is not blank', isKey],
  secretKeyFallbacks: ['an array of strings that are not blank', (value) => Array.isArray(value) && value.every(isKey)],
  engine: [
    `${ENGINE_NAMES.map((name) => JSON.stringify(name)).join(', ')}, or an engine as an object or a class`,
    (value) => ENGINE_NAMES.includes(value as string) || isClass(value) || isObject(value)
  ],
  knex: [
    `a Knex instance or configuration for one of ${DRIVERS.join(', ')}`,
    (value) => (typeof value === 'function' && 'client' in value) || isObject(value)
  ],
  tableName: ['the name of a table', isText],
  columns: FUNCTION,
  cache: ['a MemoryCache, RedisCache, KeyvCache, or an object with their methods', isObject],
  cacheMaxAge: ['seconds from 1', isNumberFrom(1)],
  djangoCache: ["an object with delete(key), and keyPrefix, version, deleteAgainAfter where they are not Django's defaults", isObject],
  filePath: ['the path of a folder', isText],
  serializer: [
    'an object with the functions dumps and loads',
    (value) => isObject(value) && typeof value.dumps === 'function' && typeof value.loads === 'function'
  ],
  cookie: ['an object', isObject],
  cookieAge: [
    `whole seconds from 1 to ${MAX_AGE} (400 days, the most that browsers keep a cookie)`,
    (value) => Number.isInteger(value) && isNumberFrom(1, MAX_AGE)(value)
  ],
  expireAtBrowserClose: BOOLEAN,
  saveEveryRequest: BOOLEAN,
  touchAfter: ['seconds from 0', isNumberFrom(0)],
  load: oneOf('lazy', 'eager'),
  onConflict: oneOf('merge', 'reject', 'overwrite'),
  saveNestedChanges: BOOLEAN,
  storeTimeout: ['seconds from 0.001 to 600', isNumberFrom(0.001, 600)],
  maxSize: ['bytes from 1', isNumberFrom(1, 2 ** 30)],
  compressAbove: ['bytes from 0', isNumberFrom(0)],
  preparedStatements: BOOLEAN,
  batching: BOOLEAN,
  clearExpired: ['an object with either every or cron', isObject],
  verify: BOOLEAN,
  clock: FUNCTION
}

const ENGINE_CHECKS: Record<'salt' | 'keyIsData', Check> = {
  salt: ['a string that is not empty', isText],
  keyIsData: BOOLEAN
}

const DJANGO_CACHE_CHECKS: Record<Exclude<keyof DjangoCache, 'delete'>, Check> = {
  keyPrefix: ['a string', (value) => typeof value === 'string'],
  version: ['a whole number', Number.isInteger],
  deleteAgainAfter: ['seconds from 0 to 3600', isNumberFrom(0, 3600)]
}

const GRACE: Check = ['seconds from 0', isNumberFrom(0)]

const SCHEDULE_CHECKS: Record<keyof ClearExpiredSchedule, Check> = {
  every: [
    'seconds from 1, or a string such as "90s", "30m", "1h" or "1d"',
    (value) => (typeof value === 'number' || typeof value === 'string') && isNumberFrom(1)(parseDuration(value))
  ],
  cron: [
    'a cron expression of five fields, or six with seconds, that matches at some time',
    (value) => typeof value === 'string' && isCron(value)
  ],
  grace: GRACE
}

const CLEAR_EXPIRED_CHECKS: Record<keyof ClearExpiredOptions, Check> = {
  grace: GRACE,
  batchSize: ['a whole number from 1', (value) => Number.isInteger(value) && isNumberFrom(1)(value)],
  signal: ['an AbortSignal', (value) => value instanceof AbortSignal],
  onProgress: FUNCTION
}

const COOKIE_CHECKS: Record<keyof CookieOptions, Check> = {
  // RFC 9110 §5.6.2, token
  name: ["a cookie name (letters, digits and !#$%&'*+-.^_`|~)", (value) => isText(value) && /^[\w!#$%&'*+.^`|~-]+$/.test(value)],
  domain: ['a domain name', (value) => isText(value) && /^[\w.-]+$/.test(value)],
  path: ['a path that starts with /', (value) => isText(value) && /^\/[ -:<-~]*$/.test(value)],
  secure: oneOf(true, false, 'auto'),
  httpOnly: BOOLEAN,
  sameSite: oneOf('lax', 'strict', 'none', false),
  partitioned: BOOLEAN,
  priority: oneOf('low', 'medium', 'high')
}

/** Names that users of other session plugins, and of Django, write for options of ours. */
const SUGGESTIONS = new Map([
  ['secret', 'secretKey'],
  ['secrets', 'secretKeyFallbacks'],
  ['store', 'knex, or engine'],
  ['age', 'cookieAge'],
  ['maxage', 'cookieAge'],
  ['ttl', 'cookieAge'],
  ['cookiename', 'cookie.name'],
  ['rolling', 'saveEveryRequest'],
  ['table', 'tableName'],
  ['timeout', 'storeTimeout'],
  ['prunesessioninterval', 'clearExpired'],
  ['cleanupinterval', 'clearExpired'],
  ...Object.keys(COOKIE_CHECKS).map((name): [string, string] => [name.toLowerCase(), `cookie.${name}`])
])

/** Options of other session plugins that have no counterpart here, and why. */
const NOT_NEEDED = new Map([
  ['resave', 'a session that did not change is never saved'],
  ['saveuninitialized', 'an empty session is never stored and sends no cookie'],
  ['genid', "session keys are made as Django's"],
  ['idgenerator', "session keys are made as Django's"],
  ['cookieprefix', "the cookie is the session key alone, as Django's"],
  ['proxy', 'set the option trustProxy of Fastify'],
  ['unset', 'await session.flush() ends a session']
])

/**
 * Checks the options and fills in the defaults. The caller's object is left alone.
 *
 * @throws InvalidOptions with all problems
 */
export function resolveSettings(options: SessionOptions): Settings {
  refuse(isObject(options) ? findProblems(options) : [`expected an object with options, got ${received('', options)}`])
  const settings: Settings = {
    secretKeyFallbacks: [],
    engine: 'db',
    knex: undefined,
    tableName: 'django_session',
    columns: undefined,
    serializer: undefined,
    cache: undefined,
    cacheMaxAge: 60,
    djangoCache: undefined,
    filePath: undefined,
    clearExpired: undefined,
    cookieAge: 1_209_600, // two weeks
    expireAtBrowserClose: false,
    saveEveryRequest: false,
    touchAfter: 0,
    load: 'lazy',
    onConflict: 'merge',
    saveNestedChanges: false,
    storeTimeout: 5,
    maxSize: 1_048_576, // 1 MiB
    compressAbove: 1024,
    preparedStatements: true,
    batching: true,
    verify: true,
    clock: () => new Date(),
    ...defined(options),
    cookie: Object.freeze({
      name: 'sessionid',
      path: '/',
      secure: 'auto' as const,
      httpOnly: true,
      sameSite: 'lax' as const,
      partitioned: false,
      ...defined(options.cookie ?? {})
    })
  }
  return Object.freeze(settings)
}

/**
 * Checks what the class of the option `engine` made.
 *
 * @throws InvalidOptions with all problems
 */
export function checkMadeEngine(engine: Engine, { salt }: EngineClass): void {
  const problems = engineProblems(engine)
  // The data is signed with the salt of the class.
  if (problems.length === 0 && engine.salt !== salt) {
    problems.push('engine.salt: expected the same as a static member of the class, whose salt is read before an engine is made')
  }
  refuse(problems)
}

/** @throws InvalidOptions with all problems */
export function checkClearExpired(options: ClearExpiredOptions): void {
  refuse(checkAll(options, CLEAR_EXPIRED_CHECKS, ''))
}

function refuse(problems: readonly string[]): void {
  if (problems.length > 0) throw new InvalidOptions(problems.map((problem) => `- ${problem}`).join('\n'))
}

function findProblems(options: SessionOptions): string[] {
  const { cookie = {} } = options
  const cookieProblems = isObject(cookie) ? checkAll(cookie, COOKIE_CHECKS, 'cookie.') : []
  const problems = [...checkAll(options, CHECKS, ''), ...cookieProblems]
  if (isObject(cookie) && cookieProblems.length === 0) problems.push(...checkCookieRules(cookie))
  problems.push(...checkSchedule(options.clearExpired), ...checkMethods('cache', options.cache, CACHE_METHODS))
  problems.push(
    ...checkMethods('djangoCache', options.djangoCache, ['delete']),
    ...checkSome(options.djangoCache, DJANGO_CACHE_CHECKS, 'djangoCache.')
  )
  if (isObject(options.engine)) problems.push(...engineProblems(options.engine))
  problems.push(...checkKnex(options.knex), ...placeholderProblems(options))
  if (options.secretKey === undefined) {
    problems.push(`secretKey: expected ${CHECKS.secretKey[0]}, got nothing. Where sessions are shared with Django it is its SECRET_KEY`)
  }
  const { engine = 'db' } = options
  const demand = (name: 'knex' | 'cache') => {
    if (options[name] === undefined)
      problems.push(`${name}: expected ${CHECKS[name][0]}, which the engine ${JSON.stringify(engine)} needs, got nothing`)
  }
  if (engine === 'db' || engine === 'cached_db') demand('knex')
  if (engine === 'cache' || engine === 'cached_db') demand('cache')
  if (engine !== 'db' && options.djangoCache !== undefined) {
    problems.push(
      `djangoCache: expected the engine "db" with it, got ${ENGINE_NAMES.includes(engine as string) ? JSON.stringify(engine) : 'another one'}`
    )
  }
  return problems
}

function engineProblems(engine: object): string[] {
  return [...checkMethods('engine', engine, ENGINE_METHODS), ...checkSome(engine, ENGINE_CHECKS, 'engine.')]
}

/** Names the methods that an object lacks. */
function checkMethods(name: 'engine' | 'cache' | 'djangoCache', value: unknown, methods: readonly string[]): string[] {
  if (!isObject(value)) return []
  const missing = methods.filter((method) => typeof value[method] !== 'function')
  if (missing.length === 0) return []
  const isClient = name === 'cache' && typeof value.set === 'function'
  const remedy = isClient ? '. Of a client it is made by new RedisCache(client) or new KeyvCache(keyv)' : ''
  return [`${name}: expected the methods ${methods.join(', ')}, got an object without ${missing.join(', ')}${remedy}`]
}

/** As `checkAll`, for objects that may have members of their own. */
function checkSome(value: unknown, checks: Record<string, Check>, prefix: string): string[] {
  if (!isObject(value)) return []
  return checkAll(Object.fromEntries(Object.keys(checks).map((name) => [name, value[name]])), checks, prefix)
}

/** Problems that Knex itself would not report, or report wrongly. */
function checkKnex(knex: unknown): string[] {
  if (!isObject(knex)) return []
  if (knex.client !== undefined) {
    const problem = clientProblem(knex.client)
    if (problem !== null) return [`knex.client: ${problem}`]
    const hasConnection = (knex.connection ?? knex.connectionPool) != null
    return hasConnection ? [] : ['knex.connection: expected the database to connect to, got nothing']
  }
  const environments = Object.keys(knex).filter((name) => isObject(knex[name]) && 'client' in knex[name])
  if (environments.length === 0) return [`knex: expected ${CHECKS.knex[0]}, got an object that has no client`]
  return [`knex: expected a configuration, got a knexfile that has no client: pass knexfile.${environments.join(' or knexfile.')}`]
}

function checkSchedule(schedule: unknown): string[] {
  if (!isObject(schedule)) return []
  const problems = checkAll(schedule, SCHEDULE_CHECKS, 'clearExpired.')
  const given = ['every', 'cron'].filter((name) => schedule[name] !== undefined)
  if (given.length === 1) return problems
  return [...problems, `clearExpired: expected either every or cron, got ${given.length === 0 ? 'neither' : 'both'}`]
}

function checkAll(options: object, checks: Record<string, Check>, prefix: string): string[] {
  return Object.entries(options).flatMap(([name, value]) => {
    if (!Object.hasOwn(checks, name)) return [`${prefix}${name}: unknown option${suggest(name, Object.keys(checks), prefix)}`]
    const [expected, holds] = checks[name] as Check
    return value === undefined || holds(value) ? [] : [`${prefix}${name}: expected ${expected}, got ${received(name, value)}`]
  })
}

function suggest(name: string, known: string[], prefix: string): string {
  const plain = name
    .toLowerCase()
    .replace(/[^a-z]/g, '')
    .replace(/^session(?:cookie)?/, '')
  const found = known.find((candidate) => candidate.toLowerCase() === plain || candidate.toLowerCase() === name.toLowerCase())
  const suggestion = found === undefined ? SUGGESTIONS.get(plain) : prefix + found
  if (suggestion !== undefined) return `, did you mean ${suggestion}?`
  return NOT_NEEDED.has(plain) ? `, and not needed: ${NOT_NEEDED.get(plain)}` : `; there are ${known.join(', ')}`
}

/** Options whose strings may be shown. In the others a secret may stand by mistake, or a URL with a password. */
const SHOWN = ['tableName', 'filePath', 'load', 'onConflict', ...Object.keys(SCHEDULE_CHECKS), ...Object.keys(COOKIE_CHECKS)]

/** Describes a wrong value, without repeating one that may be a secret. */
function received(name: string, value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return `an array of ${value.length}`
  if (value === '') return 'an empty string'
  if (typeof value === 'string') return SHOWN.includes(name) ? JSON.stringify(value) : 'a string'
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : `a value of type ${typeof value}`
}

/** Rules of browsers for cookies (RFC 6265bis §4.1.3 and §5.6, CHIPS); a cookie that fails is dropped without a word. */
function checkCookieRules({
  name = 'sessionid',
  secure = 'auto',
  domain,
  path = '/',
  httpOnly = true,
  sameSite = 'lax',
  partitioned = false
}: CookieOptions): string[] {
  const prefix = /^__(?:host-http-|host-|secure-|http-)/i.exec(name)?.[0].toLowerCase() ?? ''
  const problems: string[] = []
  const demand = (holds: boolean, who: string, what: string) => {
    if (!holds) problems.push(`${who} needs ${what}`)
  }
  if (prefix !== '') demand(secure === true, `cookie.name ${JSON.stringify(name)}`, 'cookie.secure: true')
  if (prefix.startsWith('__host-')) {
    demand(domain === undefined, `cookie.name ${JSON.stringify(name)}`, 'no cookie.domain')
    demand(path === '/', `cookie.name ${JSON.stringify(name)}`, "cookie.path: '/'")
  }
  if (prefix.endsWith('http-')) demand(httpOnly, `cookie.name ${JSON.stringify(name)}`, 'cookie.httpOnly: true')
  if (sameSite === 'none') demand(secure === true, "cookie.sameSite: 'none'", 'cookie.secure: true')
  if (partitioned) demand(secure === true, 'cookie.partitioned: true', 'cookie.secure: true')
  return problems
}

function defined<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T
}
