import createKnex from 'knex'
import t from 'tap'
import { MemoryCache } from '../lib/caches/memory.ts'
import type { Engine } from '../lib/contract.ts'
import type { CookieOptions, SessionOptions } from '../lib/settings/options.ts'
import { resolveSettings } from '../lib/settings/settings.ts'

const secretKey = 'the secret key of the tests, as long as Django wants it'
const knex = { client: 'better-sqlite3', connection: { filename: ':memory:' } }
const valid: SessionOptions = { secretKey, knex }

/** The problems with options, a line each; fails when there are none. */
function problemsOf(options: unknown): string[] {
  try {
    resolveSettings(options as SessionOptions)
  } catch (error) {
    t.match(error, { name: 'FastifyError', code: 'FST_SESSION_INVALID_OPTIONS', statusCode: 500 })
    const [title, ...problems] = (error as Error).message.split('\n')
    t.equal(title, 'fastify-django-sessions: invalid options')
    return problems
  }
  throw new Error('the options were accepted')
}

const problemsWith = (options: Record<string, unknown>) => problemsOf({ ...valid, ...options })
const problemsWithCookie = (cookie: Record<string, unknown>) => problemsWith({ cookie })

/** Own properties all the way down that cannot be changed. */
function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) Object.values(Object.freeze(value)).forEach(deepFreeze)
  return value
}

t.test("the defaults are Django's", async (t) => {
  const settings = resolveSettings(valid)
  t.match(settings, {
    secretKey,
    secretKeyFallbacks: [],
    engine: 'db',
    knex,
    tableName: 'django_session',
    columns: undefined,
    serializer: undefined,
    cache: undefined,
    cacheMaxAge: 60,
    djangoCache: undefined,
    filePath: undefined,
    cookie: { name: 'sessionid', path: '/', secure: 'auto', httpOnly: true, sameSite: 'lax', partitioned: false },
    cookieAge: 1_209_600,
    expireAtBrowserClose: false,
    saveEveryRequest: false,
    touchAfter: 0,
    load: 'lazy',
    onConflict: 'merge',
    saveNestedChanges: false,
    storeTimeout: 5,
    maxSize: 1_048_576,
    compressAbove: 1024
  })
  const before = Date.now()
  const now = settings.clock().getTime()
  t.ok(now >= before && now <= Date.now(), "the clock is the system's")
})

t.test('what is given replaces the defaults, undefined does not', async (t) => {
  const clock = () => new Date(0)
  const given = {
    cookieAge: 60,
    expireAtBrowserClose: true,
    load: 'eager',
    onConflict: 'reject',
    clock,
    secretKeyFallbacks: ['a']
  } as const
  t.match(resolveSettings({ ...valid, ...given }), given)
  const cookie = { name: '__Host-id', secure: true, domain: undefined, sameSite: 'strict', priority: 'high' } as const
  t.strictSame(resolveSettings({ ...valid, cookie }).cookie, {
    name: '__Host-id',
    path: '/',
    secure: true,
    httpOnly: true,
    sameSite: 'strict',
    partitioned: false,
    priority: 'high'
  })
  const nothing = Object.fromEntries(Object.keys(resolveSettings(valid)).map((name) => [name, undefined]))
  const { clock: _clock, ...defaults } = resolveSettings(valid)
  t.match(resolveSettings({ ...nothing, ...valid, cookie: { name: undefined, httpOnly: undefined } }), defaults)
})

t.test("the caller's object stays as it was, a deeply frozen one is fine, and the settings are frozen", async (t) => {
  const options = { ...valid, cookie: { name: 'id' }, secretKeyFallbacks: ['former'], knex: structuredClone(knex) }
  const before = structuredClone(options)
  const settings = resolveSettings(deepFreeze(options))
  t.strictSame(options, before)
  t.ok(Object.isFrozen(settings))
  t.ok(Object.isFrozen(settings.cookie))
})

t.test('the secret key must be given', async (t) => {
  t.match(problemsOf({ knex }), [/^- secretKey: expected a string that is not blank, got nothing/])
  t.match(problemsWith({ secretKey: '' }), [/^- secretKey: .* got an empty string$/])
  t.match(problemsWith({ secretKey: null }), [/^- secretKey: .* got null$/])
  t.match(problemsWith({ secretKey: ['a'] }), [/^- secretKey: .* got an array of 1$/])
})

