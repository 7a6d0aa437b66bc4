/** Operations of the store that come after the commit of a reply: the cookie follows while it can, and a warning says what happened after that. */
import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { createAuth } from '../../lib/auth/index.ts'
import sessions, { MemoryCache, type SessionOptions } from '../../lib/index.ts'
import { Browser, createApp, createServer, gate, memorySettings, warnings } from '../fixtures/app.ts'

type Change = (request: FastifyRequest) => Promise<unknown>

const user = { id: 7, password: 'pbkdf2_sha256$1$salt$hash' }
const { login } = createAuth({ getUser: () => user })

const CHANGES = {
  save: async ({ session }) => session.set('late', 1).save(),
  cycleKey: async ({ session }) => session.cycleKey(),
  login: async (request) => login(request, user),
  regenerate: async ({ session }) => {
    await session.regenerate()
    await session.set('late', 1).save()
  },
  flush: async ({ session }) => session.flush(),
  set: async ({ session }) => session.set('late', 1)
} satisfies Record<string, Change>

type ChangeName = keyof typeof CHANGES

/** The changes that run after a reply, so that a test can wait for them. */
let work: Promise<unknown>

/** Where a change comes too late for the headers. */
const PLACES: Record<string, (app: FastifyInstance, url: string, change: Change) => void> = {
  'in onResponse': (app, url, change) => {
    const onResponse: Change = (request) => {
      work = change(request)
      return work
    }
    app.get(url, { onResponse }, async () => 'sent')
  },
  'in a stream': (app, url, change) => {
    app.get(url, async (request, reply) => {
      const stream = async function* () {
        yield 'sent'
        work = change(request)
        await work
      }
      return reply.send(Readable.from(stream()))
    })
  },
  'after reply.hijack()': (app, url, change) => {
    app.get(url, async (request, reply) => {
      reply.hijack()
      reply.raw.writeHead(200)
      work = change(request)
      await work
      reply.raw.end('sent')
    })
  },
  'before reply.hijack()': (app, url, change) => {
    app.get(url, async (request, reply) => {
      work = change(request)
      await work
      reply.hijack()
      reply.raw.writeHead(200, reply.getHeaders() as Record<string, string>)
      reply.raw.end('sent')
    })
  }
}

const nextTurn = () => new Promise(setImmediate)

async function createSite(t: Test, options: Partial<SessionOptions>, routes: (app: FastifyInstance) => void) {
  const { app, logs } = await createApp(t, options, (app) => {
    app.get('/start', async ({ session }) => String(session.set('start', 1).modified))
    app.get('/read', async ({ session }) => (await session.load()).toObject())
    routes(app)
  })
  return { app, logs, data: async (browser: Browser) => Object.keys((await browser.get('/read')).json()) }
}

/** What is logged for a visitor with a session, and for one without. */
const EXPECTED: Record<ChangeName, Record<'known' | 'anonymous', string[]>> = {
  save: { known: [], anonymous: ['FST_SESSION_COOKIE_NOT_SENT'] },
  cycleKey: { known: ['FST_SESSION_COOKIE_NOT_SENT'], anonymous: [] },
  login: { known: ['FST_SESSION_COOKIE_NOT_SENT'], anonymous: ['FST_SESSION_CHANGED_AFTER_REPLY'] },
  regenerate: { known: ['FST_SESSION_COOKIE_NOT_SENT'], anonymous: ['FST_SESSION_COOKIE_NOT_SENT'] },
  flush: { known: [], anonymous: [] },
  set: { known: ['FST_SESSION_CHANGED_AFTER_REPLY'], anonymous: ['FST_SESSION_CHANGED_AFTER_REPLY'] }
}

for (const [place, add] of Object.entries(PLACES)) {
  t.test(`a key that the browser is not told of is reported, ${place}; what was carried out is not`, async (t) => {
    const site = await createSite(t, memorySettings(), (app) => {
      for (const [name, change] of Object.entries(CHANGES)) add(app, `/${name}`, change)
    })
    for (const name of Object.keys(CHANGES) as ChangeName[]) {
      for (const visitor of ['known', 'anonymous'] as const) {
        const browser = new Browser(site.app)
        if (visitor === 'known') await browser.get('/start')
        site.logs.length = 0
        await browser.get(`/${name}`)
        await work
        await nextTurn()
        const codes = warnings(site.logs).map(({ code, route }) => `${code} ${route}`)
        t.strictSame(
          codes,
          EXPECTED[name][visitor].map((code) => `${code} /${name}`),
          `${name}, ${visitor}`
        )
        const isGone = visitor === 'anonymous' || name === 'flush' || EXPECTED[name].known.includes('FST_SESSION_COOKIE_NOT_SENT')
        const left = name === 'save' ? ['start', 'late'] : ['start']
        t.strictSame(await site.data(browser), isGone ? [] : left, `${name}, ${visitor}`)
      }
    }
  })
}

