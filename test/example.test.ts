import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { buildSite } from '../examples/site/site.ts'
import { demoPasswords } from '../examples/site/users.ts'
import { root } from './fixtures/pages.ts'

type Site = Awaited<ReturnType<typeof buildSite>>

async function createSite(t: Test, filename = `${t.testdir()}/site.sqlite3`): Promise<Site> {
  const connection = { filename }
  const site = await buildSite({
    database: { client: 'better-sqlite3', connection, useNullAsDefault: true },
    secretKey: 'the secret key of the tests, as long as Django wants it'
  })
  t.teardown(() => site.close())
  return site
}

/** A browser: sends forms, and keeps the cookie that it was given last. */
class Browser {
  readonly #site: Site
  key: string | null = null

  constructor(site: Site) {
    this.#site = site
  }

  get(url: string, accept = 'text/html') {
    return this.#inject({ method: 'GET', url, headers: { accept } })
  }

  post(url: string, fields: Record<string, string> = {}, accept = 'text/html') {
    return this.#inject({
      method: 'POST',
      url,
      headers: { accept, 'content-type': 'application/x-www-form-urlencoded' },
      payload: new URLSearchParams(fields).toString()
    })
  }

  async signIn(username: string, password: string, url = '/login/', fields = {}) {
    await this.get(url)
    return this.post(url, { username, password, ...fields })
  }

  async #inject(request: { method: 'GET' | 'POST'; url: string; headers?: Record<string, string>; payload?: string }) {
    const cookies: Record<string, string> = this.key === null ? {} : { sessionid: this.key }
    const response = await this.#site.inject({ ...request, cookies })
    const cookie = response.cookies.find(({ name }) => name === 'sessionid')
    if (cookie !== undefined) this.key = cookie.maxAge === 0 ? null : cookie.value
    return response
  }
}

t.test('three sites start on one new file at the same time', async (t) => {
  const connection = { filename: `${t.testdir()}/site.sqlite3` }
  const database = { client: 'better-sqlite3', connection, useNullAsDefault: true }
  const sites = await Promise.all([1, 2, 3].map(() => buildSite({ database, secretKey: 'the secret key of the tests' })))
  for (const site of sites) {
    t.match((await new Browser(site).get('/')).body, '<strong class="count">1</strong>')
    await site.close()
  }
})

t.test('users see where they are signed in, and sign out there', async (t) => {
  const site = await createSite(t)
  const [laptop, phone, other] = [new Browser(site), new Browser(site), new Browser(site)]
  t.match(await laptop.get('/my-sessions/'), { statusCode: 302, headers: { location: '/login/?next=/my-sessions/' } })
  for (const browser of [laptop, phone]) await browser.signIn('ada', demoPasswords.ada)
  await other.signIn('grace', demoPasswords.grace)
  const { body } = await laptop.get('/my-sessions/')
  t.match(body, 'You are signed in here and in 1 other place.')
  t.match(body, /\(this device\)/)
  for (const { key } of [laptop, phone]) t.notMatch(body, key as string)
  const id = /name="id" value="(\d+)"/.exec(body)?.[1] as string
  t.match(await other.post('/my-sessions/end/', { id }), { statusCode: 303 })
  t.match((await other.get('/my-sessions/')).body, 'That session had ended already.')
  t.match((await phone.get('/account/')).statusCode, 200)
  await laptop.post('/my-sessions/end/', { id })
  t.match((await laptop.get('/my-sessions/')).body, /That session has ended\..+You are signed in here only\./s)
  t.match((await phone.get('/account/')).statusCode, 302)
  await phone.signIn('ada', demoPasswords.ada)
  await laptop.post('/my-sessions/end-others/')
  t.match((await laptop.get('/my-sessions/')).body, 'You have signed out in 1 other place.')
  t.match((await phone.get('/account/')).statusCode, 302)
})

