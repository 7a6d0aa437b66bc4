import { randomBytes } from 'node:crypto'
import { inspect, isDeepStrictEqual } from 'node:util'
import t from 'tap'
import { Codec, type CodecOptions, STORE_SALT } from '../lib/django/codec.ts'
import { jsonSerializer, type Members, toObject } from '../lib/django/serializer.ts'
import { dumps, TimestampSigner } from '../lib/django/signing.ts'
import { plain as plainMembers } from './fixtures/members.ts'
import vectors from './fixtures/vectors/django-sessions.json' with { type: 'json' }

const MEBIBYTE = 1024 * 1024
const suspicious = { name: 'FastifyError', code: 'FST_SESSION_SUSPICIOUS' }
const tooLarge = { name: 'FastifyError', code: 'FST_SESSION_TOO_LARGE', statusCode: 500 }

const at = (seconds: number) => () => new Date(seconds * 1000)
const secretKey = 'the secret key of the tests'

/** A codec with the defaults of the options, but for those given. */
function codecWith(options: Partial<CodecOptions> = {}): Codec {
  return new Codec({
    secretKey,
    secretKeyFallbacks: [],
    salt: STORE_SALT,
    clock: () => new Date(),
    serializer: jsonSerializer,
    compressAbove: 1024,
    maxSize: 16 * MEBIBYTE,
    ...options
  })
}

function membersOf(data: Record<string, unknown>): Members {
  return new Map(Object.entries(data).map(([name, value]) => [name, jsonSerializer.member(name, value)]))
}

/** Signs whatever bytes as a session's data are signed. */
function signedBytes(text: string, compress = false): string {
  return new TimestampSigner({ secretKey, salt: STORE_SALT }).signBytes(Buffer.from(text, 'latin1'), compress)
}

const payloadOf = (text: string) => text.split(':')[0] as string

t.test('sessions that Django wrote keep their exact text', async (t) => {
  t.equal(STORE_SALT, vectors.key_salt)
  t.not(vectors.sessions.length, 0)
  for (const { secret, json, session_data } of vectors.sessions) {
    const members = codecWith({ secretKey: secret }).decode(session_data)
    t.equal(jsonSerializer.join(members), json)
  }
})

/** The values of JSON text, for the vectors only: no string in them looks like a number to this. */
function valuesOf(json: string): unknown {
  const marked = json.replace(/([:[,])(-?\d{16,}|NaN|-?Infinity)(?=[,\]}])/g, '$1{"the number":"$2"}')
  return JSON.parse(marked, (_name, value) => {
    const number = value?.['the number']
    if (number === undefined) return value
    return Number.isSafeInteger(Number(number)) || /[a-z]/.test(number) ? Number(number) : BigInt(number)
  })
}

t.test('sessions that Django wrote have the values that Django stored', async (t) => {
  for (const { secret, json, session_data } of vectors.sessions) {
    const data = toObject(codecWith({ secretKey: secret }).decode(session_data))
    if (!isDeepStrictEqual(data, valuesOf(json))) t.strictSame(data, valuesOf(json), json)
  }
  const [first] = vectors.sessions.filter(({ json }) => json.startsWith('{"big"'))
  t.strictSame(toObject(codecWith({ secretKey: first?.secret as string }).decode(first?.session_data as string)), {
    big: 18446744073709551616n,
    neg: -1180591620717411303424n
  })
})

t.test("with compressAbove 0 a session is encoded to Django's bytes", async (t) => {
  let reproduced = 0
  for (const { secret, timestamp, json, session_data, compressed } of vectors.sessions) {
    const codec = codecWith({ secretKey: secret, clock: at(timestamp), compressAbove: 0 })
    const encoded = codec.encode(codec.decode(session_data))
    t.equal(encoded.startsWith('.'), compressed, 'it is deflated when Django deflates it')
    t.equal(jsonSerializer.join(codec.decode(encoded)), json)
    // zlib builds differ.
    if (compressed) continue
    t.equal(encoded, session_data)
    reproduced++
  }
  t.ok(reproduced > 10)
})

t.test('values set here are encoded to the bytes that Django gives for them', async (t) => {
  let reproduced = 0
  for (const { secret, timestamp, json, session_data, compressed } of vectors.sessions) {
    // JavaScript has one type for 1 and 1.0.
    if (/-0\.0|\d\.0|e[+-]0?\d/.test(json) || compressed) continue
    const codec = codecWith({ secretKey: secret, clock: at(timestamp), compressAbove: 0 })
    const members: Members = new Map()
    for (const [name, { value }] of codec.decode(session_data)) members.set(name, jsonSerializer.member(name, value))
    t.equal(codec.encode(members), session_data)
    reproduced++
  }
  t.ok(reproduced > 10)
})

