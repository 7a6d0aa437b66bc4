/** Counts the visits of each browser. In a clone: `npm run example examples/counter.ts` */
import Fastify from 'fastify'
import sessions from 'fastify-django-sessions'
import { migrationSource } from 'fastify-django-sessions/migrations'
import createKnex from 'knex'

declare module 'fastify-django-sessions' {
  interface SessionData {
    num_visits: number
  }
}

const knex = createKnex({ client: 'better-sqlite3', connection: { filename: 'counter.sqlite3' }, useNullAsDefault: true })
await knex.migrate.latest({ migrationSource })

const app = Fastify({ logger: true })
app.addHook('onClose', () => knex.destroy())
await app.register(sessions, { secretKey: process.env.SECRET_KEY ?? 'for development only', knex })

app.get('/', async (request, reply) => {
  const session = await request.session.load()
  // Runs again on the latest value if two requests count at once.
  session.set('num_visits', (visits = 0) => visits + 1)
  return reply.type('text/html').send(`<!doctype html>
<title>Counter</title>
<p>Visits: <strong>${session.get('num_visits')}</strong></p>
<form method="post" action="/forget"><button>Forget me</button></form>`)
})

app.post('/forget', async (request, reply) => {
  // Deletes the row, and the cookie with this reply.
  await request.session.flush()
  return reply.redirect('/', 303)
})

// A form without fields, as browsers send it.
app.addContentTypeParser('application/x-www-form-urlencoded', (_request, _payload, done) => done(null))

await app.listen({ port: Number(process.env.PORT ?? 3000) })