t.test('the counter counts visits per browser', async (t) => {
  const site = await createSite(t)
  const browser = new Browser(site)
  await browser.get('/')
  t.match((await browser.get('/')).body, '<strong class="count">2</strong> times')
  t.match((await new Browser(site).get('/')).body, '<strong class="count">1</strong> time.')
})

t.test('the counter counts every one of 20 parallel visits', async (t) => {
  const browser = new Browser(await createSite(t))
  await browser.get('/')
  const responses = await Promise.all(Array.from({ length: 20 }, () => browser.get('/')))
  t.ok(responses.every(({ statusCode }) => statusCode === 200))
  t.match((await browser.get('/')).body, '<strong class="count">22</strong>')
})

t.test('the cart is filled and emptied, and the next page says so, once', async (t) => {
  const browser = new Browser(await createSite(t))
  for (const item of ['tea', 'bread', 'tea']) {
    t.match(await browser.post('/cart/', { item }), { statusCode: 303, headers: { location: '/cart/' } })
  }
  const { body } = await browser.get('/cart/')
  t.match(body, /Tea<\/th>\s*<td class="number">2</)
  t.match(body, /Bread<\/th>\s*<td class="number">1</)
  t.match(body, /Apples<\/th>\s*<td class="number">0</)
  t.match(body, /Added: tea.*Added: bread.*Added: tea/s)
  t.notMatch((await browser.get('/cart/')).body, 'Added')
  await browser.post('/cart/empty/')
  const emptied = (await browser.get('/cart/')).body
  t.match(emptied, 'Your cart is empty.')
  t.match(emptied, /Tea<\/th>\s*<td class="number">0</)
})

t.test('the cart keeps every one of 20 parallel additions', async (t) => {
  const browser = new Browser(await createSite(t))
  await browser.get('/')
  const items = ['tea', 'bread', 'apples', 'tea']
  await Promise.all(Array.from({ length: 20 }, (_, i) => browser.post('/cart/', { item: String(items[i % 4]) })))
  const { body } = await browser.get('/cart/')
  t.match(body, /Tea<\/th>\s*<td class="number">10</)
  t.match(body, /Bread<\/th>\s*<td class="number">5</)
})

t.test('an item that is none is refused with a page', async (t) => {
  const browser = new Browser(await createSite(t))
  const response = await browser.post('/cart/', { item: '"><script>' })
  t.match(response, { statusCode: 400, headers: { 'content-type': 'text/html; charset=utf-8' } })
  t.match(response.body, 'The form was not filled in as expected.')
  t.match(response.body, '<a href="/">Go to the start page</a>')
  t.equal(browser.key, null)
})

t.test('a form of another site is refused, and sets no cookie', async (t) => {
  const site = await createSite(t)
  for (const [statusCode, sent] of [
    [403, { 'sec-fetch-site': 'cross-site' }],
    [403, { 'sec-fetch-site': 'same-site', origin: 'https://shop.example' }],
    [303, { 'sec-fetch-site': 'same-origin', origin: 'https://shop.example' }],
    [303, { 'sec-fetch-site': 'none' }],
    [403, { origin: 'http://evil.example' }],
    [403, { origin: 'http://evil-shop.example' }],
    [403, { origin: 'null' }],
    [303, { origin: 'http://shop.example' }],
    [303, {}]
  ] as const) {
    const response = await site.inject({
      method: 'POST',
      url: '/cart/',
      headers: { host: 'shop.example', 'content-type': 'application/x-www-form-urlencoded', ...sent },
      payload: 'item=tea'
    })
    t.equal(response.statusCode, statusCode, JSON.stringify(sent))
    t.equal(response.cookies.length, statusCode === 303 ? 1 : 0, JSON.stringify(sent))
  }
})

