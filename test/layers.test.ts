import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'

const lib = new URL('../lib/', import.meta.url)

/**
 * What each module may import of the others, types included: plugin → session → engine
 * contract; engines → codec, model; model → dialect. A module that is not here has to
 * find its place first; `engines/*` stands for all engines, `cli/checks/*` for all checks.
 */
const IMPORTS: Record<string, readonly string[]> = {
  // the entries
  index: ['public', 'session/compat'],
  public: [
    'cache',
    'database/columns',
    'engines/*',
    'engines/engine',
    'errors',
    'keyv-cache',
    'http/plugin',
    'model',
    'redis-cache',
    'schedule',
    'serializer',
    'session',
    'session/compat',
    'session-key',
    'sessions',
    'settings',
    'signing'
  ],
  cli: ['cli/main'],
  migrations: [],
  testing: ['auth/index', 'engines/engine', 'session', 'session/compat', 'sessions'],

  // the command line
  'cli/main': [
    'cli/arguments',
    'cli/check',
    'cli/clearsessions',
    'cli/command',
    'cli/database',
    'cli/errors',
    'cli/help',
    'cli/io',
    'cli/migrate',
    'cli/show',
    'cli/text'
  ],
  'cli/migrate': ['cli/arguments', 'cli/command', 'cli/io', 'cli/store', 'database/inspection', 'migrations'],
  'cli/clearsessions': ['cli/arguments', 'cli/command', 'cli/io', 'cli/progress', 'cli/store', 'cli/text', 'engines/engine', 'sessions'],
  'cli/progress': ['cli/io', 'cli/text', 'engines/engine'],
  'cli/show': [
    'cli/command',
    'cli/errors',
    'cli/io',
    'cli/json-text',
    'cli/secret',
    'cli/store',
    'cli/text',
    'expiry',
    'json',
    'model',
    'session-key'
  ],
  'cli/json-text': ['django/json-reader'],
  'cli/check': [
    'cli/arguments',
    'cli/checks/*',
    'cli/command',
    'cli/errors',
    'cli/io',
    'cli/secret',
    'cli/store',
    'cli/text',
    'database/inspection'
  ],
  'cli/checks/*': ['cli/checks/*', 'cli/secret', 'cli/store', 'cli/text', 'database/inspection', 'expiry', 'settings/secret-key'],
  'cli/store': ['cli/command', 'cli/io', 'cli/secret', 'codec', 'database', 'errors', 'model', 'serializer', 'sessions', 'settings'],
  'cli/secret': ['cli/arguments', 'cli/errors'],
  'cli/database': ['cli/arguments', 'cli/errors', 'database/open', 'dialect'],
  'cli/help': ['cli/arguments', 'cli/command', 'cli/io', 'cli/text'],
  'cli/arguments': ['cli/command', 'cli/errors', 'cli/text'],
  'cli/command': ['cli/arguments', 'cli/io'],
  'cli/errors': ['errors'],
  'cli/io': ['cli/text'],
  'cli/text': [],

  // HTTP
  'auth/index': ['auth/create-auth', 'auth/login-required', 'auth/safe-next', 'auth/users', 'django/passwords'],
  'auth/create-auth': ['auth/login-required', 'auth/users', 'django/crypto', 'errors', 'session/compat'],
  'auth/login-required': ['auth/safe-next', 'errors', 'http/plugin'],
  'auth/safe-next': [],
  'auth/users': ['http/plugin', 'session/compat', 'sessions'],
  'http/plugin': [
    'cookies',
    'errors',
    'http/head',
    'http/reply',
    'http/set-cookie',
    'schedule',
    'session/compat',
    'sessions',
    'settings',
    'settings/secret-key'
  ],
  'http/reply': [
    'errors',
    'http/commit',
    'http/head',
    'http/headers',
    'http/set-cookie',
    'operations',
    'session/compat',
    'settings',
    'timers'
  ],
  'http/head': ['http/headers', 'http/set-cookie'],
  'http/set-cookie': ['cookies', 'http/commit', 'http/headers', 'session', 'settings'],
  'http/commit': ['session', 'settings'],
  'http/headers': [],
  cookies: [],

  // the modules that put the parts together
  sessions: [
    'codec',
    'cookies',
    'database',
    'database/open',
    'database/verification',
    'dialect',
    'engines/engine',
    'engines/index',
    'errors',
    'key-queue',
    'model',
    'saving',
    'serializer',
    'session/compat',
    'session-key',
    'settings',
    'signing',
    'within'
  ],
  'engines/index': ['cache', 'codec', 'engines/*', 'engines/engine', 'model', 'settings'],

  // the session
  'session/compat': ['session'],
  session: ['changes', 'engines/engine', 'errors', 'expiry', 'operations', 'saving', 'serializer', 'session-key'],
  saving: ['changes', 'codec', 'engines/engine', 'errors', 'expiry', 'key-queue', 'serializer', 'settings'],
  'settings/secret-key': [],
  settings: [
    'cache',
    'database/columns',
    'dialect',
    'engines/*',
    'engines/engine',
    'errors',
    'expiry',
    'schedule',
    'serializer',
    'settings/secret-key'
  ],
  schedule: ['engines/engine', 'timers'],
  changes: ['serializer'],
  expiry: [],
  'key-queue': ['errors', 'within'],
  within: ['timers'],
  timers: [],
  operations: [],

  // where sessions live
  'engines/engine': [],
  'engines/*': [
    'cache',
    'cleanup',
    'codec',
    'database/columns',
    'database/statement-error',
    'engines/*',
    'engines/engine',
    'errors',
    'expiry',
    'model',
    'serializer',
    'session-key',
    'timers',
    'within'
  ],
  cleanup: ['engines/engine', 'model', 'timers'],
  'session-key': [],
  cache: [],
  'keyv-cache': ['cache', 'errors'],
  'redis-cache': ['cache', 'errors'],

  // data to text
  codec: ['errors', 'serializer', 'signing'],
  serializer: ['django/json-writer', 'json'],
  signing: ['django/crypto', 'django/json-writer', 'errors', 'json'],
  json: ['django/json-reader', 'django/json-writer'],
  'django/json-reader': [],
  'django/json-writer': [],

  // ports of Django that know no session
  'django/passwords': ['django/hashers', 'errors'],
  'django/hashers': ['django/crypto', 'errors'],
  'django/crypto': [],

  // the table
  model: [
    'batches',
    'codec',
    'database',
    'database/columns',
    'database/statement-error',
    'dialect',
    'engines/engine',
    'serializer',
    'timers'
  ],
  batches: ['batcher', 'database', 'database/statement-error', 'dialect', 'engines/engine'],
  database: [
    'batcher',
    'database/driver-errors',
    'database/pool',
    'database/statement-error',
    'dialect',
    'errors',
    'semaphore',
    'timers',
    'within'
  ],
  'database/statement-error': ['database/driver-errors', 'errors'],
  'database/columns': ['dialect'],
  'database/pool': [],
  batcher: ['timers'],
  'database/open': [],
  'database/inspection': ['database', 'dialect'],
  'database/verification': ['database', 'database/inspection', 'errors'],
  semaphore: [],
  dialect: ['database/driver-errors'],
  'database/driver-errors': [],

  errors: []
}

