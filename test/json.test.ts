import { isDeepStrictEqual } from 'node:util'
import { runInNewContext } from 'node:vm'
import createKnex from 'knex'
import t from 'tap'
import { joinObject, parse, splitObject } from '../lib/django/json.ts'
import { stringify } from '../lib/django/json-writer.ts'
import { plain } from './fixtures/members.ts'

/** Random numbers from 0 up to 1 that are the same in every run (mulberry32). */
function generator(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** A value, and the text that Python's `json.dumps(value, separators=(',', ':'))` gives for it. */
interface Sample {
  value: unknown
  text: string
}

const SHORT_ESCAPES: Record<string, string> = { '"': '\\"', '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t', '\b': '\\b', '\f': '\\f' }

function pythonString(value: string): string {
  const units = value.split('').map((unit) => {
    if (unit in SHORT_ESCAPES) return SHORT_ESCAPES[unit]
    return unit >= ' ' && unit <= '~' ? unit : `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
  })
  return `"${units.join('')}"`
}

const FRAGMENTS = [
  '',
  'a',
  'n',
  's',
  'n12',
  '"',
  '\\',
  '\\"',
  '\\u0041',
  ':',
  ',',
  '{',
  '}',
  '[',
  ']',
  ' ',
  '/',
  '<',
  'NaN',
  '-Infinity',
  '1234567890123456789',
  '-9007199254740993',
  '\0',
  '\n',
  '\t',
  '\b',
  '\x1f',
  '\x7f',
  '\x80',
  'é',
  '本',
  '\u2028',
  '\u{1f600}',
  '\ud83d',
  '\ude00',
  '__proto__'
]

/** Numbers in the form that JavaScript and Python share, and the integers on both sides of what a number holds exactly. */
const NUMBERS: readonly Sample[] = [
  { value: 0, text: '0' },
  { value: -1, text: '-1' },
  { value: 1.5, text: '1.5' },
  { value: -0.1, text: '-0.1' },
  { value: 0.30000000000000004, text: '0.30000000000000004' },
  { value: 5e-324, text: '5e-324' },
  { value: 1.7976931348623157e308, text: '1.7976931348623157e+308' },
  { value: 1e22, text: '1e+22' },
  { value: 999999999999999, text: '999999999999999' },
  { value: 1000000000000000, text: '1000000000000000' },
  { value: 9007199254740991, text: '9007199254740991' },
  { value: -9007199254740991, text: '-9007199254740991' },
  { value: 9007199254740992n, text: '9007199254740992' },
  { value: -9007199254740993n, text: '-9007199254740993' },
  { value: 9999999999999999n, text: '9999999999999999' },
  { value: 18446744073709551616n, text: '18446744073709551616' },
  { value: 10n ** 40n, text: `1${'0'.repeat(40)}` },
  { value: Number.NaN, text: 'NaN' },
  { value: Number.POSITIVE_INFINITY, text: 'Infinity' },
  { value: Number.NEGATIVE_INFINITY, text: '-Infinity' }
]

const WORDS: readonly Sample[] = [
  { value: null, text: 'null' },
  { value: true, text: 'true' },
  { value: false, text: 'false' }
]

class Samples {
  readonly #random: () => number

  constructor(seed: number) {
    this.#random = generator(seed)
  }

  below(limit: number): number {
    return Math.floor(this.#random() * limit)
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T
  }

  list<T>(most: number, make: () => T): T[] {
    return Array.from({ length: this.below(most + 1) }, make)
  }

  string(): string {
    return this.list(4, () => this.pick(FRAGMENTS)).join('')
  }

  integer(): Sample {
    const value = BigInt(`${this.pick(['', '-'])}${1 + this.below(9)}${this.list(24, () => this.below(10)).join('')}`)
    return { value: Number.isSafeInteger(Number(value)) ? Number(value) : value, text: String(value) }
  }

  value(depth: number): Sample {
    switch (this.below(depth > 0 ? 7 : 4)) {
      case 0:
        return this.pick(NUMBERS)
      case 1:
        return this.integer()
      case 2:
        return this.pick(WORDS)
      case 3: {
        const value = this.string()
        return { value, text: pythonString(value) }
      }
      case 4: {
        const items = this.list(4, () => this.value(depth - 1))
        return { value: items.map(({ value }) => value), text: `[${items.map(({ text }) => text).join(',')}]` }
      }
      default: {
        const items = Object.fromEntries(this.list(4, () => [this.string(), this.value(depth - 1)]))
        const members = Object.entries(items).map(([name, { text }]) => `${pythonString(name)}:${text}`)
        return {
          value: Object.fromEntries(Object.entries(items).map(([name, { value }]) => [name, value])),
          text: `{${members.join(',')}}`
        }
      }
    }
  }
}

t.test('what JSON can carry, bigint, NaN and ±Infinity are written as Python writes them, and read again', async (t) => {
  const samples = new Samples(1)
  for (let round = 0; round < 5000; round++) {
    const { value, text } = samples.value(4)
    if (stringify(value, 'name') !== text) t.equal(stringify(value, 'name'), text, `round ${round}: written`)
    if (!isDeepStrictEqual(parse(text), value)) t.strictSame(parse(text), value, `round ${round}: read`)
  }
  for (const { value, text } of [...NUMBERS, ...WORDS]) {
    t.equal(stringify(value, 'name'), text)
    t.ok(isDeepStrictEqual(parse(text), value), `reads ${text}`)
    t.ok(isDeepStrictEqual(parse(`[${text},"${text}"]`), [value, text]), `tells ${text} from the text "${text}"`)
  }
})

t.test('numbers that only Python writes are read', async (t) => {
  const numbers: [string, unknown][] = [
    ['1.0', 1],
    ['-0.0', -0],
    ['1e+16', 1e16],
    ['1E5', 1e5],
    ['0.12345678901234567890123', 0.12345678901234568],
    ['1234567890123456.5', 1234567890123456.5],
    ['12345678901234567.0', 12345678901234568],
    ['1234567890123456789e2', 123456789012345680000],
    ['1.234567890123456789E-3', 0.0012345678901234567],
    ['1e-1234567890123456', 0],
    ['1e400', Number.POSITIVE_INFINITY],
    ['-1e+1234567890123456', Number.NEGATIVE_INFINITY]
  ]
  for (const [text, value] of numbers) {
    t.ok(isDeepStrictEqual(parse(text), value), text)
    t.ok(
      isDeepStrictEqual(parse(`[18446744073709551616,${text} , "${text}"]`), [18446744073709551616n, value, text]),
      `${text} in an array`
    )
  }
})

t.test('a long integer is read exactly wherever it stands in the text', async (t) => {
  for (let before = 0; before < 40; before++) {
    for (const digits of ['9007199254740993', '18446744073709551616']) {
      const text = `["${'x'.repeat(before)}",${digits},"y"]`
      t.strictSame(parse(text), ['x'.repeat(before), BigInt(digits), 'y'], text)
    }
  }
})

t.test('what looks like a number inside a string stays text', async (t) => {
  for (const text of [
    '1234567890123456789',
    'n1234567890123456789',
    'NaN',
    ',NaN,',
    '":NaN',
    '\\":-Infinity',
    'x\\',
    '[18446744073709551616]'
  ]) {
    const data = { [text]: text, big: 18446744073709551616n, list: [text, Number.NaN] }
    t.ok(isDeepStrictEqual(parse(stringify(data, 'data')), data), text)
  }
})

t.test('white space between tokens is passed over', async (t) => {
  const text = ' {\n"a" :\t[ 18446744073709551616 , NaN ,"b" ] ,\r\n"c":-Infinity} '
  t.ok(isDeepStrictEqual(parse(text), { a: [18446744073709551616n, Number.NaN, 'b'], c: Number.NEGATIVE_INFINITY }))
})

t.test('strings of megabytes beside a long integer are read and written', async (t) => {
  const data = { text: '\\"é'.repeat(2_000_000), id: 18446744073709551616n }
  t.ok(isDeepStrictEqual(parse(stringify(data, 'data')), data))
})

t.test('what is no JSON is refused', async (t) => {
  const texts = [
    '',
    '{"a":1',
    '[1,]',
    "{'a':1}",
    '"\n"',
    'nan',
    '-NaN',
    '+Infinity',
    'NaNNaN',
    '[1NaN]',
    '[aNaN]',
    '[--12345678901234567]',
    '[01234567890123456]',
    '[-00000000000000000]',
    '{NaN:1}',
    '{-Infinity :1}',
    '{1234567890123456:1}',
    '[12345678901234567 12345678901234567]',
    '[0x12345678901234567]',
    '["1234567890123456',
    '["1234567890123456\\"]'
  ]
  for (const text of texts) t.throws(() => parse(text), { name: 'SyntaxError' }, JSON.stringify(text))
})

t.test('numbers beyond ±(2^53−1) are written as Python writes floats, and read again as numbers', async (t) => {
  const numbers: [number, string][] = [
    [2 ** 53, '9007199254740992.0'],
    [-(2 ** 53), '-9007199254740992.0'],
    [2 ** 53 + 2, '9007199254740994.0'],
    [9999999999999998, '9999999999999998.0'],
    [1e16, '1e+16'],
    [2 ** 60, '1.152921504606847e+18'],
    [Number('12345678901234567890'), '1.2345678901234567e+19'],
    [123456789012345680000, '1.2345678901234568e+20'],
    [1e21, '1e+21'],
    [-1e22, '-1e+22'],
    [1e300, '1e+300'],
    [Number.MAX_VALUE, '1.7976931348623157e+308'],
    [-Number.MAX_VALUE, '-1.7976931348623157e+308']
  ]
  for (const [number, text] of numbers) {
    t.equal(stringify(number, 'n'), text)
    t.equal(stringify({ list: [number] }, 'n'), `{"list":[${text}]}`)
    t.equal(stringify([number, 1n, new Date(0)], 'n'), `[${text},1,"1970-01-01T00:00:00.000Z"]`)
    for (const beside of ['', ',18446744073709551616', ',NaN']) t.equal((parse(`[${text}${beside}]`) as unknown[])[0], number, text)
  }
  t.equal(stringify(2 ** 53 - 1, 'n'), '9007199254740991')
  t.equal(stringify(Number.MIN_VALUE, 'n'), '5e-324')
  t.equal(stringify(-0, 'n'), '0', 'as in JSON')
  t.equal(stringify([-0, 1n], 'n'), '[0,1]')
  t.strictSame(parse('[9007199254740992,9007199254740991]'), [9007199254740992n, 9007199254740991], 'integers of others stay integers')
})

t.test('a number in a JSON body is a number again when it was stored', async (t) => {
  const body = JSON.parse('{"id":12345678901234567890,"list":[1e400,9007199254740993]}')
  t.strictSame(parse(stringify(body, 'body')), body)
})

t.test('a bigint is an integer of as many digits as Python reads', async (t) => {
  const most = 10n ** 4300n - 1n
  for (const value of [most, -most]) t.equal(parse(stringify(value, 'n')), value)
  for (const value of [most + 1n, -most - 1n])
    t.throws(() => stringify([value], 'n'), { name: 'TypeError', message: /more than 4300 digits/ })
})

/** Values of which JSON makes `{}`, `null` or less than was there, and the words for them. */
function refusedValues(): [unknown, string][] {
  const opaque = (type: string) => `an instance of ${type}, whose content is lost in JSON, cannot be stored`
  const cycle: Record<string, unknown> = { big: 1n }
  cycle.self = cycle
  // More paths than could ever be followed.
  const crowd = Array.from({ length: 30 }, (): unknown[] => [])
  for (const one of crowd) one.push(...crowd)
  class Secret {
    #value = 1
    get value() {
      return this.#value
    }
  }
  class Cart extends Map<number, number> {
    owner = 'Ada'
  }
  const invalidDate = 'an instance of Date that becomes null in JSON, such as an invalid date, cannot be stored'
  const hole = 'an array with undefined or a hole in it cannot be stored'
  const promise = 'a promise cannot be stored, is an await missing?'
  return [
    [new Map([[1, 2]]), opaque('Map')],
    [new Set([1]), opaque('Set')],
    [new WeakMap(), opaque('WeakMap')],
    [new WeakSet(), opaque('WeakSet')],
    [new WeakRef({}), opaque('WeakRef')],
    [/x/g, opaque('RegExp')],
    [new Error('x'), opaque('Error')],
    [Object.assign(new RangeError('x'), { code: 'E' }), opaque('RangeError')],
    [new DOMException('x'), opaque('DOMException')],
    [new FormData(), opaque('FormData')],
    [new Headers({ a: 'b' }), opaque('Headers')],
    [new URLSearchParams('a=b'), opaque('URLSearchParams')],
    [new Blob(['x']), opaque('Blob')],
    [new Response('x'), opaque('Response')],
    [new ArrayBuffer(8), opaque('ArrayBuffer')],
    [new SharedArrayBuffer(8), opaque('SharedArrayBuffer')],
    [new DataView(new ArrayBuffer(8)), opaque('DataView')],
    [new Uint8Array([1]), opaque('Uint8Array')],
    [new Float64Array(0), opaque('Float64Array')],
    [new BigInt64Array(1), opaque('BigInt64Array')],
    [Buffer.from('x'), opaque('Buffer')],
    // Newer engines have a global Iterator, which is the class of an iterator.
    [new Map().entries(), opaque('Iterator' in globalThis ? 'Iterator' : 'Object')],
    [new Intl.NumberFormat('en'), opaque('NumberFormat')],
    [new Secret(), opaque('Secret')],
    [new (class {})(), 'an instance of a class, whose content is lost in JSON, cannot be stored'],
    [new Cart([[1, 2]]), opaque('Cart')],
    [new String('x'), opaque('String')],
    [new Number(1), opaque('Number')],
    [new Boolean(false), opaque('Boolean')],
    [Object(1n), opaque('BigInt')],
    [Object(Symbol('x')), opaque('Symbol')],
    [runInNewContext('new Map([[1, 2]])'), opaque('Map')],
    [new Date(Number.NaN), invalidDate],
    [runInNewContext('new Date(NaN)'), invalidDate],
    [{ toJSON: () => null }, 'an instance of Object that becomes null in JSON, such as an invalid date, cannot be stored'],
    [{ toJSON: () => new Map() }, opaque('Map')],
    [{ toJSON: () => ({ inner: new Set() }) }, opaque('Set')],
    [{ toJSON: () => () => 1 }, 'a function cannot be stored'],
    [{ toJSON: () => new Date(0) }, opaque('Date')],
    [() => 'source text', 'a function cannot be stored'],
    [async () => 1, 'a function cannot be stored'],
    [class {}, 'a function cannot be stored'],
    [Symbol('x'), 'a symbol cannot be stored'],
    [Promise.resolve(1), promise],
    [createKnex({ client: 'better-sqlite3', useNullAsDefault: true })('users').first(), promise],
    [[undefined], hole],
    [new Array(1), hole],
    [Object.assign([1], { length: 3, 2: 3 }), hole],
    [[{ toJSON: () => undefined }], hole],
    [cycle, 'it contains itself'],
    [crowd, 'it contains itself'],
    [
      {
        get value() {
          throw new Error('a secret')
        }
      },
      'reading its content failed'
    ],
    [
      {
        toJSON() {
          throw new Error('a secret')
        }
      },
      'reading its content failed'
    ]
  ]
}

t.test('values of which JSON makes {} or null are refused at any depth, with a TypeError that names the key', async (t) => {
  for (const [value, reason] of refusedValues()) {
    const error = {
      name: 'TypeError',
      message: `Cannot store "the \\"key\\"" in the session: ${reason}; convert it to a JSON value, a bigint, NaN or ±Infinity`
    }
    for (const around of [
      value,
      [value],
      { a: { b: [1, { c: value }] } },
      [1n, value],
      { toJSON: () => [value] },
      [...new Array(2000).fill(0), value]
    ]) {
      t.throws(() => stringify(around, 'the "key"'), error, reason)
    }
  }
  for (const value of [undefined, { toJSON: () => undefined }]) {
    t.throws(() => stringify(value, 'key'), { name: 'TypeError', message: /"key" in the session: undefined/ })
  }
})

t.test('an error of a getter or of toJSON() is the cause, and its message is not repeated', async (t) => {
  const value = {
    toJSON() {
      throw new Error('a secret')
    }
  }
  t.throws(() => stringify(value, 'key'), { message: /^(?!.*secret)/, cause: { message: 'a secret' } })
})

t.test('values with a form in JSON are written in it, beside a special number too', async (t) => {
  class Point {
    x = 1
    y: unknown = undefined
    get sum() {
      return this.x
    }
  }
  class Money {
    constructor(readonly cents: bigint) {}
    toJSON(key: string) {
      return { key, cents: this.cents }
    }
  }
  class Tags extends Set<string> {
    toJSON() {
      return [...this]
    }
  }
  class Id extends Uint8Array {
    toJSON() {
      return 'id'
    }
  }
  const value = {
    date: new Date(0),
    url: new URL('https://example.org/é'),
    point: new Point(),
    money: new Money(2n ** 64n),
    tags: new Tags(['a']),
    id: new Id(),
    bare: Object.assign(Object.create(null), { a: 1 }),
    elsewhere: runInNewContext('({ a: [1, {}] })'),
    none: undefined,
    gone: { toJSON: () => undefined },
    empty: [{}, []]
  }
  const written =
    '"date":"1970-01-01T00:00:00.000Z","url":"https://example.org/%C3%A9","point":{"x":1},"money":{"key":"money","cents":18446744073709551616},"tags":["a"],"id":"id","bare":{"a":1},"elsewhere":{"a":[1,{}]},"empty":[{},[]]'
  t.equal(stringify(value, 'value'), `{${written}}`)
  t.equal(stringify([value, Number.NaN], 'value'), `[{${written}},NaN]`)
})

t.test('nesting of up to 500 levels is stored, whatever numbers are in it; more is refused', async (t) => {
  const nest = (levels: number, inner: unknown, wrap: (value: unknown) => unknown) => {
    let value = inner
    for (let level = 0; level < levels; level++) value = wrap(value)
    return value
  }
  const wraps = [(value: unknown) => [value], (value: unknown) => ({ a: value }), (value: unknown) => ({ toJSON: () => [value] })]
  for (const wrap of wraps) {
    for (const inner of [1, 'text', 12345678901234567890n, Number.NaN, 2 ** 60]) {
      const text = stringify(nest(500, inner, wrap), 'deep')
      t.equal(stringify(parse(text), 'deep'), text)
      for (const levels of [501, 4000, 20_000]) {
        t.throws(() => stringify(nest(levels, inner, wrap), 'deep'), {
          name: 'TypeError',
          message: /"deep" .*: it is nested more than 500 levels deep;/
        })
      }
    }
  }
  const wide = Array.from({ length: 1000 }, (_, index) => nest(10, index, (value) => [value]))
  t.equal(stringify(wide, 'wide'), JSON.stringify(wide))
})

t.test('text of any nesting is read', async (t) => {
  for (const inner of ['1', '12345678901234567890', 'NaN', '"1234567890123456"']) {
    const depth = 100_000
    let value = parse(`${'['.repeat(depth)}${inner}${']'.repeat(depth)}`)
    let levels = 0
    for (; Array.isArray(value); value = value[0]) levels++
    t.equal(levels, depth)
    t.ok(isDeepStrictEqual(value, parse(inner)), inner)
    t.throws(() => parse(`${'['.repeat(depth)}${inner}`), { name: 'SyntaxError' })
  }
})

t.test('megabytes of special numbers are read', async (t) => {
  const integers = Array.from({ length: 100_000 }, (_, index) => 10000000000000000n + BigInt(index))
  t.ok(isDeepStrictEqual(parse(`[${integers.join(',')}]`), integers))
  t.ok(
    isDeepStrictEqual(parse(`[${'NaN,-Infinity,'.repeat(100_000)}0]`), [
      ...new Array(100_000).fill([Number.NaN, Number.NEGATIVE_INFINITY]).flat(),
      0
    ])
  )
})

t.test('special numbers are found among thousands of values', async (t) => {
  const list = [...new Array(2000).fill(0), 12345678901234567890n, Number.NaN]
  t.strictSame(parse(stringify(list, 'value')), list)
  t.strictSame(parse(stringify({ list, date: new Date(0) }, 'value')), { list, date: '1970-01-01T00:00:00.000Z' })
})

t.test('an object is taken apart into the exact texts of its members, and put together again', async (t) => {
  const samples = new Samples(2)
  const space = () => samples.list(2, () => samples.pick([' ', '\n', '\t', '\r'])).join('')
  for (let round = 0; round < 2000; round++) {
    const members = new Map(samples.list(5, () => [samples.string(), samples.value(3)] as const))
    const compact = Array.from(members, ([name, { text }]) => `${pythonString(name)}:${text}`)
    const spaced = Array.from(members, ([name, { text }]) => `${space()}${pythonString(name)}${space()}:${space()}${text}${space()}`)
    const split = plain(splitObject(`${space()}{${spaced.join(',') || space()}}${space()}`))
    if (!isDeepStrictEqual([...split], [...members])) t.strictSame([...split], [...members], `round ${round}: split`)
    if (joinObject(split) !== `{${compact.join(',')}}`) t.equal(joinObject(split), `{${compact.join(',')}}`, `round ${round}: joined`)
  }
})

t.test('splitting keeps text that our writer would write otherwise', async (t) => {
  const text =
    '{"10":1.0,"9":"\\u0041\\/é","":-0.0,"__proto__":{"a" : 1e+16},"constructor":[ 1,\n2 ],"big":18446744073709551616,"\\ud83d":NaN}'
  const members = splitObject(text)
  t.strictSame([...members.keys()], ['10', '9', '', '__proto__', 'constructor', 'big', '\ud83d'], 'in their order')
  t.strictSame(
    Array.from(members.values(), (member) => member.text),
    ['1.0', '"\\u0041\\/é"', '-0.0', '{"a" : 1e+16}', '[ 1,\n2 ]', '18446744073709551616', 'NaN']
  )
  t.equal(members.get('9')?.value, 'A/é')
  t.strictSame(members.get('__proto__')?.value, { a: 1e16 })
  t.equal(members.get('big')?.value, 18446744073709551616n)
  t.equal(joinObject(members), text)
  t.equal(({} as Record<string, unknown>).a, undefined, 'no prototype was touched')
})

t.test('of a name that comes twice the last value counts', async (t) => {
  for (const text of ['{"a":1,"b":2,"a":{"c":3}}', '{"a":NaN,"b":2,"\\u0061":{"c":3}}']) {
    t.strictSame(
      [...plain(splitObject(text))],
      [
        ['a', { text: '{"c":3}', value: { c: 3 } }],
        ['b', { text: '2', value: 2 }]
      ]
    )
  }
})

t.test('only an object is taken apart', async (t) => {
  for (const text of [
    '[]',
    '[{"a":1}]',
    '1',
    '18446744073709551616',
    'NaN',
    '"{}"',
    'null',
    'true',
    '',
    '{',
    '{"a":1}x',
    '{"a"}',
    '{a:1}',
    '{NaN:"a"}'
  ]) {
    t.throws(() => splitObject(text), { name: 'SyntaxError' }, JSON.stringify(text))
  }
  t.equal(splitObject('{}').size, 0)
  t.equal(joinObject([]), '{}')
})

t.test('integers beyond 2^53−1 are found wherever they stand', async (t) => {
  for (let offset = 0; offset < 40; offset++) {
    const space = ' '.repeat(offset)
    t.strictSame(parse(`[${space}9007199254740993]`), [9007199254740993n], String(offset))
    t.strictSame(parse(`[${space}-12345678901234567890, 1]`), [-12345678901234567890n, 1], String(offset))
    t.strictSame(parse(`["${'1'.repeat(offset)}", 900719925474099]`), ['1'.repeat(offset), 900719925474099], String(offset))
  }
})
