/** Recipe: what ends a stream of server-sent events. */
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { type AuthUser, createAuth } from '../../lib/auth/index.ts'
import { Browser, createApp } from '../fixtures/app.ts'
import { openDatabase } from '../fixtures/databases.ts'

async function createSite(t: Test) {
  const users = new Map<string, AuthUser>([['1', { id: 1, password: 'pbkdf2_sha256$1000$a$ada' }]])
  const { app } = await createApp(t, { knex: await openDatabase(t, 'sqlite') })
  const { login, logout, loginRequired, userOf } = createAuth({ getUser: (id) => users.get(id) })

  async function* events(cookie: string | undefined, ended: AbortSignal) {
    while (!ended.aborted && (await userOf(app.sessions.forCookie(cookie))) !== null) {
      yield 'data: an event\n\n'
      await pause(3_600_000, undefined, { signal: ended }).catch(() => {})
    }
    if (ended.reason?.name !== 'AbortError') yield 'event: signed-out\ndata:\n\n'
  }

  app.get('/events', { preHandler: loginRequired() }, async (request, reply) => {
    const closed = new AbortController()
    reply.raw.once('close', () => closed.abort())
    const ended = app.sessions.watch(request.session, { signal: closed.signal })
    reply.header('content-type', 'text/event-stream').header('cache-control', 'no-store')
    return reply.send(Readable.from(events(request.headers.cookie, ended)))
  })
  app.get('/login', async (request) => {
    await login(request, users.get('1') as AuthUser)
    return {}
  })
  app.get('/logout', async (request) => {
    await logout(request)
    return {}
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const browser = new Browser(app)
  await browser.get('/login')
  const { port } = app.server.address() as AddressInfo
  const response = await fetch(`http://127.0.0.1:${port}/events`, { headers: browser.headers })
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
  t.equal((await reader?.read())?.value, 'data: an event\n\n')
  /** What comes until the end of the stream. */
  const rest = async () => {
    let text = ''
    for (let part = await reader?.read(); part?.done === false; part = await reader?.read()) text += part.value
    return text
  }
  return { app, browser, rest }
}

t.test('a logout, which the page is told', async (t) => {
  const { browser, rest } = await createSite(t)
  await browser.get('/logout')
  t.equal(await rest(), 'event: signed-out\ndata:\n\n')
})

t.test('the end of the application, after which the page connects again', async (t) => {
  const { app, rest } = await createSite(t)
  await app.close()
  t.equal(await rest(), '')
})
