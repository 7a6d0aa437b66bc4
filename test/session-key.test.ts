import t from 'tap'
import { isSessionKey, newSessionKey } from '../lib/django/keys.ts'

t.test('a key is 32 characters from a–z and 0–9', async (t) => {
  for (let count = 0; count < 1000; count++) {
    const key = newSessionKey()
    if (!/^[a-z0-9]{32}$/.test(key)) t.fail(`got ${key}`)
    if (!isSessionKey(key)) t.fail(`${key} is no key`)
  }
})

t.test('no key is made twice', async (t) => {
  t.equal(new Set(Array.from({ length: 10_000 }, newSessionKey)).size, 10_000)
})

t.test('every character is equally likely, in every place', async (t) => {
  const keys = 20_000
  const places = 32
  const alphabet = 'abcdefghijklmnopqrstuvwxyz0123456789'
  const counts = Array.from({ length: places }, () => new Map<string, number>())
  for (let made = 0; made < keys; made++) {
    for (const [place, character] of [...newSessionKey()].entries()) {
      const count = counts[place] as Map<string, number>
      count.set(character, (count.get(character) ?? 0) + 1)
    }
  }
  const chiSquare = (observed: number[]) => {
    const expected = observed.reduce((sum, count) => sum + count, 0) / observed.length
    return observed.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0)
  }
  // 35 degrees of freedom: 200 is exceeded once in 10^24 runs. A byte modulo 36 gives a b c d one part in
  // seven more than the others, which makes about 1250 of 640 000 characters.
  const inAll = [...alphabet].map((character) => counts.reduce((sum, count) => sum + (count.get(character) ?? 0), 0))
  t.ok(chiSquare(inAll) < 200, `chi-square ${chiSquare(inAll)}`)
  for (const [place, count] of counts.entries()) {
    const observed = [...alphabet].map((character) => count.get(character) ?? 0)
    t.ok(chiSquare(observed) < 200, `chi-square ${chiSquare(observed)} in place ${place}`)
  }
})

t.test('8 to 40 printable ASCII characters can be a key', async (t) => {
  for (const text of ['12345678', 'a'.repeat(40), 'ABCDefgh', '!"#$%&()*+,-./:;<=>?@[]^_`{|}~']) t.equal(isSessionKey(text), true, text)
  for (const text of [
    '',
    '1234567',
    'a'.repeat(41),
    'with space',
    'control\x00',
    'control\x7f',
    'newline8\n',
    '\n12345678',
    'é'.repeat(8),
    'x'.repeat(1e6)
  ]) {
    t.equal(isSessionKey(text), false, JSON.stringify(text.slice(0, 50)))
  }
})
