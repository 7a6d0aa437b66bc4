/** Checks of the options for where sessions are stored: `engine`, `knex`, `cache` and `djangoCache`. */
import type { Engine } from '../contract.js'
import { configProblem, DRIVERS } from '../database/dialects.js'
import type { DjangoCache } from '../engines/django-cache.js'
import { BOOLEAN, type Check, checkSome, isNumberFrom, isObject, isText, refuse } from './check.js'
import type { EngineClass, EngineName, SessionOptions } from './options.js'

const ENGINE_NAMES: readonly unknown[] = ['db', 'cached_db', 'cache', 'file', 'signed_cookies'] satisfies EngineName[]
const ENGINE_METHODS = ['load', 'create', 'save', 'saveLocked', 'touch', 'cycleKey', 'delete', 'exists', 'clearExpired']
const CACHE_METHODS = ['get', 'add', 'replace', 'delete']

export const STORAGE_CHECKS = {
  engine: [
    `${ENGINE_NAMES.map((name) => JSON.stringify(name)).join(', ')}, or an engine as an object or a class`,
    (value) => ENGINE_NAMES.includes(value) || isClass(value) || isObject(value)
  ],
  knex: [
    `a Knex instance or configuration for one of ${DRIVERS.join(', ')}`,
    (value) => (typeof value === 'function' && 'client' in value) || isObject(value)
  ],
  cache: ['a MemoryCache, RedisCache, KeyvCache, or an object with their methods', isObject],
  cacheMaxAge: ['seconds from 1', isNumberFrom(1)],
  djangoCache: ["an object with delete(key), and keyPrefix, version, deleteAgainAfter where they are not Django's defaults", isObject]
} satisfies Record<string, Check>

const ENGINE_CHECKS: Record<'salt' | 'keyIsData', Check> = {
  salt: ['a string that is not empty', isText],
  keyIsData: BOOLEAN
}

const DJANGO_CACHE_CHECKS: Record<Exclude<keyof DjangoCache, 'delete'>, Check> = {
  keyPrefix: ['a string', (value) => typeof value === 'string'],
  version: ['a whole number', Number.isInteger],
  deleteAgainAfter: ['seconds from 0 to 3600', isNumberFrom(0, 3600)]
}

/** The engines that use an option. `knex` and `tableName` are used with every engine, by `app.sessions.model`. */
const USERS = {
  cache: ['cache', 'cached_db'],
  cacheMaxAge: ['cached_db'],
  djangoCache: ['db'],
  filePath: ['file'],
  columns: ['db', 'cached_db']
} satisfies Partial<Record<keyof SessionOptions, EngineName[]>>

/** Whether an engine keeps its sessions in the table. */
export const isInTable = (engine: unknown): boolean => engine === 'db' || engine === 'cached_db'

/** Describes everything that is wrong with these options, alone and together. */
export function storageProblems(options: SessionOptions): string[] {
  const { engine = 'db', knex, cache, djangoCache } = options
  const missing = (name: 'knex' | 'cache') =>
    `${name}: expected ${STORAGE_CHECKS[name][0]}, which the engine ${JSON.stringify(engine)} needs, got nothing`
  return [
    ...methodProblems('cache', cache, CACHE_METHODS),
    ...methodProblems('djangoCache', djangoCache, ['delete']),
    ...checkSome(djangoCache, DJANGO_CACHE_CHECKS, 'djangoCache.'),
    ...engineProblems(engine),
    ...knexProblems(knex),
    ...(knex === undefined && isInTable(engine) ? [missing('knex')] : []),
    ...(cache === undefined && (engine === 'cache' || engine === 'cached_db') ? [missing('cache')] : []),
    ...Object.entries(USERS).flatMap(([name, users]) => uselessProblems(name as keyof typeof USERS, users, options))
  ]
}

/** Refuses an option that the engine does not use: probably another engine was meant. */
function uselessProblems(name: keyof typeof USERS, users: readonly unknown[], { engine = 'db', [name]: value }: SessionOptions): string[] {
  if (value === undefined || users.includes(engine)) return []
  const expected = users.map((user) => JSON.stringify(user)).join(' or ')
  const received = ENGINE_NAMES.includes(engine) ? JSON.stringify(engine) : 'another one'
  return [`${name}: expected the engine ${expected} with it, got ${received}, which does not use it: set engine, or leave out ${name}`]
}

/**
 * Checks an engine that was made from the class in the option `engine`.
 *
 * @throws InvalidOptions with all problems
 */
export function checkMadeEngine(engine: Engine, { salt }: EngineClass): void {
  const problems = engineProblems(engine)
  // The data is signed with the salt of the class.
  if (problems.length === 0 && engine.salt !== salt) {
    problems.push('engine.salt: expected the same as the static salt of the class, which is read before an engine is made')
  }
  refuse(problems)
}

function engineProblems(engine: unknown): string[] {
  return [...methodProblems('engine', engine, ENGINE_METHODS), ...checkSome(engine, ENGINE_CHECKS, 'engine.')]
}

/** Names the methods that an object lacks. */
function methodProblems(name: 'engine' | 'cache' | 'djangoCache', value: unknown, methods: readonly string[]): string[] {
  if (!isObject(value)) return []
  const missing = methods.filter((method) => typeof value[method] !== 'function')
  if (missing.length === 0) return []
  const isClient = name === 'cache' && typeof value.set === 'function'
  const remedy = isClient ? '. To use a client, pass new RedisCache(client) or new KeyvCache(keyv)' : ''
  return [`${name}: expected the methods ${methods.join(', ')}, got an object without ${missing.join(', ')}${remedy}`]
}

/** Problems that Knex itself reports wrongly or not at all. */
function knexProblems(knex: unknown): string[] {
  if (!isObject(knex)) return []
  if (knex.client !== undefined) {
    const problem = configProblem(knex)
    return problem === null ? [] : [`knex.${problem}`]
  }
  const environments = Object.keys(knex).filter((name) => isObject(knex[name]) && 'client' in knex[name])
  if (environments.length === 0) return [`knex: expected ${STORAGE_CHECKS.knex[0]}, got an object that has no client`]
  return [`knex: expected a configuration, got a knexfile that has no client: pass knexfile.${environments.join(' or knexfile.')}`]
}

/** Whether `new` works on a value. It does not on an arrow function, for example. */
function isClass(value: unknown): boolean {
  try {
    Reflect.construct(Object, [], value as NewableFunction)
    return true
  } catch {
    return false
  }
}
