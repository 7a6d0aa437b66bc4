/** Fastify without sessions: the ceiling. */
import Fastify from 'fastify'
import { held, serve } from './serve.ts'

const app = Fastify()
app.get('/untouched', async () => ({ ok: true }))
app.get('/read', async () => ({ visits: 0 }))
app.get('/write', async () => ({ visits: 1 }))
app.get('/new', async () => ({ visits: 0 }))
app.get('/logout', async () => ({ ok: true }))
app.get('/held', async () => {
  await held()
  return { ok: true }
})
await serve(app)
