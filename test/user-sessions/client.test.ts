import t from 'tap'
import { storedIp, storedUserAgent } from '../../lib/user-sessions/client.ts'
import { RecentlySeen } from '../../lib/user-sessions/recently-seen.ts'

t.test('an address is stored whole, as its network, or not at all', async (t) => {
  for (const [ip, full, prefix] of [
    ['203.0.113.77', '203.0.113.77', '203.0.113.0'],
    ['::ffff:203.0.113.77', '203.0.113.77', '203.0.113.0'],
    ['::FFFF:cb00:714d', '203.0.113.77', '203.0.113.0'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2:3:4:5:6', '2001:db8:1::'],
    ['2001:0DB8:0001:0000:0000:0000:0000:0006', '2001:db8:1::6', '2001:db8:1::'],
    ['2001:db8::6', '2001:db8::6', '2001:db8::'],
    ['fe80::1%eth0', 'fe80::1', 'fe80::'],
    ['::1', '::1', '::'],
    ['', '0.0.0.0', '0.0.0.0'],
    [undefined, '0.0.0.0', '0.0.0.0'],
    ['unknown', '0.0.0.0', '0.0.0.0'],
    ['203.0.113.77, 10.0.0.1', '0.0.0.0', '0.0.0.0'],
    ["'; DROP TABLE x", '0.0.0.0', '0.0.0.0']
  ] as const) {
    t.equal(storedIp(ip, 'full'), full, `${ip} whole`)
    t.equal(storedIp(ip, 'prefix'), prefix, `the network of ${ip}`)
    t.equal(storedIp(ip, false), '0.0.0.0')
  }
})

t.test('a user agent is stored without control characters, and cut', async (t) => {
  t.equal(storedUserAgent('Mozilla/5.0 (X11; Linux)', true), 'Mozilla/5.0 (X11; Linux)')
  t.equal(storedUserAgent('Mozilla/5.0', false), '')
  t.equal(storedUserAgent(undefined, true), '')
  t.equal(storedUserAgent(' \0a\r\nb\u001b[2Jc\u202ed ', true), 'a  b [2Jc d')
  t.equal(storedUserAgent('x'.repeat(10_000), true), 'x'.repeat(200))
  t.equal(storedUserAgent(`${'x'.repeat(199)}😀`, true), 'x'.repeat(199), 'no half of a character')
})

t.test('the sessions that were seen are forgotten when it is too long ago, and when there are too many', async (t) => {
  let now = 0
  const seen = new RecentlySeen(300, () => now)
  seen.add('a')
  now = 299_999
  t.ok(seen.has('a'))
  now = 300_000
  t.notOk(seen.has('a'))
  seen.add('a')
  for (let other = 0; other < 19_999; other++) seen.add(String(other))
  t.ok(seen.has('a'))
  seen.add('b')
  t.notOk(seen.has('a'), 'the oldest goes first')
  t.ok(seen.has('0') && seen.has('b'))
})