t.test('an engine without its knex or its cache is refused', async (t) => {
  const cache = { get: async () => null, add: async () => true, replace: async () => true, delete: async () => {} }
  t.match(problemsOf({ secretKey }), [/^- knex: expected a Knex instance or configuration .* got nothing$/])
  t.match(problemsOf({ secretKey, engine: 'db' }), [/^- knex: .* the engine "db" needs, got nothing$/])
  t.match(problemsOf({ secretKey, engine: 'cache' }), [/^- cache: .* the engine "cache" needs, got nothing$/])
  t.match(problemsOf({ secretKey, engine: 'cached_db', cache }), [/^- knex: /])
  t.match(problemsOf({ secretKey, engine: 'cached_db', knex }), [/^- cache: /])
  t.match(problemsOf({ secretKey, engine: 'cached_db' }), [/^- knex: /, /^- cache: /])
  const problemsWithCache = (cache: unknown) => problemsWith({ engine: 'cached_db', cache })
  t.strictSame(problemsWithCache({ ...cache, add: undefined }), [
    '- cache: expected the methods get, add, replace, delete, got an object without add'
  ])
  t.strictSame(problemsWithCache({ get() {}, set() {}, del() {}, eval() {} }), [
    '- cache: expected the methods get, add, replace, delete, got an object without add, replace, delete. To use a client, pass new RedisCache(client) or new KeyvCache(keyv)'
  ])
  for (const wrong of ['redis://localhost', MemoryCache, null, []]) {
    t.match(problemsWithCache(wrong), [/^- cache: expected a MemoryCache, RedisCache, KeyvCache, or an object with their methods, got /])
  }
  for (const engine of ['file', 'signed_cookies'] as const) t.equal(resolveSettings({ secretKey, engine }).engine, engine)
})

t.test('an option that the engine does not use is refused: probably another engine was meant', async (t) => {
  const useless = (name: string, expected: string, received: string) => [
    `- ${name}: expected the engine ${expected} with it, got ${received}, which does not use it: set engine, or leave out ${name}`
  ]
  const cache = new MemoryCache()
  const djangoCache = { delete: async () => {} }
  t.strictSame(problemsWith({ cache }), useless('cache', '"cache" or "cached_db"', '"db"'))
  t.strictSame(problemsWith({ engine: 'cache', cache, cacheMaxAge: 5 }), useless('cacheMaxAge', '"cached_db"', '"cache"'))
  t.strictSame(problemsWith({ filePath: '/tmp/sessions' }), useless('filePath', '"file"', '"db"'))
  t.strictSame(problemsWith({ engine: 'file', columns: () => ({}) }), useless('columns', '"db" or "cached_db"', '"file"'))
  t.strictSame(problemsWith({ engine: 'signed_cookies', djangoCache }), useless('djangoCache', '"db"', '"signed_cookies"'))
  t.strictSame(problemsWith({ engine: class Own {}, cache }), useless('cache', '"cache" or "cached_db"', 'another one'))
  t.strictSame(problemsWith({ touchAfter: 60 }), [
    '- touchAfter: expected saveEveryRequest: true or timeouts.idle with it, without which no request renews an unchanged session'
  ])
  for (const options of [{ cache: undefined, filePath: undefined }, { touchAfter: 0 }, { engine: 'file' as const, tableName: 'a' }]) {
    t.match(resolveSettings({ ...valid, ...options }), { knex }, 'a default, and what app.sessions.model uses, may be there')
  }
})

t.test('touchAfter is shorter than a session, which otherwise ends before its first renewal', async (t) => {
  const tooLong = (cookieAge: number) => [`- touchAfter: expected less than cookieAge (${cookieAge} s), got ${cookieAge}`]
  t.strictSame(problemsWith({ saveEveryRequest: true, cookieAge: 600, touchAfter: 600 }), tooLong(600))
  t.strictSame(problemsWith({ saveEveryRequest: true, touchAfter: 1_209_600 }), tooLong(1_209_600))
  t.strictSame(problemsWith({ saveEveryRequest: true, cookieAge: 60, timeouts: { absolute: 60 }, touchAfter: 60 }), tooLong(60))
  t.match(resolveSettings({ ...valid, saveEveryRequest: true, cookieAge: 600, touchAfter: 599 }), { touchAfter: 599 })
})