t.test('an onSend hook of a route may store the session under a new key, or end it: the cookie says so', async (t) => {
  const site = await createSite(t, memorySettings(), (app) => {
    for (const [name, change] of Object.entries(CHANGES)) {
      const onSend: Change = async (request) => void (await change(request))
      app.get(`/${name}`, { onSend }, async (request, reply) => {
        reply.header('set-cookie', 'theme=dark')
        request.session.set('early', 1)
        return 'sent'
      })
    }
  })
  for (const name of ['save', 'cycleKey', 'regenerate', 'flush'] as const) {
    for (const visitor of ['known', 'anonymous'] as const) {
      const browser = new Browser(site.app)
      if (visitor === 'known') await browser.get('/start')
      site.logs.length = 0
      const { headers } = await browser.get(`/${name}`)
      await nextTurn()
      t.strictSame(warnings(site.logs), [], `${name}, ${visitor}`)
      t.match(headers['set-cookie'], [/^theme=dark/, name === 'flush' ? /^sessionid=;/ : /^sessionid=\w/], 'one line for each cookie')
      t.equal(headers['set-cookie']?.length, 2)
      const names = visitor === 'known' ? ['start', 'early'] : ['early']
      const left = { save: [...names, 'late'], cycleKey: names, regenerate: ['late'], flush: [] }
      t.strictSame(await site.data(browser), left[name], `${name}, ${visitor}`)
    }
  }
})

t.test('a new key after saveSession(), before the headers: the browser gets it', async (t) => {
  const site = await createSite(t, memorySettings(), (app) => {
    app.get('/', async (request, reply) => {
      request.session.set('a', 1)
      await reply.saveSession()
      await request.session.cycleKey()
      return 'sent'
    })
  })
  const browser = new Browser(site.app)
  t.equal((await browser.get('/')).cookies.length, 1)
  t.strictSame(await site.data(browser), ['a'])
  t.strictSame(warnings(site.logs), [])
})

t.test('with signed_cookies what is stored after the headers is lost, and a logout too', async (t) => {
  const site = await createSite(t, { engine: 'signed_cookies' }, (app) => {
    for (const name of ['save', 'flush'] as const) PLACES['in onResponse']?.(app, `/${name}`, CHANGES[name])
  })
  for (const name of ['save', 'flush'] as const) {
    const browser = new Browser(site.app)
    await browser.get('/start')
    site.logs.length = 0
    await browser.get(`/${name}`)
    await work
    await nextTurn()
    t.match(warnings(site.logs), [{ code: 'FST_SESSION_CHANGED_AFTER_REPLY', msg: /the change is lost/ }])
    t.notMatch(warnings(site.logs)[0]?.msg, /session\.save/)
    t.strictSame(await site.data(browser), ['start'])
  }
})

t.test('save() is recommended where the browser has a cookie', async (t) => {
  const site = await createSite(t, memorySettings(), (app) => PLACES['in onResponse']?.(app, '/', CHANGES.set))
  const browser = new Browser(site.app)
  for (const url of ['/', '/start', '/']) await browser.get(url)
  await nextTurn()
  t.strictSame(
    warnings(site.logs).map(({ msg }) => /or await session\.save\(\)/.test(String(msg))),
    [false, true]
  )
})

t.test('a session that was saved by a hook before the plugin, for a reply that Fastify does not send, is reported', async (t) => {
  const { app, logs } = createServer(t)
  app.addHook('onRequest', async (request) => {
    if (request.url === '/') await request.session.set('a', 1).save()
  })
  await app.register(sessions, memorySettings())
  app.get('/', async (_request, reply) => {
    reply.hijack()
    reply.raw.end('sent')
  })
  await app.inject('/')
  await nextTurn()
  t.match(warnings(logs), [{ code: 'FST_SESSION_COOKIE_NOT_SENT', route: '/' }])
})

t.test('changes long after the reply are reported too, each', async (t) => {
  const requests: FastifyRequest[] = []
  const site = await createSite(t, memorySettings(), (app) => {
    app.get('/', async (request) => {
      requests.push(request)
      return String(request.session.set('a', 1).modified)
    })
  })
  await new Browser(site.app).get('/')
  await nextTurn()
  t.strictSame(warnings(site.logs), [])
  for (const count of [1, 2]) {
    requests[0]?.session.set('a', 2)
    await nextTurn()
    t.equal(warnings(site.logs).length, count)
  }
  await requests[0]?.session.flush()
  await nextTurn()
  t.equal(warnings(site.logs).length, 2, 'a session that was ended has lost nothing')
})

/** Waits at the first read, and may refuse all writes. */
class SlowCache extends MemoryCache {
  readonly door = gate()
  isDown = false
  isSlow = false

  override async get(key: string): Promise<string | null> {
    if (this.isSlow) await this.door.pass()
    return super.get(key)
  }

  override async replace(...args: Parameters<MemoryCache['replace']>): Promise<boolean> {
    if (this.isDown) throw new Error('down')
    return super.replace(...args)
  }
}

for (const isDown of [false, true]) {
  t.test(
    `a save() that begins after the reply and ${isDown ? 'fails unnoticed is logged' : 'takes a while is not reported'}`,
    async (t) => {
      const cache = new SlowCache()
      const site = await createSite(t, { engine: 'cache', cache }, (app) => {
        app.get(
          '/',
          {
            onResponse: (request, _reply, done) => {
              work = Promise.resolve(cache.door.reached)
              request.session.set('late', 1).save()
              done()
            }
          },
          async () => 'sent'
        )
      })
      const browser = new Browser(site.app)
      await browser.get('/start')
      Object.assign(cache, { isDown, isSlow: true })
      await browser.get('/')
      await work
      await nextTurn()
      t.strictSame(warnings(site.logs), [])
      cache.door.open()
      await nextTurn()
      const codes = warnings(site.logs).map(({ code, err }) => code ?? (err as { code: string }).code)
      t.strictSame(codes, isDown ? ['FST_SESSION_STORE_UNAVAILABLE', 'FST_SESSION_CHANGED_AFTER_REPLY'] : [])
    }
  )
}
