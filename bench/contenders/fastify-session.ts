/**
 * @fastify/session, as its arguments say: `pg-simple` or `knex` as the store,
 * `--defaults` for its options as they come, `--wal` for SQLite with WAL.
 */
import Fastify from 'fastify'
import { fastifyCookie, fastifySession, type PeerSession } from './peers.ts'
import { cookieAge, held, newSession, secret, serve } from './serve.ts'
import { openStore, type StoreKind } from './store.ts'

const [kind] = process.argv.slice(2)
const tuned = process.argv.includes('--defaults') ? {} : { rolling: false, saveUninitialized: false }

const store = openStore(kind as StoreKind, { wal: process.argv.includes('--wal') })
const app = Fastify()
await app.register(fastifyCookie)
await app.register(fastifySession, { secret, store, cookie: { secure: false, maxAge: cookieAge * 1000 }, ...tuned })
const sessionOf = (request: object) => (request as { session: PeerSession }).session
app.get('/untouched', async () => ({ ok: true }))
app.get('/read', async (request) => ({ visits: sessionOf(request).visits ?? null }))
app.get('/write', async (request) => {
  const session = sessionOf(request)
  session.visits = (session.visits ?? 0) + 1
  return { visits: session.visits }
})
app.get('/new', async (request) => {
  Object.assign(sessionOf(request), newSession)
  return { visits: 0 }
})
app.get('/logout', (request, reply) => {
  sessionOf(request).destroy((error) => reply.send(error ?? { ok: true }))
})
app.get('/held', async () => {
  await held()
  return { ok: true }
})
await serve(app)