t.test('corrupt and forged text is suspicious', async (t) => {
  t.not(vectors.must_decode_to_empty.length, 0)
  for (const { reason, secret, session_data } of vectors.must_decode_to_empty) {
    t.throws(() => codecWith({ secretKey: secret }).decode(session_data), suspicious, reason)
  }
})

t.test('signed text that is not one JSON object is suspicious', async (t) => {
  for (const text of ['[]', '[{"a":1}]', '1', '18446744073709551616', 'NaN', 'null', 'true', '"text"', '', '{', '{"a":1}}', '{"a":1,}']) {
    t.throws(() => codecWith().decode(signedBytes(text)), suspicious, JSON.stringify(text))
    t.throws(() => codecWith().decode(signedBytes(text.padEnd(2000), true)), suspicious, `${JSON.stringify(text)}, deflated`)
  }
  t.strictSame(codecWith().decode(signedBytes(' {} ')), new Map())
})

t.test('text of any nesting is read, and written back as it was', async (t) => {
  const depth = 200_000
  for (const inner of ['1', 'NaN', '12345678901234567890']) {
    const text = `{"a":${'['.repeat(depth)}${inner}${']'.repeat(depth)}}`
    const members = codecWith().decode(signedBytes(text))
    t.ok(Array.isArray(members.get('a')?.value))
    t.equal(codecWith().encode(members).split(':')[0], codecWith({ compressAbove: 1 }).encode(members).split(':')[0])
    t.ok(codecWith().serializer.join(members) === text)
  }
})

t.test('Latin-1 bytes that another writer did not escape are kept', async (t) => {
  const members = codecWith().decode(signedBytes('{"é":"ü"}'))
  t.strictSame(toObject(members), { é: 'ü' })
  t.strictSame(toObject(codecWith().decode(codecWith().encode(members))), { é: 'ü' })
})

t.test('data signed with a former key is read, and new data is signed with the current key', async (t) => {
  const former = codecWith({ secretKey: 'former' }).encode(membersOf({ a: 1 }))
  const rotated = codecWith({ secretKeyFallbacks: ['older', 'former'] })
  t.strictSame(toObject(rotated.decode(former)), { a: 1 })
  t.strictSame(toObject(codecWith().decode(rotated.encode(membersOf({ a: 2 })))), { a: 2 })
  t.throws(() => codecWith({ secretKeyFallbacks: ['older'] }).decode(former), suspicious)
})

t.test('a signature with another salt is refused', async (t) => {
  const signed = dumps({ a: 1 }, { secretKey })
  t.throws(() => codecWith().decode(signed), suspicious)
  t.throws(() => codecWith({ salt: vectors.signed_cookies_salt }).decode(codecWith().encode(membersOf({ a: 1 }))), suspicious)
})

t.test('with maxAge a session is valid until the second that Django says, without it for ever', async (t) => {
  for (const { secret, json, cookie, max_age, valid_until } of vectors.signed_cookies) {
    const decode = (seconds: number, maxAge?: number) => {
      const codec = codecWith({ secretKey: secret, salt: vectors.signed_cookies_salt, clock: at(seconds) })
      return jsonSerializer.join(codec.decode(cookie, maxAge))
    }
    t.equal(decode(valid_until, max_age), json)
    t.throws(() => decode(valid_until + 1, max_age), suspicious)
    t.equal(decode(valid_until * 2), json)
  }
})

t.test('from compressAbove bytes on data is deflated', async (t) => {
  const data = membersOf({ a: 'a'.repeat(92) }) // 100 bytes of JSON
  t.equal(jsonSerializer.join(data).length, 100)
  const plain = codecWith({ compressAbove: 101 }).encode(data)
  t.equal(Buffer.from(payloadOf(plain), 'base64url').toString(), jsonSerializer.join(data))
  const deflated = codecWith({ compressAbove: 100 }).encode(data)
  t.match(deflated, /^\./)
  for (const text of [plain, deflated]) t.strictSame(plainMembers(codecWith().decode(text)), plainMembers(data))
})

t.test('data that is too short to gain by deflating stays as it is', async (t) => {
  t.notMatch(codecWith({ compressAbove: 0 }).encode(membersOf({ a: 1 })), /^\./)
  t.match(codecWith({ compressAbove: 0 }).encode(membersOf({ a: '1'.repeat(50) })), /^\./)
})

