/** The session object, on real rows. */
import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import t, { type Test } from 'tap'
import { STORE_SALT } from '../lib/django/codec.ts'
import { TimestampSigner } from '../lib/django/signing.ts'
import type { Session, SessionOptions } from '../lib/index.ts'
import { Browser, createApp, secretKey } from './fixtures/app.ts'
import { openDatabase, recordQueries } from './fixtures/databases.ts'
import { createCodec } from './fixtures/engines.ts'

async function createStore(t: Test, options: Partial<SessionOptions> = {}) {
  const knex = await openDatabase(t, 'sqlite')
  const { app, logs } = await createApp(t, { knex, ...options })
  const { sessions } = app
  /** A session with these data, loaded anew. */
  const stored = async (data: Record<string, unknown>) => {
    const session = sessions.open()
    session.update(data)
    await session.save()
    return sessions.open(session.sessionKey).load()
  }
  const reload = (session: { sessionKey: string | null }) => sessions.open(session.sessionKey).load()
  return { sessions, knex, logs, stored, reload }
}

t.test('a read before load() throws, with a key or without; a write does not', async (t) => {
  const { sessions, stored } = await createStore(t)
  for (const session of [sessions.open(), sessions.open((await stored({ a: 1 })).sessionKey)]) {
    const reads = {
      get: () => session.get('a'),
      has: () => session.has('a'),
      keys: () => session.keys(),
      values: () => session.values(),
      entries: () => session.entries(),
      size: () => session.size,
      toObject: () => session.toObject(),
      pop: () => session.pop('a'),
      setDefault: () => session.setDefault('a', 1),
      testCookieWorked: () => session.testCookieWorked(),
      getExpiryAge: () => session.getExpiryAge(),
      getExpiryDate: () => session.getExpiryDate(),
      getExpireAtBrowserClose: () => session.getExpireAtBrowserClose()
    }
    for (const [name, read] of Object.entries(reads)) t.throws(read, { code: 'FST_SESSION_NOT_LOADED', message: new RegExp(name) })
    t.throws(() => [...session], { code: 'FST_SESSION_NOT_LOADED' })
    t.equal(session.isLoaded, false)
    session.set('b', 2).delete('a').setExpiry(10).setTestCookie().deleteTestCookie().update({ c: 3 })
    await session.load()
    t.equal(session.isLoaded, true)
    t.strictSame(session.toObject(), { b: 2, _session_expiry: 10, c: 3 })
  }
})

t.test('load() is done once, by callers that share it, and a failure is not remembered', async (t) => {
  const { sessions, stored, knex } = await createStore(t)
  const { sessionKey } = await stored({ a: 1 })
  const queries = recordQueries(knex)
  const session = sessions.open(sessionKey)
  const [first, second] = await Promise.all([session.load(), session.load()])
  t.equal(first, second)
  await session.load()
  t.equal(queries.length, 1)

  await knex.schema.renameTable('django_session', 'elsewhere')
  const other = sessions.open(sessionKey)
  await t.rejects(other.load(), { code: 'FST_SESSION_STORE_REFUSED' })
  await knex.schema.renameTable('elsewhere', 'django_session')
  t.equal((await other.load()).get('a'), 1)
})

t.test('reads', async (t) => {
  const { stored } = await createStore(t)
  const session = await stored({ a: 1, b: null, c: [1, { d: 2 }] })
  t.equal(session.get('a'), 1)
  t.equal(session.get('b', 'fallback'), null)
  t.equal(session.get('x'), undefined)
  t.equal(session.get('x', 'fallback'), 'fallback')
  t.equal(session.has('b'), true)
  t.equal(session.has('x'), false)
  t.equal(session.size, 3)
  t.strictSame(session.keys(), ['a', 'b', 'c'])
  t.strictSame(session.values(), [1, null, [1, { d: 2 }]])
  t.strictSame(session.entries(), [...session])
  t.equal(session.modified, false)
  const copy = session.toObject()
  ;(copy.c as unknown[]).push('more')
  t.strictSame(session.get('c'), [1, { d: 2 }])
})