t.test('a visitor comments only once', async (t) => {
  const site = await createSite(t)
  const browser = new Browser(site)
  const empty = await browser.post('/comments/', { comment: ' \n' })
  t.equal(empty.statusCode, 400)
  t.match(empty.body, 'Your comment is empty.')
  t.equal((await browser.post('/comments/', { comment: 'the first one' })).statusCode, 303)
  const second = await browser.post('/comments/', { comment: 'a second one' })
  t.equal(second.statusCode, 403)
  t.match(second.body, 'You have already commented.')
  t.match(second.body, '<li>the first one</li>')
  t.notMatch(second.body, 'a second one')
  t.equal((await new Browser(site).post('/comments/', { comment: 'of another' })).statusCode, 303)
})

t.test('what visitors write is shown as text', async (t) => {
  const browser = new Browser(await createSite(t))
  await browser.post('/comments/', { comment: `<script>alert("1" & '2')</script>` })
  const { body } = await browser.get('/comments/')
  t.notMatch(body, '<script>')
  t.match(body, '<li>&#60;script&#62;alert(&#34;1&#34; &#38; &#39;2&#39;)&#60;/script&#62;</li>')
})

const toLogin = { statusCode: 302, headers: { location: '/login/?next=/account/' } }

t.test('whoever signs in for a page gets to that page, after a wrong password too', async (t) => {
  const browser = new Browser(await createSite(t))
  t.match(await browser.get('/account/'), toLogin)
  const url = '/login/?next=/comments/%3Fpage%3D2'
  t.equal((await browser.signIn('ada', 'a wrong password', url)).statusCode, 403)
  t.match((await browser.get(url)).body, '<form method="post">')
  t.match(await browser.signIn('ada', demoPasswords.ada, url), { statusCode: 303, headers: { location: '/comments/?page=2' } })
  t.match(await browser.get(url), { statusCode: 303, headers: { location: '/comments/?page=2' } })
})

t.test('signing in leads to no other site', async (t) => {
  const site = await createSite(t)
  for (const next of ['https://example.com/', '//example.com', '/\\example.com']) {
    const browser = new Browser(site)
    const url = `/login/?next=${encodeURIComponent(next)}`
    t.match(await browser.signIn('ada', demoPasswords.ada, url), { statusCode: 303, headers: { location: '/account/' } }, next)
    t.match(await browser.get(url), { statusCode: 303, headers: { location: '/account/' } }, next)
  }
})

t.test('signing in changes the key and keeps the data', async (t) => {
  const site = await createSite(t)
  const browser = new Browser(site)
  await browser.get('/')
  const anonymousKey = String(browser.key)
  t.match(await browser.signIn('ada', demoPasswords.ada), { statusCode: 303, headers: { location: '/account/' } })
  t.not(browser.key, anonymousKey)
  t.equal(await site.sessions.model.find(anonymousKey), null)
  t.match((await site.sessions.open(browser.key).load()).toObject(), {
    _auth_user_id: '1',
    _auth_user_backend: 'django.contrib.auth.backends.ModelBackend'
  })
  t.match((await browser.get('/account/')).body, 'Hello, ada.')
  t.match((await browser.get('/')).body, '<strong class="count">2</strong>')
})

t.test('pages of a user who is signed in are not stored', async (t) => {
  const browser = new Browser(await createSite(t))
  t.equal((await browser.get('/')).headers['cache-control'], undefined)
  await browser.signIn('ada', demoPasswords.ada)
  for (const url of ['/', '/cart/', '/comments/', '/session/', '/account/']) {
    t.equal((await browser.get(url)).headers['cache-control'], 'no-store', url)
  }
})

t.test('a second user inherits nothing of the first one', async (t) => {
  const site = await createSite(t)
  const browser = new Browser(site)
  await browser.signIn('ada', demoPasswords.ada)
  await browser.post('/cart/', { item: 'tea' })
  const adasKey = String(browser.key)
  // The form of another tab, which was opened before.
  const session = await site.sessions.open(adasKey).load()
  await session.setTestCookie().save()
  t.equal((await browser.post('/login/', { username: 'grace', password: demoPasswords.grace })).statusCode, 303)
  t.equal(await site.sessions.model.find(adasKey), null)
  t.match((await browser.get('/account/')).body, 'Hello, grace.')
  t.match((await browser.get('/cart/')).body, /Tea<\/th>\s*<td class="number">0</)
})

