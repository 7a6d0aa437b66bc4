/** @fastify/secure-session: the data is in the cookie, encrypted, and nowhere else. */
import Fastify from 'fastify'
import { type SecureSession, secureSession } from './peers.ts'
import { cookieAge, newSession, secret, serve } from './serve.ts'

const app = Fastify()
await app.register(secureSession, { secret, salt: 'sixteen bytes ..', cookie: { path: '/', httpOnly: true, maxAge: cookieAge } })
const sessionOf = (request: object) => (request as { session: SecureSession }).session
app.get('/untouched', async () => ({ ok: true }))
app.get('/read', async (request) => ({ visits: sessionOf(request).get('visits') ?? null }))
app.get('/write', async (request) => {
  const session = sessionOf(request)
  session.set('visits', Number(session.get('visits') ?? 0) + 1)
  return { visits: session.get('visits') }
})
app.get('/new', async (request) => {
  const session = sessionOf(request)
  for (const [name, value] of Object.entries(newSession)) session.set(name, value)
  return { visits: 0 }
})
app.get('/logout', async (request) => {
  sessionOf(request).delete()
  return { ok: true }
})
await serve(app)