t.test('writes', async (t) => {
  const { stored, reload } = await createStore(t)
  const session = await stored({ a: 1, b: 2, c: 3, list: [1] })
  session.set('a', 'one').delete('b').update({ d: 4 })
  t.equal(session.pop('c'), 3)
  t.equal(session.pop('c', 'gone'), 'gone')
  t.equal(session.setDefault('a', 'other'), 'one')
  t.equal(session.setDefault('e', 5), 5)
  t.equal(session.setDefault('nothing', undefined), undefined)
  t.equal(session.has('nothing'), false)
  session.set('list', (list: number[] = []) => [...list, 2])
  session.set('a', undefined)
  t.strictSame(session.toObject(), { list: [1, 2], d: 4, e: 5 })
  await session.save()
  t.strictSame((await reload(session)).toObject(), { list: [1, 2], d: 4, e: 5 })
  session.clear()
  t.equal(session.size, 0)
  await session.save()
  t.strictSame((await reload(session)).toObject(), {})
})

t.test('accessed and modified follow Django', async (t) => {
  const { sessions, stored } = await createStore(t)
  const session = await stored({ a: 1 })
  const touched = (use: () => unknown) => {
    session.accessed = false
    session.modified = false
    use()
    return [session.accessed, session.modified]
  }
  t.strictSame(
    touched(() => session.get('a')),
    [true, false]
  )
  t.strictSame(
    touched(() => session.pop('x')),
    [true, false]
  )
  t.strictSame(
    touched(() => session.delete('x')),
    [true, false]
  )
  t.strictSame(
    touched(() => session.setDefault('a', 2)),
    [true, false]
  )
  t.strictSame(
    touched(() => session.setDefault('b', 2)),
    [true, true]
  )
  t.strictSame(
    touched(() => session.set('a', 1)),
    [true, true]
  )
  t.strictSame(
    touched(() => session.update({ a: 1 })),
    [true, true]
  )
  t.strictSame(
    touched(() => session.clear()),
    [true, true]
  )
  t.strictSame(
    touched(() => [session.sessionKey, session.isEmpty, session.isLoaded]),
    [false, false]
  )
  const fresh = sessions.open()
  t.strictSame([fresh.accessed, fresh.modified, fresh.isEmpty, fresh.sessionKey], [false, false, true, null])
})

t.test('isEmpty: no key and no data', async (t) => {
  const { sessions, stored } = await createStore(t)
  t.equal(sessions.open('short').isEmpty, true)
  t.equal(sessions.open('plausible').isEmpty, false)
  t.equal((await sessions.open('plausible').load()).isEmpty, true)
  t.equal(sessions.open().set('a', 1).isEmpty, false)
  t.equal(sessions.open().set('a', 1).delete('a').isEmpty, true)
  t.equal((await stored({})).isEmpty, false)
})

t.test('any text is a key, in its order, and no key is a method or a prototype', async (t) => {
  const { stored, reload, sessions } = await createStore(t)
  const methods = Object.getOwnPropertyNames(Object.getPrototypeOf(sessions.open()))
  const names = [
    ...methods,
    '__proto__',
    'constructor',
    'prototype',
    'hasOwnProperty',
    '',
    '10',
    '9',
    'toString',
    'then',
    'ключ',
    '\u0000',
    '"\\'
  ]
  const session = await stored({})
  for (const name of names) session.set(name, `value of ${name}`)
  await session.save()
  const again = await reload(session)
  t.strictSame(again.keys(), [...new Set(names)])
  for (const name of names) t.equal(again.get(name), `value of ${name}`)
  again.set('__proto__', { polluted: true })
  await again.save()
  t.strictSame((await reload(again)).get('__proto__'), { polluted: true })
  t.notOk('polluted' in {})
})

t.test('assigning an unknown property throws and says what to do, in sloppy code too', async (t) => {
  const { sessions } = await createStore(t)
  const session = sessions.open()
  const sloppy = new Function('session', 'session.user = 1')
  t.throws(() => sloppy(session), { name: 'TypeError', message: /session\.set\("user", value\)/ })
  t.equal((session as unknown as Record<string, unknown>).user, undefined)
})

t.test('values that cannot be stored throw a TypeError that names the key, at once', async (t) => {
  const { sessions } = await createStore(t)
  const cycle: Record<string, unknown> = {}
  cycle.self = cycle
  const wrong = { function: { f: () => 1 }, symbol: Symbol('s'), 'symbol inside': [Symbol('s')], cycle, promise: Promise.resolve(1) }
  for (const [what, value] of Object.entries(wrong)) {
    const session = sessions.open()
    t.throws(() => session.set('the key', value), { name: 'TypeError', message: /"the key"/ }, what)
    t.equal(session.modified, false)
  }
  const loaded = await sessions.open().load()
  t.throws(() => loaded.set('the key', async () => 1), { name: 'TypeError', message: /"the key"/ }, 'an asynchronous function')
})