t.test('a wrong password and an unknown user are refused alike', async (t) => {
  const browser = new Browser(await createSite(t))
  const wrong = await browser.signIn('ada', demoPasswords.grace)
  const unknown = await browser.signIn('nobody', demoPasswords.ada)
  t.equal(wrong.statusCode, 403)
  t.match(wrong.body, 'User and password do not match.')
  t.equal(unknown.statusCode, 403)
  t.equal(unknown.body, wrong.body.replace('value="ada"', 'value="nobody"'))
  t.match(await browser.get('/account/'), toLogin)
})

t.test('a browser that keeps no cookies is told so', async (t) => {
  const browser = new Browser(await createSite(t))
  await browser.get('/login/')
  browser.key = null
  const response = await browser.post('/login/', { username: 'ada', password: demoPasswords.ada })
  t.equal(response.statusCode, 403)
  t.match(response.body, 'Your browser sent no cookie.')
})

t.test('a login lasts until the browser closes, unless it is to be kept', async (t) => {
  const site = await createSite(t)
  for (const [fields, maxAge] of [
    [{}, undefined],
    [{ remember: 'on' }, 1_209_600]
  ] as const) {
    const response = await new Browser(site).signIn('ada', demoPasswords.ada, '/login/', fields)
    t.equal(response.cookies[0]?.maxAge, maxAge)
  }
})

t.test('signing out ends the session for whoever has its key, and sets a new one', async (t) => {
  const site = await createSite(t)
  const browser = new Browser(site)
  await browser.signIn('ada', demoPasswords.ada)
  const key = browser.key
  const response = await browser.post('/logout/')
  t.match(response, { statusCode: 303, headers: { location: '/login/' } })
  t.match(response.cookies, [{ name: 'sessionid', value: /^[a-z0-9]{32}$/ }])
  t.not(browser.key, key)
  t.equal(await site.sessions.model.find(String(key)), null)
  t.match((await browser.get('/login/')).body, 'You have signed out.')
  browser.key = key
  t.match(await browser.get('/account/'), toLogin)
})

t.test('the page of the session shows its row, and of the session key only the beginning', async (t) => {
  const browser = new Browser(await createSite(t))
  t.match((await browser.get('/session/')).body, 'You have none yet')
  await browser.get('/')
  const key = String(browser.key)
  const { body } = await browser.get('/session/')
  t.match(body, `<code>${key.slice(0, 4)}…</code>`)
  t.notMatch(body, key.slice(0, 5))
  t.match(body, /data-seconds="12096\d\d">in 14 days</)
  t.match(body, '&#34;num_visits&#34;: 1')
})

t.test('files and unknown pages make no session', async (t) => {
  const browser = new Browser(await createSite(t))
  const css = await browser.get('/style.css')
  t.match(css, { statusCode: 200, headers: { 'content-type': 'text/css; charset=utf-8' } })
  t.equal(css.headers.vary, undefined)
  const unknown = await browser.get('/nowhere')
  t.equal(unknown.statusCode, 404)
  t.match(unknown.body, 'There is no such page.')
  t.equal(browser.key, null)
})

t.test('a page that does not exist knows who is signed in', async (t) => {
  const browser = new Browser(await createSite(t))
  await browser.signIn('ada', demoPasswords.ada)
  const { body, statusCode } = await browser.get('/nowhere/')
  t.equal(statusCode, 404)
  t.match(body, 'Signed in as <a href="/account/">ada</a>.')
})

t.test('comments and who wrote them survive a restart', async (t) => {
  const filename = `${t.testdir()}/site.sqlite3`
  const before = await createSite(t, filename)
  const browser = new Browser(before)
  await browser.post('/comments/', { comment: 'kept' })
  await before.close()
  const after = new Browser(await createSite(t, filename))
  after.key = browser.key
  const { body } = await after.get('/comments/')
  t.match(body, '<li>kept</li>')
  t.match(body, 'your session remembers that you wrote yours')
})