t.test("Django's cache has the method delete, and its settings the right types", async (t) => {
  const djangoCache = { delete: async () => {} }
  t.equal(resolveSettings({ ...valid, djangoCache }).djangoCache, djangoCache)
  t.strictSame(problemsWith({ djangoCache: { del() {} } }), ['- djangoCache: expected the methods delete, got an object without delete'])
  t.strictSame(problemsWith({ djangoCache: { ...djangoCache, keyPrefix: 1, version: '2', deleteAgainAfter: '3s' } }), [
    '- djangoCache.keyPrefix: expected a string, got 1',
    '- djangoCache.version: expected a whole number, got a string',
    '- djangoCache.deleteAgainAfter: expected seconds from 0 to 3600, got a string'
  ])
})

t.test("an application's own engine has all the methods", async (t) => {
  const method = async () => {}
  const names = ['load', 'create', 'save', 'saveLocked', 'touch', 'cycleKey', 'delete', 'exists', 'clearExpired']
  const engine = Object.fromEntries(names.map((name) => [name, method]))
  t.equal(resolveSettings({ secretKey, engine: engine as unknown as Engine }).engine, engine)
  for (const name of names) {
    t.strictSame(problemsWith({ engine: { ...engine, [name]: undefined } }), [
      `- engine: expected the methods ${names.join(', ')}, got an object without ${name}`
    ])
  }
  t.strictSame(problemsWith({ engine: { ...engine, salt: '', keyIsData: 'yes' } }), [
    '- engine.salt: expected a string that is not empty, got an empty string',
    '- engine.keyIsData: expected true or false, got a string'
  ])
  for (const wrong of [() => engine, async () => engine, null, [engine], 1]) {
    t.match(problemsWith({ engine: wrong }), [/^- engine: expected "db", .*, or an engine as an object or a class, got /])
  }
  t.match(problemsWith({ engine: 'redis' }), [/^- engine: /])
})

t.test('a Knex instance and a configuration are accepted as they are', async (t) => {
  const instance = createKnex({ ...knex, useNullAsDefault: true })
  t.teardown(() => instance.destroy())
  t.equal(resolveSettings({ secretKey, knex: instance }).knex, instance)
  t.equal(resolveSettings(valid).knex, knex)
  for (const wrong of [{}, () => {}, 1, null, true]) t.match(problemsWith({ knex: wrong }), [/^- knex: expected/])
})