for (const saveNestedChanges of [false, true]) {
  t.test(`each way of writing refuses a Map by name and saves nothing, with saveNestedChanges: ${saveNestedChanges}`, async (t) => {
    const knex = await openDatabase(t, 'sqlite')
    const map = new Map([['a', 1]])
    const ways: Record<string, (session: Session) => unknown> = {
      set: (session) => session.set('cart', map),
      update: (session) => session.update({ fine: 1, cart: { items: [map] } }),
      'set before load()': (session) => session.set('cart', map),
      setDefault: (session) => session.setDefault('cart', [map]),
      function: (session) => session.set('cart', () => ({ map })),
      'nested, modified': (session) => {
        const list = session.get('list') as unknown[]
        list.push(map)
        session.modified = true
      },
      'nested, and save()': (session) => {
        const list = session.get('list') as unknown[]
        list.push(map)
        session.modified = true
        return session.save()
      },
      ...(saveNestedChanges && { nested: (session: Session) => (session.get('list') as unknown[]).push(map) })
    }
    const { app } = await createApp(t, { knex, saveNestedChanges }, (app) => {
      app.get('/start', async (request) => request.session.set('list', [1]).isEmpty)
      app.get('/read', async (request) => (await request.session.load()).toObject())
      app.get<{ Querystring: { way: string } }>('/write', async (request) => {
        const { way } = request.query
        if (way !== 'set before load()') await request.session.load()
        await ways[way]?.(request.session)
        return 'written'
      })
      app.get('/function-before-load', async (request) => request.session.set('cart', () => map).isEmpty)
    })
    const visitor = new Browser(app)
    await visitor.get('/start')
    for (const url of [...Object.keys(ways).map((way) => `/write?way=${encodeURIComponent(way)}`), '/function-before-load']) {
      const response = await visitor.get(url)
      t.equal(response.statusCode, 500, url)
      t.match(response.json().message, /^Cannot store "(cart|list)" in the session: an instance of Map, whose content/, url)
      t.equal(response.headers['set-cookie'], undefined)
      t.strictSame((await visitor.get('/read')).json(), { list: [1] }, url)
    }
  })
}

t.test('a value is read in the same request as in the next, but for what JSON turns into text', async (t) => {
  const { sessions, reload } = await createStore(t)
  const values = {
    numbers: [2 ** 53, 2 ** 60, -1e300, 1e21, 0.1, 5e-324, Number.MAX_VALUE, Number.NaN, Number.NEGATIVE_INFINITY],
    integers: [2n ** 64n, -(10n ** 40n), 9007199254740993n],
    body: JSON.parse('{"n":12345678901234567890,"deep":[[[[{"a":[]}]]]]}')
  }
  const session = (await sessions.open().load()).update(values)
  await session.save()
  t.strictSame(session.toObject(), values)
  t.strictSame((await reload(session)).toObject(), values)
  session.update({ at: new Date('2030-01-02T03:04:05Z'), link: new URL('https://example.org/') })
  t.ok(session.get<string>('at') instanceof Date)
  await session.save()
  t.equal((await reload(session)).get('at'), '2030-01-02T03:04:05.000Z')
  t.equal((await reload(session)).get('link'), 'https://example.org/')
})

t.test('nesting that set() accepts is read again, and what it refuses is not stored', async (t) => {
  const { sessions, reload } = await createStore(t)
  const nested = (levels: number) => JSON.parse(`${'['.repeat(levels)}12345678901234567890${']'.repeat(levels)}`)
  const session = (await sessions.open().load()).set('deep', nested(500)).set('id', 2n ** 70n)
  await session.save()
  t.strictSame((await reload(session)).toObject(), { deep: nested(500), id: 2n ** 70n })
  for (const levels of [501, 3500, 9000]) {
    t.throws(() => session.set('deep', nested(levels)), { name: 'TypeError', message: /"deep" .* more than 500 levels deep/ })
  }
})

