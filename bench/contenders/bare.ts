/**
 * Fastify without sessions: the ceiling. Only `/new` sends a cookie, that the requests
 * to come are as long as those to others, and the server is as used to headers.
 */
import { randomBytes } from 'node:crypto'
import Fastify from 'fastify'
import { held, serve } from './serve.ts'

const app = Fastify()
app.get('/untouched', async () => ({ ok: true }))
app.get('/read', async () => ({ visits: 0 }))
app.get('/write', async () => ({ visits: 1 }))
app.get('/new', async (_request, reply) => {
  reply.header('set-cookie', `sessionid=${randomBytes(16).toString('hex')}; Path=/; HttpOnly; SameSite=Lax`).header('vary', 'Cookie')
  return { visits: 0 }
})
app.get('/logout', async () => ({ ok: true }))
app.get('/held', async () => {
  await held()
  return { ok: true }
})
await serve(app)
