import t from 'tap'
import { isCookieValue, readCookie } from '../lib/django/cookie-header.ts'

const read = (header: string | undefined) => readCookie(header, 'sessionid')

t.test('the value of the one cookie is found, whatever stands beside it', async (t) => {
  t.equal(read('sessionid=abc'), 'abc')
  t.equal(read('a=1; sessionid=abc; b=2'), 'abc')
  t.equal(read('a=1;sessionid=abc;b=2'), 'abc')
  t.equal(read(';; ;sessionid = abc ;'), 'abc')
  t.equal(read('a="x\\"y"; sessionid=abc'), 'abc')
})

t.test('there is no value without the header, nor from a cookie whose name only contains the name', async (t) => {
  for (const header of [
    undefined,
    '',
    'sessionid',
    'a=1',
    'xsessionid=abc',
    'sessionidx=abc',
    'x-sessionid=abc; sessionid2=abc',
    'SESSIONID=abc',
    'a=sessionid',
    'a=b=sessionid=abc',
    '=sessionid',
    '"sessionid"=abc'
  ]) {
    t.equal(read(header), null, String(header))
  }
  t.equal(read('xsessionid=1; sessionid=abc; sessionidx=2'), 'abc')
})

t.test('an empty value is a value', async (t) => {
  t.equal(read('sessionid='), '')
  t.equal(read('sessionid=  ; a=1'), '')
  t.equal(read('sessionid=""'), '')
})

t.test('of several the last one counts, as in Django', async (t) => {
  t.equal(read('sessionid=first; sessionid=last'), 'last')
  t.equal(read('sessionid=first; a=1; sessionid='), '')
  t.equal(read('sessionid=first; sessionid'), 'first', 'without = it is no cookie of that name')
})

t.test('percent signs stay', async (t) => {
  t.equal(read('sessionid=a%20b%'), 'a%20b%')
  t.equal(read('sessionid=%61bc'), '%61bc')
})

t.test('a quoted value loses its quotes and escapes, as in Python', async (t) => {
  for (const [value, plain] of [
    ['"abc"', 'abc'],
    ['"a b,c"', 'a b,c'],
    ['"\\141\\142c"', 'abc'],
    ['"\\"a\\\\b\\""', '"a\\b"'],
    ['"\\073\\054"', ';,'],
    ['"\\377"', 'ÿ'],
    ['"\\000"', '\0'],
    ['"\\400"', '400'],
    ['"\\18"', '18'],
    ['"\\\\141"', '\\141'],
    ['"a"b"', 'a"b'],
    ['"\\"', '\\']
  ] as const) {
    t.equal(read(`sessionid=${value}`), plain, value)
  }
})

t.test('quotes on one side only, and escapes outside quotes, stay', async (t) => {
  for (const value of ['"abc', 'abc"', '"', 'a"b"', '\\141', "'abc'"]) t.equal(read(`sessionid=${value}`), value)
})

t.test('control characters and other bytes are returned unchanged', async (t) => {
  for (const value of ['a\x01b', 'a\x7fb', 'a\tb', 'é', '\xff\xfe']) t.equal(read(`sessionid=${value}`), value)
})

t.test('the value goes up to the semicolon, equals signs and colons included', async (t) => {
  t.equal(read('sessionid=e30:1sAJWh:xLC=a==; a=1'), 'e30:1sAJWh:xLC=a==')
})

t.test('the name is any that a cookie can have', async (t) => {
  t.equal(readCookie('__Host-id=1; __Host.id=2', '__Host.id'), '2')
  t.equal(readCookie('a+b=1; a*b=2', 'a+b'), '1')
})

t.test('only spaces and tabs around a name are ignored: to a browser other white space is part of the name', async (t) => {
  t.equal(readCookie(' \t__Host-id \t=\t 1 ', '__Host-id'), '1')
  for (const character of ['\xa0', '\v', '\f', '\ufeff', '\u2003', '\x85', '\0', '\r', '\n']) {
    for (const planted of [`${character}__Host-id`, `__Host-id${character}`]) {
      t.equal(readCookie(`__Host-id=mine; ${planted}=planted`, '__Host-id'), 'mine', JSON.stringify(planted))
    }
  }
})

t.test('white space in a value is part of the value', async (t) => {
  t.equal(read('sessionid=\xa0abc\xa0'), '\xa0abc\xa0')
})

t.test('long headers are read in linear time', async (t) => {
  const header = `${'sessionid;'.repeat(100_000)}sessionid="${'\\'.repeat(100_000)}"`
  t.equal(read(header)?.length, 50_000)
})

t.test('a cookie carries what is visible and ASCII, but no semicolon', async (t) => {
  for (const text of ['', 'abc123', 'eyJhIjoxfQ:1kZ9Xa:s1gnature-_', '"quoted"', 'a,b\\c=d~!']) t.ok(isCookieValue(text), text)
  for (const text of ['a;b', 'a b', 'a\nb', 'a\rb', 'a\tb', 'a\0b', 'a\x7f', 'ä', '€']) t.notOk(isCookieValue(text), text)
})