t.test('rows that Python nested deeper than set() allows are read, and left as they are', async (t) => {
  const { sessions, knex } = await createStore(t)
  const text = `{"deep":${'['.repeat(9000)}12345678901234567890,NaN${']'.repeat(9000)},"a":1}`
  const signed = new TimestampSigner({ secretKey, salt: STORE_SALT }).signBytes(Buffer.from(text), true)
  await knex('django_session').insert({ session_key: 'writtenbyanother', session_data: signed, expire_date: '2999-01-01 00:00:00' })
  const session = await sessions.open('writtenbyanother').load()
  t.equal(session.get('a'), 1)
  t.ok(Array.isArray(session.get('deep')))
  await session.set('a', 2).save()
  const codec = createCodec()
  const row = await sessions.model.find('writtenbyanother')
  t.equal(codec.serializer.join(codec.decode(row?.sessionData as string)), text.replace('"a":1', '"a":2'))
})

t.test('a key that is left alone keeps the exact text of its writer', async (t) => {
  const { sessions, knex } = await createStore(t)
  const json =
    '{"big":18446744073709551616,"one":1.0,"nan":NaN,"inf":-Infinity,"esc":"\\/\\u0041","nested":{"z":1.50,"a":[9007199254740993]},"10":1,"9":2}'
  const codec = createCodec()
  const members = codec.serializer.split(json)
  await knex('django_session').insert({
    session_key: 'writtenbyanother',
    session_data: codec.encode(members),
    expire_date: '2999-01-01 00:00:00'
  })
  const session = await sessions.open('writtenbyanother').load()
  t.equal(session.get('big'), 18446744073709551616n)
  t.equal(session.get('one'), 1)
  t.ok(Number.isNaN(session.get('nan')))
  t.equal(session.get('inf'), Number.NEGATIVE_INFINITY)
  t.strictSame(session.get('nested'), { z: 1.5, a: [9007199254740993n] })
  session.set('new', [2n ** 70n, Number.NaN, 1])
  await session.save()
  const row = await sessions.model.find('writtenbyanother')
  const text = codec.serializer.join(codec.decode(row?.sessionData as string))
  t.equal(text, `${json.slice(0, -1)},"new":[1180591620717411303424,NaN,1]}`)
})

t.test('corrupt and forged rows are empty, logged once without key or data, and kept until the next save', async (t) => {
  const vectors = JSON.parse(await readFile(new URL('fixtures/vectors/django-sessions.json', import.meta.url), 'utf8'))
  const sign = (json: string) => new TimestampSigner({ secretKey, salt: STORE_SALT }).signBytes(Buffer.from(json), false)
  const rows: { reason: string; secret: string; session_data: string }[] = [
    ...vectors.must_decode_to_empty,
    ...['[1,2]', '7', '"text"', 'null'].map((json) => ({ reason: `signed ${json}`, secret: secretKey, session_data: sign(json) }))
  ]
  for (const { reason, secret, session_data } of rows) {
    const { sessions, knex, logs } = await createStore(t, { secretKey: secret })
    await knex('django_session').insert({ session_key: 'thekeyofthesession', session_data, expire_date: '2999-01-01 00:00:00' })
    const session = await sessions.open('thekeyofthesession').load()
    t.strictSame(session.toObject(), {}, reason)
    const warnings = logs.filter(({ code }) => code === 'FST_SESSION_SUSPICIOUS')
    t.equal(warnings.length, 1)
    t.notMatch(JSON.stringify(logs), 'thekeyofthesession')
    if (session_data.length > 10) t.notMatch(JSON.stringify(logs), session_data.slice(0, 10))
    t.equal((await knex('django_session').first()).session_data, session_data)
    session.set('a', 1)
    await session.save()
    t.equal(session.sessionKey, 'thekeyofthesession', 'the key is kept')
    t.strictSame((await sessions.open('thekeyofthesession').load()).toObject(), { a: 1 })
  }
})

t.test('a bomb is empty and logged; what honestly grew over maxSize is an error, and is not overwritten', async (t) => {
  const { sessions, knex, logs } = await createStore(t, { maxSize: 100_000 })
  const store = (session_key: string, json: string) => {
    const session_data = new TimestampSigner({ secretKey, salt: STORE_SALT }).signBytes(Buffer.from(json), true)
    return knex('django_session').insert({ session_key, session_data, expire_date: '2999-01-01 00:00:00' })
  }
  // Half a kilobyte that inflates to half a megabyte, and 100 kB that inflate to 200.
  await store('bombbombbomb', `{"a":"${'0'.repeat(300_000)}"}`)
  await store('growngrowngrown', JSON.stringify({ a: randomBytes(100_000).toString('hex') }))
  t.strictSame((await sessions.open('bombbombbomb').load()).toObject(), {})
  t.equal(logs.filter(({ code }) => code === 'FST_SESSION_SUSPICIOUS').length, 1)

  const before = await sessions.model.find('growngrowngrown')
  await t.rejects(sessions.open('growngrowngrown').load(), { code: 'FST_SESSION_TOO_LARGE', statusCode: 500 })
  await t.rejects(sessions.open('growngrowngrown').set('b', 1).save(), { code: 'FST_SESSION_TOO_LARGE' })
  t.equal((await sessions.model.find('growngrowngrown'))?.sessionData, before?.sessionData)
  await t.rejects(sessions.open().set('a', 'x'.repeat(100_000)).save(), { code: 'FST_SESSION_TOO_LARGE' })
})

