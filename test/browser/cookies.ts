/** The cookie as the browser sees it: its flags over http and https, behind a proxy, in frames, and for other sites. */
import type { FastifyInstance } from 'fastify'
import type { Page } from 'playwright-core'
import { certificate, startTlsProxy } from './tls.ts'
import { add, check, cookieOf, countOf, keyOf, send } from './world.ts'

/** Two pages with one session, and its cookie without what differs each time. */
async function cookieOfTwoVisits(page: Page) {
  await page.goto('/')
  await page.reload()
  if ((await page.locator('.count').innerText()) !== '2') throw new Error('The browser did not send the cookie back.')
  const { value, expires, domain, ...flags } = await cookieOf(page)
  return flags
}

const flags = { name: 'sessionid', path: '/', httpOnly: true, sameSite: 'Lax', secure: false }
const ignoreHTTPSErrors = true

check('over http the cookie is HttpOnly, SameSite=Lax, for this host, and lasts two weeks', {}, async ({ t, visit }) => {
  const page = await visit()
  t.strictSame(await cookieOfTwoVisits(page), flags)
  const { domain, expires } = await cookieOf(page)
  t.equal(domain, '127.0.0.1')
  const days = (expires - Date.now() / 1000) / 86_400
  t.ok(days > 13.9 && days <= 14.01, `${days} days`)
  t.equal(await page.evaluate('document.cookie'), '')
})

check('over https the cookie is Secure', { server: { https: certificate } }, async ({ t, visit }) => {
  t.strictSame(await cookieOfTwoVisits(await visit({ ignoreHTTPSErrors })), { ...flags, secure: true })
})

for (const trustProxy of [true, false]) {
  const name = trustProxy ? 'is Secure if the proxy is trusted' : 'is not Secure if the proxy is not trusted, with a warning'
  const warnings = trustProxy ? [] : [/Set the option trustProxy of Fastify/]
  check(`behind a proxy that ends TLS the cookie ${name}`, { server: { trustProxy }, warnings }, async ({ t, visit, url }) => {
    const baseURL = await startTlsProxy(t, url)
    t.strictSame(await cookieOfTwoVisits(await visit({ baseURL, ignoreHTTPSErrors })), { ...flags, secure: trustProxy })
  })
}

const host = { name: '__Host-sessionid', secure: true } as const

check('a cookie __Host- is kept and sent', { server: { https: certificate }, sessions: { cookie: host } }, async ({ t, visit }) => {
  t.strictSame(await cookieOfTwoVisits(await visit({ ignoreHTTPSErrors })), { ...flags, ...host })
})

const planted = {
  server: { https: certificate },
  sessions: { cookie: host },
  prepare(site: FastifyInstance) {
    // A body of bytes: Node.js would send the headers in UTF-8 together with a string.
    site.get<{ Querystring: { key: string } }>('/plant/', (request, reply) => {
      reply.header('set-cookie', `\xa0${host.name}=${request.query.key}; Domain=site.test; Path=/`)
      return reply.type('text/html').send(Buffer.from('planted'))
    })
  }
}

check('a sibling host cannot plant a cookie that reads like one with the prefix __Host-', planted, async ({ t, visit, url }) => {
  const { port } = new URL(url)
  const mallory = await visit({ ignoreHTTPSErrors })
  for (let visits = 0; visits < 5; visits++) await mallory.goto(`https://site.test:${port}/`)
  const page = await visit({ ignoreHTTPSErrors })
  await page.goto(`https://site.test:${port}/`)
  await page.goto(`https://www.site.test:${port}/plant/?key=${await keyOf(mallory)}`)
  t.equal((await page.context().cookies(`https://site.test:${port}/`)).length, 2, 'the browser keeps both cookies')
  await page.goto(`https://site.test:${port}/`)
  t.equal(await page.locator('.count').innerText(), '2', 'the visitor goes on in the session of their own')
})

const embeddable = {
  server: { https: certificate },
  sessions: { cookie: { ...host, sameSite: 'none', partitioned: true } },
  prepare(site: FastifyInstance) {
    site.addHook('onSend', async (_request, reply) => {
      reply.removeHeader('content-security-policy')
    })
    site.get('/frame/', (request, reply) => reply.type('text/html').send(`<iframe src="https://site.test:${request.port}/"></iframe>`))
  }
} as const

check('a Partitioned cookie is another one below each site that embeds this one', embeddable, async ({ t, visit, url }) => {
  const page = await visit({ ignoreHTTPSErrors })
  const { port } = new URL(url)
  const count = page.frameLocator('iframe').locator('.count')
  for (const [top, expected] of [
    ['one', '1'],
    ['one', '2'],
    ['two', '1'],
    ['one', '3']
  ]) {
    await page.goto(`https://${top}.test:${port}/frame/`)
    t.equal(await count.innerText(), expected, `below ${top}`)
  }
  await page.goto(`https://site.test:${port}/`)
  t.equal(await page.locator('.count').innerText(), '1', 'by itself')
  const cookies = await page.context().cookies()
  t.strictSame(cookies.map(({ partitionKey }) => partitionKey).sort(), ['https://one.test', 'https://site.test', 'https://two.test'])
  t.ok(cookies.every(({ name, sameSite, secure, domain }) => name === host.name && sameSite === 'None' && secure && domain === 'site.test'))
})

const attacked = {
  refusals: [403],
  prepare(site: FastifyInstance) {
    site.get('/attack/', (request, reply) => {
      const form = `<form method="post" action="http://127.0.0.1:${request.port}/cart/"><button name="item" value="tea">Win a prize</button></form>`
      return reply.removeHeader('content-security-policy').type('text/html').send(form)
    })
  }
}

check('a form of another site changes neither the session nor its cookie', attacked, async ({ t, visit, url }) => {
  const page = await visit()
  await page.goto('/cart/')
  await add(page, 'tea')
  const key = await keyOf(page)
  await page.goto(`http://attacker.test:${new URL(url).port}/attack/`)
  await send(page, 'Win a prize')
  await page.getByText('This form was sent from another site.').waitFor()
  t.equal(await keyOf(page), key)
  await page.goto('/cart/')
  t.equal(await countOf(page, 'tea'), '1')
})
