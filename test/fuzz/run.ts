/**
 * A million cookies and rows that are nearly right: none ends in an exception, and none
 * that we did not sign is believed. Between them values of every type are set by a route:
 * each is refused by name, or read by the next request as it was written.
 * Seeded: `npm run fuzz -- 42 1000000` runs the same again.
 */
import { isDeepStrictEqual } from 'node:util'
import Fastify from 'fastify'
import { MemoryCache } from '../../lib/caches/memory.ts'
import type { Engine } from '../../lib/contract.ts'
import { Codec, STORE_SALT } from '../../lib/django/codec.ts'
import { readCookie } from '../../lib/django/cookie-header.ts'
import { jsonSerializer } from '../../lib/django/serializer.ts'
import { TimestampSigner } from '../../lib/django/signing.ts'
import { CacheEngine } from '../../lib/engines/cache.ts'
import { SessionCache } from '../../lib/engines/session-cache.ts'
import { COOKIE_SALT, SignedCookiesEngine } from '../../lib/engines/signed-cookies.ts'
import sessions from '../../lib/index.ts'
import { openSession } from '../../lib/session/facade.ts'
import type { Session } from '../../lib/session/session.ts'
import { resolveSettings } from '../../lib/settings/settings.ts'
import { createContext } from '../fixtures/context.ts'

const [seed = Date.now() % 2 ** 32, count = 1_000_000] = process.argv.slice(2).map(Number)
const secretKey = 'the secret key of the tests'
const START = new Date('2030-01-01T00:00:00Z')
const clock = () => START
const settings = resolveSettings({ secretKey, engine: 'signed_cookies', clock })

/** mulberry32: small, and the same everywhere. */
function createRandom(seed: number): (limit: number) => number {
  let state = seed >>> 0
  return (limit) => {
    state = (state + 0x6d2b79f5) >>> 0
    let bits = Math.imul(state ^ (state >>> 15), state | 1)
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61)
    return ((bits ^ (bits >>> 14)) >>> 0) % limit
  }
}

const random = createRandom(seed)
const pick = <T>(list: readonly T[]): T => list[random(list.length)] as T

/** What parsers stumble over. */
const PIECES = [
  ...':.;,="\\\'{}[]-_+/%\n\r\0 ',
  ...['é', '€', '\u{1f600}', '\ud800', '__proto__', 'NaN', '1e999', '-0', '9'.repeat(400), '['.repeat(2000), '\\u0000', '\\ud800', 'null'],
  ...['12345678901234567890', '-9007199254740993', '-Infinity', '1.152921504606847e+18', '-', '.', 'e+', '[NaN,', '{"a":'.repeat(1500)],
  ...['9'.repeat(5000), `"${'x'.repeat(60_000)}"`, '12345678901234567,'.repeat(3000)],
  ...['sessionid=', '; sessionid=', 'eyJ9', '.eJw', '=', '==', ':1rXyZa:', '%3A', '\\072', 'A'.repeat(5000)]
]

type Mutation = (text: string, at: number) => string
const MUTATIONS: readonly Mutation[] = [
  (text, at) => text.slice(0, at) + pick(PIECES) + text.slice(at),
  (text, at) => text.slice(0, at) + pick(PIECES) + text.slice(at + 1),
  (text, at) => text.slice(0, at) + String.fromCharCode((text.charCodeAt(at) || 0) ^ (1 << random(8))) + text.slice(at + 1),
  (text, at) => text.slice(0, at) + text.slice(at + 1 + random(8)),
  (text, at) => text.slice(0, at),
  (text, at) => text.slice(at),
  (text, at) => text.slice(0, at) + text.slice(at).toUpperCase(),
  (text, at) => text.slice(0, at) + pick(VALID).slice(at),
  (text) => text + text,
  (text) => text.split(':').reverse().join(':')
]

const DATA = [
  { a: 1 },
  { _auth_user_id: '1', _auth_user_backend: 'django.contrib.auth.backends.ModelBackend', _auth_user_hash: 'f'.repeat(64) },
  { text: 'äöü€ '.repeat(400), list: [1, [2, [3, { four: null }]]], number: 1.5e300, _session_expiry: 300 },
  { _session_expiry: '2031-01-01T00:00:00+00:00', '': '', __proto: true },
  {
    big: [2n ** 64n, -(10n ** 40n)],
    float: 2 ** 60,
    nan: [Number.NaN, Number.NEGATIVE_INFINITY],
    deep: nest(450, 12345678901234567890n),
    _session_expiry: 1e300
  }
]