t.test('values of the wrong type or out of range are refused, with what was expected and what was received', async (t) => {
  const wrong: [name: string, values: unknown[], expected: RegExp][] = [
    ['secretKeyFallbacks', [[''], [1], {}, null], /an array of strings/],
    ['tableName', ['', 1], /the name of a table/],
    ['columns', [{}, 'x'], /a function/],
    ['serializer', [{}, { dumps: () => '' }, { dumps: () => '', loads: 1 }, () => {}], /an object with the functions dumps and loads/],
    ['cookie', ['sessionid', null, true, []], /an object/],
    ['cookieAge', [0, -1, 1.5, 34_560_001, Number.NaN, Number.POSITIVE_INFINITY, '60', 60n], /whole seconds from 1 to 34560000 \(400 days/],
    ['expireAtBrowserClose', [0, 'false', null], /true or false/],
    ['saveEveryRequest', [1], /true or false/],
    ['touchAfter', [-1, Number.NaN, '1'], /seconds from 0/],
    ['load', ['Lazy', true], /"lazy" or "eager"/],
    ['onConflict', ['ignore', null], /"merge" or "reject" or "overwrite"/],
    ['saveNestedChanges', ['yes'], /true or false/],
    ['cacheMaxAge', [0, -1, Number.POSITIVE_INFINITY, '60'], /seconds from 1/],
    ['storeTimeout', [0, 601, Number.POSITIVE_INFINITY], /seconds from 0.001 to 600/],
    ['maxSize', [0, 2 ** 30 + 1, '1 MB'], /bytes from 1/],
    ['compressAbove', [-1, Number.NaN], /bytes from 0/],
    ['clock', [new Date(), Date.now()], /a function/]
  ]
  const users: Record<string, object> = {
    touchAfter: { saveEveryRequest: true },
    cacheMaxAge: { engine: 'cached_db', cache: new MemoryCache() }
  }
  for (const [name, values, expected] of wrong) {
    for (const value of values) {
      const problems = problemsWith({ ...users[name], [name]: value })
      t.equal(problems.length, 1)
      t.match(problems[0], new RegExp(`^- ${name}: expected .*${expected.source}.*, got .+$`), `${name}: ${String(value)}`)
    }
  }
  t.match(problemsWith({ load: 'Lazy' }), [/, got "Lazy"$/])
  t.match(problemsWith({ cookieAge: 0 }), [/, got 0$/])
  t.match(problemsWith({ cookieAge: null }), [/, got null$/])
  t.match(problemsWith({ clock: new Date() }), [/, got an instance of Date$/])
  for (const cookieAge of [1, 34_560_000]) t.equal(resolveSettings({ ...valid, cookieAge }).cookieAge, cookieAge)
})

t.test('attributes of the cookie that are wrong are refused', async (t) => {
  const wrong: [name: keyof CookieOptions, values: unknown[]][] = [
    ['name', ['', 'a b', 'a;b', 'a=b', 'a,b', 'é', 'a"b', 'a\n', '[a]', 1]],
    ['domain', ['', 'a b', 'example.com; Secure', 'http://example.com', 1]],
    ['path', ['', 'x', '/a;b', '/é', '/\n', 1]],
    ['secure', ['yes', 1, null]],
    ['httpOnly', ['true', 1]],
    ['sameSite', ['Lax', true, null]],
    ['partitioned', ['true']],
    ['priority', ['High', true]]
  ]
  for (const [name, values] of wrong) {
    for (const value of values) {
      const problems = problemsWithCookie({ [name]: value })
      t.equal(problems.length, 1)
      t.match(problems[0], new RegExp(`^- cookie\\.${name}: expected .+, got .+$`), `${name}: ${String(value)}`)
    }
  }
  const fine = { name: "!#$%&'*+-.^_`|~aZ0", domain: '.example.com', path: '/a b/%20', secure: false, sameSite: false } as const
  t.match(resolveSettings({ ...valid, cookie: fine }).cookie, fine)
})

t.test('an unknown option is refused, with a suggestion', async (t) => {
  const suggestions: [given: string, suggested: string][] = [
    ['cookieage', 'cookieAge'],
    ['COOKIE_AGE', 'cookieAge'],
    ['maxAge', 'cookieAge'],
    ['ttl', 'cookieAge'],
    ['secret', 'secretKey'],
    ['SECRET_KEY', 'secretKey'],
    ['SECRET_KEY_FALLBACKS', 'secretKeyFallbacks'],
    ['store', 'knex, or engine'],
    ['SESSION_ENGINE', 'engine'],
    ['SESSION_SERIALIZER', 'serializer'],
    ['SESSION_SAVE_EVERY_REQUEST', 'saveEveryRequest'],
    ['SESSION_EXPIRE_AT_BROWSER_CLOSE', 'expireAtBrowserClose'],
    ['rolling', 'saveEveryRequest'],
    ['cookieName', 'cookie.name'],
    ['SESSION_COOKIE_AGE', 'cookieAge'],
    ['SESSION_COOKIE_NAME', 'cookie.name'],
    ['SESSION_COOKIE_HTTPONLY', 'cookie.httpOnly'],
    ['sameSite', 'cookie.sameSite']
  ]
  for (const [given, suggested] of suggestions) {
    t.strictSame(problemsWith({ [given]: 1 }), [`- ${given}: unknown option, did you mean ${suggested}?`])
  }
  t.strictSame(problemsWith({ resave: false }), ['- resave: unknown option, and not needed: a session that did not change is never saved'])
  t.strictSame(problemsWith({ saveUninitialized: false }), [
    '- saveUninitialized: unknown option, and not needed: an empty session is never stored, and no cookie is sent for it'
  ])
  t.strictSame(problemsWithCookie({ samesite: 'lax' }), ['- cookie.samesite: unknown option, did you mean cookie.sameSite?'])
  t.strictSame(problemsWithCookie({ maxAge: 1 }), ['- cookie.maxAge: unknown option, did you mean cookieAge?'])
  t.match(problemsWith({ nonsense: 1 }), [/^- nonsense: unknown option; there are secretKey, .*, clock$/])
  t.match(problemsWithCookie({ nonsense: 1 }), [/^- cookie\.nonsense: unknown option; there are name, .*, priority$/])
  t.match(problemsOf(JSON.parse('{"secretKey":"s","knex":{"client":"pg","connection":{}},"__proto__":{"load":"eager"}}')), [
    /^- __proto__: unknown option/
  ])
  t.match(problemsWith({ constructor: 1 }), [/^- constructor: unknown option; there are/])
  t.match(problemsWith({ nonsense: undefined }), [/^- nonsense: unknown option/], 'even without a value')
})

t.test('all problems come in one error', async (t) => {
  const problems = problemsOf({ cookieAge: 0, load: 'never', secert: 1, cookie: { name: '', maxage: 1, sameSite: 'Lax' } })
  t.strictSame(problems.map((problem) => problem.split(':')[0]).sort(), [
    '- cookie.maxage',
    '- cookie.name',
    '- cookie.sameSite',
    '- cookieAge',
    '- knex',
    '- load',
    '- secert',
    '- secretKey'
  ])
  t.strictSame(problemsWith({ cookieAge: 0, cookie: { sameSite: 'none' } }).length, 2, 'what does not go together too')
  t.strictSame(problemsWithCookie({ name: '__Host-id', domain: 'example.com', path: '/x', sameSite: 'none', partitioned: true }), [
    '- cookie.name "__Host-id" needs cookie.secure: true',
    '- cookie.name "__Host-id" needs no cookie.domain',
    '- cookie.name "__Host-id" needs cookie.path: \'/\'',
    "- cookie.sameSite: 'none' needs cookie.secure: true",
    '- cookie.partitioned: true needs cookie.secure: true'
  ])
})

t.test('options that are not an object, or are empty, are refused', async (t) => {
  for (const options of [undefined, null, 1, true]) t.match(problemsOf(options), [/^- expected an object with options, got /])
  t.equal(problemsOf({}).length, 2)
})

t.test("prefixes of the cookie's name are checked by the rules of browsers, in any case", async (t) => {
  const secure = { secure: true }
  const rows: [cookie: CookieOptions, missing: string[]][] = [
    [{ name: '__Secure-id' }, ['cookie.secure: true']],
    [{ name: '__secure-id', secure: false }, ['cookie.secure: true']],
    [{ name: '__Secure-id', secure: true, domain: 'example.com', path: '/x', httpOnly: false }, []],
    [{ name: '__Host-id' }, ['cookie.secure: true']],
    [{ name: '__HOST-id', secure: 'auto' }, ['cookie.secure: true']],
    [{ name: '__Host-id', ...secure, domain: 'example.com' }, ['no cookie.domain']],
    [{ name: '__Host-id', ...secure, path: '/x' }, ["cookie.path: '/'"]],
    [{ name: '__Host-id', ...secure, httpOnly: false }, []],
    [{ name: '__Http-id' }, ['cookie.secure: true']],
    [{ name: '__http-id', ...secure, httpOnly: false }, ['cookie.httpOnly: true']],
    [{ name: '__Http-id', ...secure, domain: 'example.com', path: '/x' }, []],
    [{ name: '__Host-Http-id', ...secure, httpOnly: false, path: '/x' }, ["cookie.path: '/'", 'cookie.httpOnly: true']],
    [{ name: '__Host-Http-id', ...secure }, []],
    [{ name: '__Hostid' }, []],
    [{ name: 'x__Host-id' }, []]
  ]
  for (const [cookie, missing] of rows) {
    const expected = missing.map((what) => `- cookie.name ${JSON.stringify(cookie.name)} needs ${what}`)
    if (expected.length > 0) t.strictSame(problemsWithCookie({ ...cookie }), expected)
    else t.equal(resolveSettings({ ...valid, cookie }).cookie.name, cookie.name)
  }
})

t.test("SameSite=None and Partitioned need secure: true, for which 'auto' does not count", async (t) => {
  for (const secure of [undefined, 'auto', false]) {
    t.strictSame(problemsWithCookie({ sameSite: 'none', secure }), ["- cookie.sameSite: 'none' needs cookie.secure: true"])
    t.strictSame(problemsWithCookie({ partitioned: true, secure }), ['- cookie.partitioned: true needs cookie.secure: true'])
  }
  t.match(resolveSettings({ ...valid, cookie: { sameSite: 'none', partitioned: true, secure: true } }).cookie, { sameSite: 'none' })
})

t.test('no message holds a secret', async (t) => {
  const secret = 'hunter2'
  const messages = [
    problemsWith({ secretKey: secret, cookieAge: 0 }),
    problemsWith({ secretKey: [secret] }),
    problemsWith({ secretKey: { secret } }),
    problemsWith({ secretKeyFallbacks: [secret, ''] }),
    problemsWith({ secretKeyFallbacks: { secret } }),
    problemsWith({ secret }),
    problemsWith({ secretKeyFallbacks: secret }),
    problemsWith({ knex: `postgres://user:${secret}@host/database` }),
    problemsWith({ engine: 'cache', cache: `redis://:${secret}@host` }),
    problemsWith({ engine: `redis://:${secret}@host`, djangoCache: { delete() {} } }),
    problemsOf(secret),
    problemsOf([secret]),
    problemsWith({ SECRET_KEY: secret }),
    problemsWith({ knex: { connection: `postgres://user:${secret}@host/database` } }),
    problemsWith({ knex: { client: 'pg', connection: secret }, load: 'never' })
  ]
  for (const problems of messages) t.notMatch(problems.join('\n'), /hunter2/)
})

t.test('a clock is asked for the time once', async (t) => {
  const refused = (received: string) => [`- clock: expected a function that returns the time as a Date, got one that returns ${received}`]
  t.strictSame(problemsWith({ clock: Date.now }), refused('a number'))
  t.strictSame(problemsWith({ clock: () => new Date('soon') }), refused('an invalid one'))
  t.strictSame(problemsWith({ clock: async () => new Date() }), refused('an instance of Promise'))
})

t.test('timeouts that are wrong, alone or beside other options, are refused', async (t) => {
  const shape = 'timeouts: expected an object with idle or absolute or both, or one of nist-aal1, nist-aal2, nist-aal3, got'
  t.strictSame(problemsWith({ timeouts: 'nist-aal4' }), [`- ${shape} "nist-aal4"`])
  t.strictSame(problemsWith({ timeouts: 3600 }), [`- ${shape} 3600`])
  t.strictSame(problemsWith({ timeouts: {} }), [`- ${shape} a plain object`])
  const limit = 'expected seconds from 1 to 34560000 (400 days), or a string such as "90s", "30m", "1h" or "1d", got'
  t.strictSame(problemsWith({ timeouts: { idle: 0, absolute: '1 week' } }), [
    `- timeouts.idle: ${limit} 0`,
    `- timeouts.absolute: ${limit} "1 week"`
  ])
  t.strictSame(problemsWith({ timeouts: { absolute: '401d' } }), [`- timeouts.absolute: ${limit} "401d"`])
  t.strictSame(problemsWith({ timeouts: { Idle: 60 } }), ['- timeouts.Idle: unknown option, did you mean timeouts.idle?'])
  t.strictSame(problemsWith({ timeouts: { idle: '2h', absolute: '1h' } }), [
    '- timeouts.idle: expected no more than timeouts.absolute (3600 s), got 7200 s'
  ])
  t.strictSame(problemsWith({ timeouts: 'nist-aal3', cookieAge: 60, saveEveryRequest: false, touchAfter: 900 }), [
    '- cookieAge: expected nothing beside timeouts.idle, which takes its place',
    '- saveEveryRequest: expected true or nothing beside timeouts.idle, got false',
    '- touchAfter: expected less than timeouts.idle (900 s), got 900'
  ])
  t.match(resolveSettings({ ...valid, timeouts: 'nist-aal1', cookieAge: 60 }), { cookieAge: 60, timeouts: { absolute: 2_592_000 } })
  t.match(resolveSettings({ ...valid, timeouts: { idle: '30m' }, touchAfter: 60 }), { cookieAge: 1800, touchAfter: 60 })
})