/** The packages that some modules only may import; Node's own are for all. */
const PACKAGES: Record<string, readonly string[]> = {
  '@fastify/cookie': ['http/set-cookie'],
  '@fastify/error': ['errors'],
  '@node-rs/argon2': ['django/hashers'],
  bcryptjs: ['django/hashers'],
  croner: ['schedule'],
  fastify: ['auth/create-auth', 'auth/login-required', 'auth/users', 'http/head', 'http/plugin', 'http/reply', 'http/set-cookie'],
  'fastify-plugin': ['http/plugin'],
  'cli-progress': ['cli/progress'],
  knex: [
    'cli/command',
    'cli/database',
    'cli/migrate',
    'database',
    'database/open',
    'database/pool',
    'dialect',
    'migrations',
    'model',
    'sessions',
    'settings'
  ]
}

interface Module {
  name: string
  /** Without comments, which may speak of anything. */
  code: string
  /** What it imports: names of modules as above, and packages. */
  imports: string[]
  /** The same without what it imports for types only. */
  runtimeImports: string[]
}

function readModule(file: string): Module {
  const url = new URL(file, lib)
  const code = readFileSync(url, 'utf8')
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/(?<=^|[\s;])\/\/.*$/gm, '')
  const resolve = (source: string) =>
    source.startsWith('.') ? new URL(source, url).href.replace(lib.href, '').replace(/\.js$/, '') : source
  const statements = Array.from(code.matchAll(/^(?:import|export) (type )?(?:[^'"`;]*? from )?'([^']+)'/gm))
  const dynamic = Array.from(code.matchAll(/\bimport\('([^']+)'\)/g), ([, source]) => resolve(source as string))
  const sources = (found: RegExpExecArray[]) => found.map(([, , source]) => resolve(source as string))
  return {
    name: file.replace(/\.ts$/, ''),
    code,
    imports: [...sources(statements), ...dynamic],
    runtimeImports: [...sources(statements.filter(([, type]) => type === undefined)), ...dynamic]
  }
}

const modules = (readdirSync(lib, { recursive: true }) as string[]).filter((file) => /(?<!\.d)\.ts$/.test(file)).map(readModule)

const isOwn = (source: string) => modules.some(({ name }) => name === source)
const rowOf = (name: string) => (Object.hasOwn(IMPORTS, name) ? name : name.replace(/^(engines|cli\/checks)\/.*/, '$1/*'))
const isMigration = (source: string) => source.includes('/migrations/')
const modulesWith = (pattern: RegExp, but: string[] = []) =>
  modules
    .filter(({ name, code }) => !but.includes(name) && pattern.test(code))
    .map(({ name }) => name)
    .sort()

t.test('every module is in the table, and imports nothing else', async (t) => {
  for (const { name, imports } of modules) {
    const allowed = IMPORTS[rowOf(name)]
    const refused = imports.filter((source) => isOwn(source) && !allowed?.includes(rowOf(source)))
    t.ok(allowed !== undefined, `${name} is in the table`)
    t.strictSame(refused, [], name)
  }
  t.strictSame(
    modules.find(({ name }) => name === 'codec')?.imports.filter(isOwn),
    ['errors', 'serializer', 'signing'],
    'imports are found'
  )
})

t.test('imports point one way: but for types there are no cycles', async (t) => {
  const runtime = new Map(modules.map(({ name, runtimeImports }) => [name, runtimeImports.filter(isOwn)]))
  const reach = (name: string, seen = new Set<string>()): Set<string> => {
    for (const next of runtime.get(name) ?? []) if (!seen.has(next)) reach(next, seen.add(next))
    return seen
  }
  for (const { name } of modules) t.notOk(reach(name).has(name), name)
  t.ok(reach('index').has('json'), 'the way down is found')
  const below = (name: string, others: string[]) => others.filter((other) => reach(name).has(other))
  const engines = modules.map(({ name }) => name).filter((name) => rowOf(name) === 'engines/*')
  t.strictSame(
    below('session', ['http/plugin', 'sessions', 'model', 'database', 'engines/index', ...engines]),
    [],
    'a session knows the contract only'
  )
  for (const engine of engines)
    t.strictSame(below(engine, ['http/plugin', 'sessions', 'session', 'settings']), [], `${engine} knows no session`)
  t.strictSame(below('model', ['session', 'settings', 'cleanup', ...engines]), [], 'a model knows no engine')
})

t.test('packages are imported where they belong', async (t) => {
  for (const { name, imports } of modules) {
    const foreign = imports.filter((source) => !isOwn(source) && !isMigration(source) && !source.startsWith('node:'))
    for (const source of foreign) t.ok(PACKAGES[source]?.includes(name), `${name} imports ${source}`)
  }
})

t.test('only the HTTP layer and the helpers for signing in know Fastify; the main entry types it', async (t) => {
  const found = modulesWith(/\bFastify[A-Z](?!rror)|'fastify'/, ['index'])
  t.strictSame(
    found.filter((name) => !/^(?:auth|http)\//.test(name)),
    []
  )
})

t.test(
  'only the model, its batches, the dialects and what inspects a table hold SQL; only a transaction is begun and ended elsewhere',
  async (t) => {
    t.strictSame(modulesWith(/['"`](?:SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE TABLE) /, ['batches']), [
      'database/inspection',
      'dialect',
      'model'
    ])
    t.strictSame(modulesWith(/\b(?:COMMIT|ROLLBACK)\b/), ['database'])
  }
)

/** Modules that open a database by its URL or inspect its table, and the options for both. */
const COMMAND_LINE = ['cli/arguments', 'cli/database', 'cli/errors', 'database/inspection']

t.test('only the dialects, and the command line, name databases', async (t) => {
  t.strictSame(modulesWith(/postgres|sqlite|mysql|mariadb|'pg'/i, COMMAND_LINE), ['database/driver-errors', 'dialect'])
})

t.test("the system's clock is read as the default of an option only", async (t) => {
  const readings = modules.flatMap(({ name, code }) =>
    code
      .split('\n')
      .filter((line) => /new Date\(\)|\bDate\.now\b|\bDate\(\)/.test(line))
      .map((line) => `${name}: ${line.trim()}`)
  )
  t.not(readings.length, 0)
  for (const reading of readings) t.match(reading, /\bclock(?::| =) \(\) => new Date\(\)/, reading)
})

t.test('fake timers of test runners reach nothing: timers come from the module that takes them at the start', async (t) => {
  t.strictSame(modulesWith(/'node:timers|\bperformance\.now\b/, ['timers']), [])
  for (const { name, code, imports } of modules) {
    if (/(?<![.\w])(?:set|clear)(?:Timeout|Interval|Immediate)\(/.test(code)) t.ok(imports.includes('timers'), name)
  }
})
