/** An application in TypeScript that is compiled to CommonJS with the former `moduleResolution` node10. */
import assert from 'node:assert/strict'
import Fastify from 'fastify'
import sessions, { MemoryCache } from 'fastify-django-sessions'
import { createAuth } from 'fastify-django-sessions/auth'
import { directory } from 'fastify-django-sessions/migrations'
import { sessionCookie } from 'fastify-django-sessions/testing'

declare module 'fastify-django-sessions' {
  interface SessionData {
    num_visits: number
  }
}

const app = Fastify()
app.register(sessions, { secretKey: 'secret', engine: 'cache', cache: new MemoryCache() })
const auth = createAuth({ getUser: () => null })
app.get('/', async (request) => {
  const session = await request.session.load()
  session.set('num_visits', (visits = 0) => visits + 1)
  const visits: number = session.get('num_visits', 0)
  return { visits, user: await auth.user(request) }
})

async function main(): Promise<void> {
  const cookie = await sessionCookie(app, { num_visits: 3 })
  const response = await app.inject({ url: '/', headers: { cookie } })
  assert.deepEqual(response.json(), { visits: 4, user: null })
  assert.match(directory, /migrations$/)
  await app.close()
}

main()
