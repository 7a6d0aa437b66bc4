/** The cookie is the session. */
import { readFile } from 'node:fs/promises'
import t, { type Test } from 'tap'
import { TimestampSigner } from '../../lib/django/signing.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { addKeyRoutes, Browser, createApp, secretKey } from '../fixtures/app.ts'

const SALT = 'django.contrib.sessions.backends.signed_cookies'

function createSite(t: Test, options: Partial<SessionOptions> = {}) {
  return createApp(t, { engine: 'signed_cookies', ...options }, (app) => {
    app.get('/read', async (request) => (await request.session.load()).toObject())
    app.get<{ Querystring: { value: string } }>('/set', async (request) => String(request.session.set('a', request.query.value).modified))
    app.get<{ Querystring: { size: string } }>('/fill', async (request) =>
      String(request.session.set('pad', Array.from({ length: Number(request.query.size) }, (_, i) => (i * 7919) % 9973).join()).modified)
    )
    app.get<{ Querystring: { seconds: string } }>('/expiry', async (request) =>
      String(request.session.setExpiry(Number(request.query.seconds)).modified)
    )
    app.get('/untouched', async () => 'untouched')
    addKeyRoutes(app)
  })
}

t.test('cookies that Django signed are read, until they are too old', async (t) => {
  const { signed_cookies } = JSON.parse(await readFile(new URL('../fixtures/vectors/django-sessions.json', import.meta.url), 'utf8'))
  for (const { secret, timestamp, json, cookie, max_age, valid_until } of signed_cookies) {
    let now = timestamp
    const { app } = await createSite(t, { secretKey: secret, cookieAge: max_age, clock: () => new Date(now * 1000) })
    const read = async () => (await new Browser(app, cookie).get('/read')).json()
    t.strictSame(await read(), JSON.parse(json))
    now = valid_until - 1
    t.strictSame(await read(), JSON.parse(json))
    now = valid_until + 1
    t.strictSame(await read(), {})
  }
})

t.test('a session goes round in its cookie, in the form and with the salt of Django', async (t) => {
  const { app } = await createSite(t)
  const browser = new Browser(app)
  await browser.get('/set?value=h%C3%A9llo')
  t.strictSame((await browser.get('/read')).json(), { a: 'héllo' })
  const signer = new TimestampSigner({ secretKey, salt: SALT })
  t.equal(signer.unsignBytes(browser.cookie as string, 1000).toString(), '{"a":"h\\u00e9llo"}')
  await browser.get('/cycle')
  t.strictSame((await browser.get('/read')).json(), { a: 'héllo' })
  await browser.get('/flush')
  t.equal(browser.cookie, null)
})

t.test('a cookie that is forged, cut, or signed with another key or salt is no session', async (t) => {
  const { app } = await createSite(t)
  const browser = new Browser(app)
  await browser.get('/set?value=1')
  const good = browser.cookie as string
  const json = Buffer.from('{"a":"1"}')
  const forged = {
    'the last character': good.slice(0, -1) + (good.endsWith('A') ? 'B' : 'A'),
    'the first character': `x${good}`,
    'cut in the middle': good.slice(0, good.length / 2),
    'without the signature': good.split(':').slice(0, 2).join(':'),
    'another key': new TimestampSigner({ secretKey: 'another', salt: SALT }).signBytes(json, false),
    'another salt': new TimestampSigner({ secretKey, salt: 'django.contrib.sessions.SessionStore' }).signBytes(json, false)
  }
  for (const [what, cookie] of Object.entries(forged)) {
    t.strictSame((await new Browser(app, cookie).get('/read')).json(), {}, what)
  }
})

t.test('a former key still reads', async (t) => {
  const old = await createSite(t, { secretKey: 'old' })
  const browser = new Browser(old.app)
  await browser.get('/set?value=1')
  const { app } = await createSite(t, { secretKey: 'new', secretKeyFallbacks: ['old'] })
  t.strictSame((await new Browser(app, browser.cookie).get('/read')).json(), { a: '1' })
})

t.test('setExpiry is respected, unlike in Django', async (t) => {
  let now = new Date('2026-01-02T03:04:05Z')
  const { app } = await createSite(t, { clock: () => now })
  const browser = new Browser(app)
  await browser.get('/set?value=1')
  t.match((await browser.get('/expiry?seconds=60')).headers['set-cookie'], /Max-Age=60/)
  now = new Date('2026-01-02T03:05:04Z')
  t.match((await browser.get('/read')).json(), { a: '1' })
  now = new Date('2026-01-02T03:05:06Z')
  t.strictSame((await browser.get('/read')).json(), {})
})

t.test('saveEveryRequest signs anew', async (t) => {
  let now = new Date('2026-01-02T03:04:05Z')
  const { app } = await createSite(t, { clock: () => now, saveEveryRequest: true })
  const browser = new Browser(app)
  await browser.get('/set?value=1')
  const before = browser.cookie
  now = new Date('2026-01-02T04:04:05Z')
  await browser.get('/untouched')
  t.not(browser.cookie, before)
  t.strictSame((await browser.get('/read')).json(), { a: '1' })
})

t.test('what is too large for a cookie is an error before anything is sent', async (t) => {
  const { app } = await createSite(t)
  const browser = new Browser(app)
  await browser.get('/set?value=1')
  const before = browser.cookie
  t.equal((await browser.get('/fill?size=500')).statusCode, 200)
  const response = await browser.get('/fill?size=5000')
  t.match(response.json(), { statusCode: 500, code: 'FST_SESSION_COOKIE_TOO_LARGE' })
  t.notOk(response.headers['set-cookie'])
  t.not(browser.cookie, before)
})

t.test('a cookie inflates to at most 64 KiB, whatever maxSize allows', async (t) => {
  const { app } = await createApp(t, { engine: 'signed_cookies', maxSize: 10_000_000 }, (app) => {
    app.get<{ Querystring: { size: string } }>('/repeat', async (request) => {
      request.session.set('a', 'x'.repeat(Number(request.query.size)))
      return 'set'
    })
    app.get('/size', async (request) => (await request.session.load()).get('a', '').length)
  })
  const browser = new Browser(app)
  t.equal((await browser.get('/repeat?size=65528')).statusCode, 200)
  t.equal((await browser.get('/size')).body, '65528')
  const response = await browser.get('/repeat?size=65529')
  t.match(response.json(), { statusCode: 500, code: 'FST_SESSION_TOO_LARGE', message: /larger than 65536 bytes.*at most 65536/ })
  const bomb = new TimestampSigner({ secretKey, salt: SALT }).signBytes(Buffer.from(`{"a":"${'x'.repeat(2_000_000)}"}`), true)
  t.ok(bomb.length < 4096, 'a browser keeps it')
  t.equal((await new Browser(app, bomb).get('/size')).body, '0')
})