t.test('of twenty requests at once all are counted, and fewer where the last write wins', async (t) => {
  const browser = new Browser(await createSite(t))
  await browser.post('/experiments/at-once/begin/')
  const replies = await Promise.all(Array.from({ length: 20 }, () => browser.post('/experiments/at-once/')))
  t.ok(replies.every(({ statusCode }) => statusCode === 200))
  const { body } = await browser.get('/experiments/at-once/result/')
  const [here, elsewhere] = Array.from(body.matchAll(/<strong>(\d+)<\/strong> of 20 counted/g), ([, count]) => Number(count))
  t.equal(here, 20)
  t.ok(Number(elsewhere) < 20, `${elsewhere} of 20`)
})

t.test('a request that is running when the user signs out brings nothing back', async (t) => {
  const site = await createSite(t)
  const browser = new Browser(site)
  const { body } = await browser.post('/experiments/late-logout/')
  t.match(body, /wants to save: <strong>400<\/strong>, and no cookie/)
  t.match(body, /The row afterwards: <strong>none<\/strong>/)
  const again = await Promise.all([1, 2, 3].map(() => browser.post('/experiments/late-logout/')))
  t.ok(
    again.every((reply) => reply.body.includes('<strong>none</strong>')),
    'runs at the same time do not disturb each other'
  )
})

t.test('the session that ends in twenty seconds ends, and its key is not shown', async (t) => {
  let now = new Date()
  const site = await buildSite({
    database: { client: 'better-sqlite3', connection: { filename: `${t.testdir()}/site.sqlite3` }, useNullAsDefault: true },
    secretKey: 'the secret key of the tests, as long as Django wants it',
    sessions: { clock: () => now }
  })
  t.teardown(() => site.close())
  const begun = await site.inject({ method: 'POST', url: '/experiments/ending/' })
  const [{ name, value } = { name: '', value: '' }] = begun.cookies
  t.equal(name, 'ending')
  t.notMatch(begun.body, value)
  const look = () => site.inject({ url: '/experiments/ending/', headers: { cookie: `ending=${value}` } })
  t.match((await look()).body, 'It still has its word')
  now = new Date(now.getTime() + 20_000)
  t.match((await look()).body, 'It has ended.')
})

t.test('an experiment is a part of a page for the script, and a page where none runs', async (t) => {
  const browser = new Browser(await createSite(t))
  await browser.get('/')
  const part = await browser.post('/experiments/row/', {}, 'text/plain')
  t.match(part.body, 'session_data')
  t.notMatch(part.body, '<html')
  const page = await browser.post('/experiments/row/')
  t.match(page.body, '<title>The row')
  t.notMatch(page.body, String(browser.key))
})

t.test('the code on the page is the code that runs', async (t) => {
  const browser = new Browser(await createSite(t))
  const { body } = await browser.get('/')
  for (const line of ['counted + 1', 'app.sessions.model.find(key)', 'request.session.flush()', 'setExpiry(SECONDS)']) t.match(body, line)
})

t.test('the folder can be copied: it imports only itself and what its package.json names', async (t) => {
  const folder = join(root, 'examples/site')
  const { dependencies, scripts } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))
  t.ok(files.length > 15)
  for (const file of files) {
    for (const [, imported = ''] of readFileSync(join(folder, file), 'utf8').matchAll(/ from '([^']+)'/g)) {
      if (imported.startsWith('.')) t.notMatch(join('/site', file, '..', imported), /^\/(?!site\/)/, `${file}: ${imported}`)
      else if (!imported.startsWith('node:'))
        t.ok(imported.replace(/^((?:@[^/]+\/)?[^/]+).*/, '$1') in dependencies, `${file}: ${imported}`)
    }
  }
  t.equal(scripts.start, 'tsx server.ts')
})
