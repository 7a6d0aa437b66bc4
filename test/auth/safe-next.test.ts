/** The way back after a login leads to no other site. */
import t from 'tap'
import { safeNext } from '../../lib/auth/index.ts'

const HOSTILE = [
  ...['/./%2fevil.example', '/%2e%2e/%5cevil.example', '/a/../%2Fevil.example', '/.%2f%2fevil.example', '/a/..%2f%2fevil.example'],
  ...['/a%2f..%2f/evil.example', '/a/%2e%2e%5C%5cevil.example', '/.%5cevil.example/..%2f%2f'],
  ...[
    '//evil.example',
    '///evil.example',
    '////evil.example/a',
    '//evil.example@localhost',
    '//user@evil.example',
    '//localhost@evil.example'
  ],
  ...['\\evil.example', '\\\\evil.example', '/\\evil.example', '\\/evil.example', '/\\/evil.example', '/a\\b', '/\\\\evil.example'],
  ...[
    'https:evil.example',
    'https:/evil.example',
    'https://evil.example',
    'http:///evil.example',
    'HTTPS://evil.example',
    'ftp://evil.example'
  ],
  ...[
    'javascript:alert(1)',
    'JavaScript:alert(1)',
    'data:text/html,a',
    'vbscript:a',
    'blob:a',
    'evil.example',
    '@evil.example',
    'user:pw@evil.example'
  ],
  ...[' //evil.example', ' /a', '/ /evil.example', '/a b', '\t//evil.example', '/\t/evil.example', '/\n/evil.example', '/\r/evil.example'],
  ...[
    '\u0000//evil.example',
    '/\u0000/evil.example',
    '/\u0008/evil.example',
    '\u001f/a',
    '/a\u007f',
    '/a\u0085',
    '/a\r\nset-cookie: a=b',
    '/a\n'
  ],
  ...['\u00a0//evil.example', '\u2028/a', '\ufeff//evil.example', '/\u00ad/evil.example', '/\u200b/evil.example', '/\u202e/evil.example'],
  ...['/%2Fevil.example', '/%2fevil.example', '/%5Cevil.example', '/%5cevil.example', '%2F%2Fevil.example', '%2Fa'],
  ...[
    '/.//evil.example',
    '/a/..//evil.example',
    '/%2e//evil.example',
    '/a/%2E%2e//evil.example',
    '/..//evil.example',
    '/a/b/../..//evil.example'
  ],
  ...[
    '/\uff0fevil.example',
    '\uff0f\uff0fevil.example',
    '/\u2044evil.example',
    '/\u2215evil.example',
    '/\uff3cevil.example',
    '/\u29f8evil.example'
  ],
  ...['', '?next=/a', '#a', 'a', './a', '../a', '/\ud800']
]

t.test('the way back leads to no other site, by none of the known tricks', async (t) => {
  t.strictSame(
    HOSTILE.filter((next) => safeNext(next, '/home') !== '/home'),
    []
  )
})

t.test('the way back is text', async (t) => {
  for (const next of [undefined, null, 1, ['/a'], { toString: () => '/a' }]) t.equal(safeNext(next, '/home'), '/home')
})

t.test('a path of this site is the way back, unchanged', async (t) => {
  const paths = [
    '/',
    '/a',
    '/a/b/?q=1&r=%2F%2F#part',
    '/@ada',
    '/a//b',
    '/a?next=//evil.example',
    '/a#//b',
    '/caf%C3%A9',
    '/a:b',
    '/a/../b',
    '/./a',
    '/a%2Fb/..%2Fc',
    '/a/%2e%2e/%2e/b'
  ]
  for (const next of paths) {
    t.equal(safeNext(next, '/home'), next)
    t.equal(new URL(next, 'https://our.example/login/').origin, 'https://our.example')
  }
})
