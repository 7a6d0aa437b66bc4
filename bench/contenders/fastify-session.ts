/**
 * @fastify/session, as its arguments say: `pg-simple` or `knex` as the store,
 * `--defaults` for its options as they come, `--wal` for SQLite with WAL.
 */
import Fastify from 'fastify'
import createKnex from 'knex'
import pg from 'pg'
import { fastifyCookie, fastifySession, type PeerSession, PgSimple, SessionKnex, type Store } from './peers.ts'
import { cookieAge, database, held, newSession, poolSize, secret, serve } from './serve.ts'

const [kind] = process.argv.slice(2)
const tuned = process.argv.includes('--defaults') ? {} : { rolling: false, saveUninitialized: false }

function openStore(): Store {
  if (kind === 'pg-simple') {
    const pool = new pg.Pool({ connectionString: database, max: poolSize })
    return new PgSimple({ pool, createTableIfMissing: true, pruneSessionInterval: false })
  }
  const knex = database.startsWith('postgres')
    ? createKnex({ client: 'pg', connection: database, pool: { min: poolSize, max: poolSize } })
    : createKnex({
        client: 'better-sqlite3',
        connection: { filename: database },
        useNullAsDefault: true,
        pool: { afterCreate: setPragmas }
      })
  return new SessionKnex({ knex, createTable: true, cleanupInterval: 0 })
}

function setPragmas(connection: { pragma(text: string): void }, done: (error: Error | null, connection: unknown) => void): void {
  if (process.argv.includes('--wal')) {
    connection.pragma('journal_mode = WAL')
    connection.pragma('synchronous = NORMAL')
  }
  done(null, connection)
}

const app = Fastify()
await app.register(fastifyCookie)
await app.register(fastifySession, { secret, store: openStore(), cookie: { secure: false, maxAge: cookieAge * 1000 }, ...tuned })
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
