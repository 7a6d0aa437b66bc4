import t from 'tap'
import { jsonSerializer, type Member, toObject, wrapSerializer } from '../lib/django/serializer.ts'

/** A serializer of an application: JSON, backwards. */
const backwards = {
  dumps: (data: Record<string, unknown>) => [...JSON.stringify(data)].reverse().join(''),
  loads: (text: string) => JSON.parse([...text].reverse().join('')) as Record<string, unknown>
}

t.test('the JSON serializer joins what it split to the same text', async (t) => {
  const text = '{"10":1.0,"9":18446744073709551616,"__proto__":"\\u0041","":[ ]}'
  const members = jsonSerializer.split(text)
  t.strictSame([...members.keys()], ['10', '9', '__proto__', ''])
  t.equal(jsonSerializer.join(members), text)
})

t.test('a member of the JSON serializer has its value and its text', async (t) => {
  const value = ['é']
  const member = jsonSerializer.member('list', value)
  t.equal(member.value, value)
  t.equal(member.text, '["\\u00e9"]')
  t.throws(() => jsonSerializer.member('the key', undefined), { name: 'TypeError', message: /"the key"/ })
})

t.test('members are the same when their texts are, absence included', async (t) => {
  const [one, float, again] = ['1', '1.0', '1'].map((text): Member => ({ text, value: 1 }))
  t.equal(jsonSerializer.same(one, again), true)
  t.equal(jsonSerializer.same(one, float), false)
  t.equal(jsonSerializer.same(one, undefined), false)
  t.equal(jsonSerializer.same(undefined, undefined), true)
})

t.test('what is changed inside a value after it was set is not in its text, nor in copies', async (t) => {
  for (const serializer of [jsonSerializer, wrapSerializer(backwards)]) {
    const value = [1, { a: 1 }]
    const member = serializer.member('list', value)
    const copy = serializer.copy(member) as unknown[]
    t.strictSame(copy, [1, { a: 1 }])
    copy.push(2)
    t.strictSame(value, [1, { a: 1 }], 'a copy is its own')
    value.push(3)
    t.strictSame(serializer.copy(member), [1, { a: 1 }])
    t.strictSame(toObject(serializer.split(serializer.join(new Map([['list', member]])))), { list: [1, { a: 1 }] })
    t.equal(serializer.same(member, serializer.member('list', member.value)), false, 'the change can be found')
    t.equal(serializer.copy(serializer.member('text', 'text')), 'text')
  }
})

t.test('any name is an own property of the object that members become', async (t) => {
  const data = toObject(jsonSerializer.split('{"__proto__":{"polluted":true},"constructor":1,"":2}'))
  t.strictSame(Object.keys(data), ['__proto__', 'constructor', ''])
  t.equal(data.polluted, undefined)
  t.equal(({} as Record<string, unknown>).polluted, undefined)
  t.equal(Object.getPrototypeOf(data), Object.prototype)
})

t.test("an application's serializer gets and gives plain objects", async (t) => {
  const serializer = wrapSerializer(backwards)
  const members = serializer.split('}]1[:"a",2:"b"{')
  t.strictSame(toObject(members), { b: 2, a: [1] })
  t.equal(serializer.join(members), '}]1[:"a",2:"b"{')
  t.throws(() => serializer.split('{'))
})

t.test("text of an application's serializer that does not fit in bytes is refused", async (t) => {
  const serializer = wrapSerializer({ dumps: JSON.stringify, loads: JSON.parse })
  t.equal(serializer.join(new Map([['é', serializer.member('é', 'ÿ')]])), '{"é":"ÿ"}')
  t.throws(() => serializer.join(new Map([['a', serializer.member('a', '本')]])), { name: 'TypeError', message: /Latin-1/ })
})

t.test("only objects are taken from an application's serializer", async (t) => {
  for (const text of ['[1]', '1', 'null', '"text"']) {
    t.throws(() => wrapSerializer({ dumps: JSON.stringify, loads: JSON.parse }).split(text), { name: 'TypeError' }, text)
  }
})

t.test("what an application's serializer refuses is refused by the name of the key", async (t) => {
  const refuse = () => wrapSerializer({ dumps: JSON.stringify, loads: JSON.parse }).member('the key', 1n)
  t.throws(refuse, { name: 'TypeError', message: /"the key"/, cause: { name: 'TypeError' } })
})

t.test("dumps of an application's serializer returns a string, and not later", async (t) => {
  const returning = (dumped: unknown) => wrapSerializer({ dumps: () => dumped as string, loads: JSON.parse })
  for (const [dumped, got] of [
    [undefined, 'undefined'],
    [Promise.reject(new Error('not handled')), 'an instance of Promise'],
    [Buffer.from('{}'), 'an instance of Buffer']
  ] as const) {
    const expected = { name: 'TypeError', message: `serializer.dumps: expected a string, got ${got}` }
    t.throws(() => returning(dumped).member('a', 1), expected)
    t.throws(() => returning(dumped).join(new Map()), expected)
  }
})

t.test("an application's serializer compares values", async (t) => {
  const serializer = wrapSerializer(backwards)
  const member = (value: unknown) => serializer.member('name', value)
  t.equal(serializer.same(member({ a: [1] }), member({ a: [1] })), true)
  t.equal(serializer.same(member({ a: [1] }), member({ a: ['1'] })), false)
  t.equal(serializer.same(member(1), undefined), false)
  t.equal(serializer.same(undefined, undefined), true)
})