function nest(levels: number, inner: unknown): unknown {
  let value = inner
  for (let level = 0; level < levels; level++) value = level % 2 === 0 ? [value] : { a: value }
  return value
}

function createCodec(salt: string, secret: string): Codec {
  return new Codec({
    secretKey: secret,
    secretKeyFallbacks: [],
    salt,
    clock,
    serializer: jsonSerializer,
    compressAbove: 256,
    maxSize: 100_000
  })
}

const encodeAll = (codec: Codec) =>
  DATA.map((data) => codec.encode(new Map(Object.entries(data).map(([name, value]) => [name, codec.serializer.member(name, value)]))))

const rowCodec = createCodec(STORE_SALT, secretKey)
const cookieCodec = createCodec(COOKIE_SALT, secretKey)
const rows = encodeAll(rowCodec)
const texts = encodeAll(rowCodec).map((text) => rowCodec.serializer.join(rowCodec.decode(text)))
const cookies = encodeAll(cookieCodec)
/** Signed by another key, and for another purpose: whole, and to make mutations of. */
const foreign = [...encodeAll(createCodec(STORE_SALT, 'another secret')), ...encodeAll(createCodec('another purpose', secretKey))]
const VALID: readonly string[] = [...rows, ...cookies, ...foreign]

function mutate(text: string): string {
  let mutated = text
  for (let times = random(4); times >= 0; times--) mutated = pick(MUTATIONS)(mutated, random(mutated.length + 1))
  return mutated
}

const signedCookies = new SignedCookiesEngine({ codec: cookieCodec, cookieName: 'sessionid', cookieAge: settings.cookieAge, clock })
const cache = new SessionCache({ cache: new MemoryCache({ clock }), prefix: '', clock })
let row = ''
const store: Engine = Object.assign(Object.create(new CacheEngine(cache)), {
  load: async () => ({ sessionData: row, expireDate: new Date('2999-01-01') })
} satisfies Partial<Engine>)
const log = { debug: () => {}, warn: () => {} }
const cookieContext = createContext({ engine: signedCookies, codec: cookieCodec, settings, log })
const rowContext = createContext({ engine: store, codec: rowCodec, settings, log })

const KEY = 'abcdefghijklmnopqrstuvwxyz012345'
const signer = new TimestampSigner({ secretKey, salt: STORE_SALT, clock })

/** What each kind of input was taken for. */
const found = {
  believed: 0,
  refused: 0,
  'planted in vain': 0,
  'signed by us, and readable': 0,
  'signed by us, and no data': 0,
  'set, and read again': 0,
  'set, and refused': 0
}

/** The header of a browser, read by the engine that believes the most: the cookie is the session. */
async function tryCookie(): Promise<void> {
  const value = pick(random(4) === 0 ? VALID : cookies)
  const header = random(2) === 0 ? mutate(`sessionid=${value}`) : `sessionid=${mutate(value)}`
  const cookie = readCookie(header, 'sessionid')
  const session = await openSession(cookieContext, cookie).load()
  judge(session, cookie !== null && cookies.includes(cookie), header)
}

/** A cookie whose name a browser takes for another one: only spaces and tabs around a name are ignored. */
async function tryPlanted(): Promise<void> {
  const around = () => pick(['', ' ', '\t', String.fromCharCode(random(256)), pick(['\xa0', '\ufeff', '\u2003', '\x85'])])
  const name = `${around()}__Host-sessionid${around()}`
  if (/^[ \t]*__Host-sessionid[ \t]*$/.test(name) || /[;=]/.test(name)) return
  const value = readCookie(`__Host-sessionid=mine; ${name}=planted`, '__Host-sessionid')
  if (value !== 'mine') throw new Error(`planted: ${JSON.stringify(name)}`)
  found['planted in vain']++
}

async function tryRow(): Promise<void> {
  row = random(50) === 0 ? pick(VALID) : mutate(pick(VALID))
  const session = await openSession(rowContext, KEY).load()
  judge(session, rows.includes(row), row)
}

function judge(session: Session, isOurs: boolean, text: string): void {
  if (session.size > 0 && !isOurs) throw new Error(`believed: ${JSON.stringify(text)}`)
  if (session.size === 0 && isOurs) throw new Error(`refused: ${JSON.stringify(text)}`)
  found[isOurs ? 'believed' : 'refused']++
}

