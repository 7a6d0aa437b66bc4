/** This package, on PostgreSQL or SQLite. */
import Fastify from 'fastify'
import sessions from 'fastify-django-sessions'
import { migrationSource } from 'fastify-django-sessions/migrations'
import createKnex, { type Knex } from 'knex'
import { database, held, newSession, poolSize, secret, serve } from './serve.ts'

const config: Knex.Config = database.startsWith('postgres')
  ? { client: 'pg', connection: database, pool: { min: poolSize, max: poolSize } }
  : { client: 'better-sqlite3', connection: { filename: database }, useNullAsDefault: true }

// A site migrates when it is deployed, not in each process that it starts.
if (process.env.MIGRATED === undefined) {
  const migrations = createKnex(config)
  await migrations.migrate.latest({ migrationSource })
  await migrations.destroy()
}

/** Seconds. What measures a server slowly gives it more time. */
const storeTimeout = Number(process.env.STORE_TIMEOUT ?? 5)

const app = Fastify()
await app.register(sessions, { secretKey: secret, knex: config, storeTimeout })
app.get('/untouched', async () => ({ ok: true }))
app.get('/read', async (request) => {
  const session = await request.session.load()
  return { visits: session.get('visits', null) }
})
app.get('/write', async (request) => {
  const session = await request.session.load()
  session.set('visits', (visits: unknown = 0) => Number(visits) + 1)
  return { visits: session.get('visits') }
})
app.get('/new', async (request) => {
  request.session.update(newSession)
  return { visits: 0 }
})
app.get('/logout', async (request) => {
  await request.session.flush()
  return { ok: true }
})
app.get('/held', async (request) => {
  await request.session.load()
  await held()
  return { ok: true }
})
await serve(app)