t.test('a megabyte of data comes back as it was', async (t) => {
  const { stored } = await createStore(t)
  const text = 'ein Text mit Umläuten, “Zitaten” und 😀 '.repeat(14_000)
  t.equal((await stored({ text })).get('text'), text)
})

t.test('a session has at most 1 MiB of JSON by default, and the error names the size and the option', async (t) => {
  const { stored } = await createStore(t)
  t.equal((await stored({ a: 'x'.repeat(1_048_568) })).get('a', '').length, 1_048_568, '{"a":"…"} is 1 MiB')
  await t.rejects(stored({ a: 'x'.repeat(1_048_569) }), {
    code: 'FST_SESSION_TOO_LARGE',
    message: /^The session is larger than 1048576 bytes of JSON: store less in it, or raise the option maxSize/
  })
})

t.test('after save() the list of changes is empty, and the reply has nothing to write', async (t) => {
  const { sessions, knex } = await createStore(t)
  const session = sessions.open().set('count', (count = 0) => count + 1)
  await session.save()
  t.equal(session.modified, false)
  const queries = recordQueries(knex)
  session.set('other', 1)
  await session.save()
  t.match(queries, [/^UPDATE/])
  t.strictSame((await sessions.open(session.sessionKey).load()).toObject(), { count: 1, other: 1 })
})

t.test('a change made while a save is under way is kept for the next one', async (t) => {
  const { stored, reload, knex } = await createStore(t)
  const session = await stored({ count: 1 })
  const increment = (count: unknown = 0) => Number(count) + 1
  session.set('count', increment)
  knex.once('query', () => session.set('count', increment).set('late', true))
  await session.save()
  t.strictSame((await reload(session)).toObject(), { count: 2 })
  t.strictSame(session.toObject(), { count: 3, late: true })
  t.equal(session.modified, true)
  await session.save()
  t.strictSame((await reload(session)).toObject(), { count: 3, late: true })
})

t.test('a change made while a save waits for another of the same session is kept for the next one', async (t) => {
  const { stored, reload } = await createStore(t)
  const session = await stored({ count: 1 })
  const other = await reload(session)
  const saving = [other.set('other', true).save(), session.set('mine', true).save()]
  // Both have begun, and no statement has left: those wait for the end of the turn.
  for (let step = 0; step < 20; step++) await null
  session.set('count', (count: unknown = 0) => Number(count) + 1)
  await Promise.all(saving)
  t.strictSame((await reload(session)).toObject(), { count: 1, other: true, mine: true })
  await session.save()
  t.strictSame((await reload(session)).toObject(), { count: 2, other: true, mine: true })
})

t.test('modified = true saves what was changed inside values that were handed out', async (t) => {
  const { stored, reload } = await createStore(t)
  const session = await stored({ list: [1], other: [1], float: 1 })
  ;(session.get('list') as number[]).push(2)
  t.strictSame((await reload(session)).get('list'), [1])
  session.modified = true
  await session.save()
  t.strictSame((await reload(session)).get('list'), [1, 2])
})

t.test('values go on being watched after a save', async (t) => {
  const { stored, reload } = await createStore(t)
  const session = await stored({ list: [0] })
  const list = session.get('list') as number[]
  for (const item of [1, 2]) {
    list.push(item)
    session.modified = true
    await session.save()
  }
  t.strictSame((await reload(session)).get('list'), [0, 1, 2])
})