t.test('a megabyte of data is written and read', async (t) => {
  for (const text of ['lorem ipsum '.repeat(100_000), randomBytes(750_000).toString('base64'), '\u{1f600}"\\'.repeat(70_000)]) {
    const data = { text, big: 18446744073709551616n }
    const encoded = codecWith().encode(membersOf(data))
    t.ok(isDeepStrictEqual(toObject(codecWith().decode(encoded)), data))
  }
})

t.test('names are data, whatever they are', async (t) => {
  const data = JSON.parse('{"__proto__":{"polluted":true},"constructor":1,"toString":null,"":"empty","10":1,"save":2,"é\\u0000\\"":3}')
  const decoded = codecWith().decode(codecWith().encode(membersOf(data)))
  t.ok(isDeepStrictEqual(toObject(decoded), data))
  t.strictSame([...decoded.keys()], Object.keys(data))
  t.equal(({} as Record<string, unknown>).polluted, undefined)
})

t.test('maxSize is the greatest size that is written', async (t) => {
  const data = membersOf({ a: 'a'.repeat(92) })
  t.doesNotThrow(() => codecWith({ maxSize: 100 }).encode(data))
  for (const compressAbove of [0, 1024]) t.throws(() => codecWith({ maxSize: 99, compressAbove }).encode(data), tooLarge)
})

t.test('honest data over maxSize is an error, whether deflated or not', async (t) => {
  const data = membersOf({ words: Array.from({ length: 500 }, (_, index) => `word ${index}`) })
  const size = jsonSerializer.join(data).length
  for (const compressAbove of [0, 2 * size]) {
    const text = codecWith({ compressAbove }).encode(data)
    t.equal(text.startsWith('.'), compressAbove === 0)
    t.throws(() => codecWith({ maxSize: size - 1 }).decode(text), tooLarge)
    t.strictSame(plainMembers(codecWith({ maxSize: size }).decode(text)), plainMembers(data))
  }
})

t.test('a zlib bomb with a valid signature is not inflated, and is suspicious', async (t) => {
  const bomb = signedBytes(`{"a":"${'a'.repeat(17 * MEBIBYTE)}"}`, true)
  t.ok(bomb.length < 30_000)
  // Were it inflated first and measured then, it would be too large.
  t.throws(() => codecWith().decode(bomb), suspicious)
  t.doesNotThrow(() => codecWith({ maxSize: 18 * MEBIBYTE }).decode(bomb), 'it is valid but for its size')
})

t.test('a bomb of any size is suspicious, and inflated no further than maxSize', async (t) => {
  for (const times of [2, 10, 1000]) {
    const bomb = signedBytes(`{"a":"${'a'.repeat(times * 100_000)}"}`, true)
    t.throws(() => codecWith({ maxSize: 100_000 }).decode(bomb), suspicious, `${times} times maxSize`)
  }
})

t.test('no error quotes data, keys or secrets', async (t) => {
  const codec = codecWith()
  const refused: Record<string, () => unknown> = {
    'not signed': () => codec.decode('private:private:private'),
    'signed with another key': () => codecWith({ secretKey: 'private' }).decode(codec.encode(membersOf({ private: 'private' }))),
    'no JSON': () => codec.decode(signedBytes('private')),
    'cut short': () => codec.decode(signedBytes('{"private":"private')),
    'not an object': () => codec.decode(signedBytes('["private", 1]')),
    'a long integer in it': () => codec.decode(signedBytes('{"private":12345678901234567,private}')),
    'not deflated': () => codec.decode(new TimestampSigner({ secretKey, salt: STORE_SALT }).sign('.private')),
    'too old': () => codec.decode(codecWith({ clock: at(0) }).encode(membersOf({ private: 'private' })), 1),
    'too large to write': () => codecWith({ maxSize: 9 }).encode(membersOf({ private: 'private' })),
    'too large to read': () => codecWith({ maxSize: 9 }).decode(codec.encode(membersOf({ private: 'private' }))),
    'a bomb': () => codecWith({ maxSize: 10_000_000 }).decode(signedBytes(`{"private":"${'private'.repeat(2_000_000)}"}`, true))
  }
  for (const [what, refuse] of Object.entries(refused)) {
    try {
      refuse()
      t.fail(`accepted: ${what}`)
    } catch (error) {
      t.match(error, { name: 'FastifyError' }, what)
      // With its cause and whatever else hangs on it; the frames name files and functions only.
      const { stack, ...rest } = error as Error
      t.notMatch(inspect([(error as Error).message, (error as Error).cause, rest]), /private|secret key of/, what)
      t.notMatch(stack?.split('\n    at ')[0], /private|secret key of/, what)
    }
  }
})