/** Whoever has the secret writes what it likes, and still can end no process. */
async function trySigned(): Promise<void> {
  const json = mutate(pick(texts))
  const compressed = random(3) === 0
  row = signer.signBytes(Buffer.from(json), compressed)
  // A stream that was cut or changed before it was signed.
  if (random(3) === 0) row = signer.sign(mutate(row.split(':', 1)[0] as string))
  try {
    const session = await openSession(rowContext, KEY).load()
    session.toObject()
    session.getExpiryDate()
    found[session.size > 0 ? 'signed by us, and readable' : 'signed by us, and no data']++
  } catch (error) {
    if ((error as { code?: string }).code !== 'FST_SESSION_TOO_LARGE') throw error
  }
}

/** Values that a session carries, and values that it must refuse. */
const GOOD: readonly (() => unknown)[] = [
  () => random(2 ** 31) - 2 ** 30,
  () => (random(2 ** 31) - 2 ** 30) * 2 ** random(990),
  () => (random(2 ** 31) - 2 ** 30) / 2 ** random(990),
  () => BigInt(random(2 ** 31) - 2 ** 30) ** BigInt(2 * random(30) + 1),
  () =>
    pick([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 2 ** 53, -(2 ** 53), 2 ** 60, 1e21, Number.MAX_VALUE, 5e-324]),
  () => pick([null, true, false, '', '__proto__', ...PIECES]),
  () => nest(random(480), 1n),
  () => Object.fromEntries([[pick(PIECES), random(10)]])
]
const BAD: readonly (() => unknown)[] = [
  () => new Map([[1, 2]]),
  () => new Set(),
  () => /x/,
  () => new Error('x'),
  () => new Date(Number.NaN),
  () => Buffer.from('x'),
  () => new Float64Array(2),
  () => new URLSearchParams('a=b'),
  () => new FormData(),
  () => Promise.resolve(1),
  () => Symbol('x'),
  () => [nest],
  () => [undefined],
  () => new String('x'),
  () => nest(501 + random(5000), 12345678901234567890n),
  () => ({ toJSON: () => new Map() })
]

/** A value inside others. */
function around(value: unknown): unknown {
  let outer = value
  for (let times = random(4); times > 0; times--) {
    const inner = outer
    const other = pick(GOOD)()
    outer = pick([() => [inner], () => [other, inner, 'text'], () => ({ a: 1, b: inner }), () => ({ toJSON: () => [inner] })])()
  }
  return outer
}

let given: unknown
const app = Fastify()
await app.register(sessions, { secretKey, engine: 'cache', cache: new MemoryCache({ clock, maxEntries: 1000 }), clock })
app.get('/set', async (request) => request.session.set('value', given).isEmpty)
app.get('/read', async (request) => {
  given = (await request.session.load()).get('value')
  return 'read'
})

async function tryValue(): Promise<void> {
  const isGood = random(2) === 0
  given = around(pick(isGood ? GOOD : BAD)())
  const written = given
  const {
    statusCode,
    cookies: [cookie],
    body
  } = await app.inject('/set')
  if (!isGood) {
    if (statusCode !== 500 || !body.includes('Cannot store')) throw new Error(`stored with ${statusCode}: ${body}`)
    found['set, and refused']++
    return
  }
  if (statusCode !== 200) throw new Error(`not stored: ${body}`)
  await app.inject({ url: '/read', cookies: { sessionid: cookie?.value as string } })
  if (!isDeepStrictEqual(given, plainOf(written))) throw new Error('the value was changed by being stored')
  found['set, and read again']++
}

/** Without toJSON(), without the sign of -0, and numbers for small bigints. */
function plainOf(value: unknown): unknown {
  if (typeof value === 'bigint' && Number.isSafeInteger(Number(value))) return Number(value)
  if (Array.isArray(value)) return value.map(plainOf)
  if (typeof value !== 'object' || value === null) return value === 0 ? 0 : value
  if ('toJSON' in value) return plainOf((value as { toJSON(): unknown }).toJSON())
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, plainOf(item)]))
}

console.log(`seed ${seed}, ${count} cookies and rows`)
const started = performance.now()
for (let index = 0; index < count; index++) {
  try {
    await (random(100) === 0 ? tryValue : pick([tryCookie, tryCookie, tryRow, tryRow, trySigned, tryPlanted]))()
  } catch (error) {
    console.error(`input ${index} of the seed ${seed}`, row)
    throw error
  }
}
await app.close()
console.log(found, `${Math.round((performance.now() - started) / 1000)} s`)
// Were all refused the fuzzing would show nothing.
if (Object.values(found).includes(0)) throw new Error('a kind of input did not occur')