t.test('a function that a page attaches to a value is no failure, unless the value is to be saved', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  const attach = async (session: Session) => {
    const user = (await session.load()).get('user') as Record<string, unknown>
    user.greet = () => 'hello'
  }
  const { app, logs } = await createApp(t, { knex }, (app) => {
    app.get('/start', async (request) => request.session.set('user', { name: 'Ada' }).isEmpty)
    app.get('/page', async (request) => attach(request.session))
    app.get('/save', async (request) => {
      await attach(request.session)
      request.session.modified = true
    })
  })
  const visitor = new Browser(app)
  await visitor.get('/start')
  t.equal((await visitor.get('/page')).statusCode, 200)
  t.strictSame(
    logs.filter(({ level }) => Number(level) >= 40),
    []
  )
  t.match((await visitor.get('/save')).json(), { statusCode: 500, message: /"user"/ })
})

t.test('setExpiry', async (t) => {
  const now = new Date('2026-01-02T03:04:05.678Z')
  const { stored, reload, sessions } = await createStore(t, { clock: () => now })
  const session = await stored({ a: 1 })
  t.strictSame([session.getExpiryAge(), session.getExpireAtBrowserClose()], [1_209_600, false])
  const saved = async () => {
    await session.save()
    return (await sessions.model.find(session.sessionKey as string))?.expireDate
  }
  session.setExpiry(300)
  t.strictSame([session.getExpiryAge(), session.getExpiryDate()], [300, new Date('2026-01-02T03:09:05.678Z')])
  t.strictSame(await saved(), new Date('2026-01-02T03:09:05.678Z'))
  session.setExpiry(0)
  t.strictSame([session.getExpiryAge(), session.getExpireAtBrowserClose()], [1_209_600, true])
  session.setExpiry(new Date('2026-01-03T00:00:00.000Z'))
  t.equal(session.get('_session_expiry'), '2026-01-03T00:00:00.000+00:00')
  t.strictSame(await saved(), new Date('2026-01-03T00:00:00.000Z'))
  t.equal((await reload(session)).getExpiryAge(), 75_354)
  session.setExpiry(null)
  t.equal(session.has('_session_expiry'), false)
  for (const wrong of ['soon', -10, 1_209_600_000]) {
    t.throws(() => session.setExpiry(wrong as number), { name: 'TypeError', message: /^Expected setExpiry/ })
    t.throws(() => session.options({ maxAge: wrong as number }), { name: 'TypeError', message: /^Expected setExpiry/ })
  }
  t.equal(session.has('_session_expiry'), false, 'and nothing has changed')
  session.setExpiry(new Date('2026-01-02T03:04:05.678Z'))
  t.equal(session.getExpiryAge(), 0)
  await session.save()
  t.strictSame((await reload(session)).isEmpty, true, 'it has ended')
})

t.test('the test cookie', async (t) => {
  const { stored } = await createStore(t)
  const session = await stored({})
  t.equal(session.testCookieWorked(), false)
  session.setTestCookie()
  t.strictSame(session.toObject(), { testcookie: 'worked' })
  t.equal(session.testCookieWorked(), true)
  session.deleteTestCookie()
  t.equal(session.testCookieWorked(), false)
})

t.test('flush() deletes the session; what is set afterwards is another one', async (t) => {
  const { stored, sessions, knex } = await createStore(t)
  const session = await stored({ a: 1 })
  const before = session.sessionKey as string
  session.set('lost', 1)
  const flushing = session.flush()
  session.set('kept', 1)
  await flushing
  t.strictSame([session.sessionKey, session.toObject()], [null, { kept: 1 }])
  t.equal(await sessions.model.find(before), null)
  await session.save()
  t.not(session.sessionKey, before)
  t.equal((await knex('django_session').select()).length, 1)
})

t.test('cycleKey() keeps changes that are not saved yet', async (t) => {
  const { stored, reload, sessions } = await createStore(t)
  const session = await stored({ a: 1 })
  const before = session.sessionKey as string
  session.set('b', 2)
  await session.cycleKey()
  t.equal(await sessions.model.find(before), null)
  t.strictSame((await reload(session)).toObject(), { a: 1 })
  await session.save()
  t.strictSame((await reload(session)).toObject(), { a: 1, b: 2 })
})

t.test('regenerate, destroy, data and options mean what other session plugins mean', async (t) => {
  const { stored, reload, sessions } = await createStore(t)
  const session = await stored({ a: 1, b: 2 })
  const before = session.sessionKey as string
  await session.regenerate(['b', 'missing'])
  t.strictSame([session.sessionKey, session.data()], [null, { b: 2 }])
  t.equal(await sessions.model.find(before), null)
  session.options({ maxAge: 60 })
  await session.save()
  t.equal((await reload(session)).getExpiryAge(), 60)
  await session.destroy()
  t.equal(session.sessionKey, null)
})

