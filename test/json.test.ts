import { isDeepStrictEqual } from 'node:util'
import t from 'tap'
import { joinObject, parse, splitObject, stringify } from '../lib/json.ts'
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

t.test('what JSON cannot carry is refused with a TypeError that names the key', async (t) => {
  const cycle: Record<string, unknown> = { big: 1n }
  cycle.self = cycle
  // As many ways through them as there are are never gone.
  const crowd = Array.from({ length: 30 }, (): unknown[] => [])
  for (const one of crowd) one.push(...crowd)
  const values: Record<string, unknown> = {
    undefined: undefined,
    'a function': () => 'source text',
    'a function inside': { list: [() => 'source text'] },
    'a symbol': Symbol('x'),
    'a symbol inside': [Symbol('x')],
    'a promise': Promise.resolve(1),
    'a promise inside': { a: [Promise.resolve(1)] },
    'a cycle': cycle,
    'a crowd of cycles': crowd,
    'a BigInt object': Object(1n),
    'a getter that throws': {
      get value() {
        throw new Error('thrown')
      }
    },
    'a function after thousands of values': [...new Array(2000).fill(0), () => 1],
    'a toJSON that gives nothing': { toJSON: () => undefined },
    'an invalid date beside a function': [new Date(Number.NaN), () => 1]
  }
  for (const [what, value] of Object.entries(values)) {
    t.throws(() => stringify(value, 'the "key"'), { name: 'TypeError', message: /^Cannot store "the \\"key\\"" in the session: / }, what)
  }
  t.throws(() => stringify(() => 'source text', 'key'), { message: /: a function cannot be stored; expected what JSON can carry/ })
})

t.test('what JSON leaves out is left out, beside a special number too', async (t) => {
  for (const extra of [1, 1n]) {
    const value = { date: new Date(0), none: undefined, list: [undefined], map: new Map([[1, 2]]), extra }
    t.equal(stringify(value, 'value'), '{"date":"1970-01-01T00:00:00.000Z","list":[null],"map":{},"extra":1}')
  }
})

t.test('special numbers are found among thousands of values', async (t) => {
  const list = [...new Array(2000).fill(0), 12345678901234567890n, Number.NaN]
  t.strictSame(parse(stringify(list, 'value')), list)
  t.strictSame(parse(stringify({ list, date: new Date(0) }, 'value')), { list, date: '1970-01-01T00:00:00.000Z' })
})

t.test('a String object is its text, beside a special number too', async (t) => {
  for (const text of ['hello', 'n1', '', 'no "JSON']) {
    t.strictSame(parse(stringify([new String(text), 1n], 'value')), [text, 1])
  }
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

t.test('what JSON.stringify cannot do by itself is found among any number of values', async (t) => {
  for (const length of [1000, 100_000, 100_001]) {
    const zeros = Array.from({ length }, () => 0)
    t.equal(stringify([...zeros, 1n], 'many'), `[${'0,'.repeat(length)}1]`, `${length} before it`)
    t.throws(() => stringify({ zeros, item: { inner: () => {} } }, 'many'), { message: /"many"/ })
  }
})