t.test('a serializer of your own: untouched values are written anew, merges compare decoded values', async (t) => {
  const serializer = {
    dumps: (data: Record<string, unknown>) => `v1 ${encodeURIComponent(JSON.stringify(data))}`,
    loads: (text: string) => {
      if (!text.startsWith('v1 ')) throw new Error('not mine')
      return JSON.parse(decodeURIComponent(text.slice(3)))
    }
  }
  const { sessions, stored, reload } = await createStore(t, { serializer })
  const session = await stored({ a: 1, list: [1] })
  const other = await reload(session)
  other.set('b', 2)
  await other.save()
  session.set('a', (a = 0) => a + 1)
  ;(session.get('list') as number[]).push(2)
  session.modified = true
  await session.save()
  t.strictSame((await reload(session)).toObject(), { a: 2, list: [1, 2], b: 2 })
  const row = await sessions.model.find(session.sessionKey as string)
  t.strictSame(row?.decoded(), { a: 2, list: [1, 2], b: 2 })
})

t.test('sessions outside requests: forCookie and model', async (t) => {
  const { sessions, stored } = await createStore(t)
  const { sessionKey } = await stored({ a: 1 })
  t.equal((await sessions.forCookie(`x=y; sessionid=${sessionKey}`).load()).get('a'), 1)
  t.equal((await sessions.forCookie(undefined).load()).isEmpty, true)
  const row = await sessions.model.find(sessionKey as string)
  t.match(row, { sessionKey, sessionData: /^[\w-]+:[\w]+:[\w-]+$/, expireDate: Date })
  t.strictSame(row?.decoded(), { a: 1 })
  for (const unknown of ['unknownunknown', '', 'with a\0 in it']) t.equal(await sessions.model.find(unknown), null)
  t.strictSame(await sessions.model.query().count({ rows: '*' }), [{ rows: 1 }])
})

t.test('sessions signed with a former secret key are still read', async (t) => {
  const before = await createStore(t, { secretKey: 'old' })
  const session = await before.stored({ a: 1 })
  const open = async (options: Partial<SessionOptions>) => {
    const { app } = await createApp(t, { knex: before.knex, ...options })
    return app.sessions.open(session.sessionKey).load()
  }
  const rotated = await open({ secretKey: 'new', secretKeyFallbacks: ['older', 'old'] })
  t.equal(rotated.get('a'), 1)
  rotated.modified = true
  await rotated.save()
  t.equal((await open({ secretKey: 'new' })).get('a'), 1, 'a save signs with the new key')
})

t.test('columns are written at each create and save', async (t) => {
  const knex = await openDatabase(t, 'sqlite')
  await knex.schema.alterTable('django_session', (table) => void table.integer('account_id'))
  const { app } = await createApp(t, { knex, columns: (data, key) => ({ account_id: Number(data._auth_user_id ?? key.length) }) })
  const session = app.sessions.open().set('a', 1)
  await session.save()
  t.match(await knex('django_session').first(), { account_id: 32 })
  session.set('_auth_user_id', '42')
  await session.save()
  t.match(await knex('django_session').first(), { account_id: 42 })
})

t.test('clearExpired removes what has expired, in batches, and says so', async (t) => {
  let now = new Date('2026-01-02T03:04:05Z')
  const { sessions, stored, knex } = await createStore(t, { clock: () => now, cookieAge: 60 })
  for (let index = 0; index < 25; index++) await stored({ index })
  now = new Date('2026-01-02T03:05:05Z')
  const live = await stored({ live: true })
  now = new Date('2026-01-02T03:05:06Z')
  t.match(await sessions.clearExpired({ grace: 60 }), { deleted: 0, batches: 0 })
  const progress: number[] = []
  const report = await sessions.clearExpired({ batchSize: 10, onProgress: ({ deleted }) => progress.push(deleted) })
  t.match(report, { deleted: 25, batches: 3, milliseconds: Number })
  t.strictSame(progress, [10, 20, 25])
  t.match(await knex('django_session').select('session_key'), [{ session_key: live.sessionKey }])
  now = new Date('2027-01-02T03:05:06Z')
  t.match(await sessions.clearExpired({ signal: AbortSignal.abort() }), { deleted: 0, batches: 0 })
})
