/** An application in ES modules; also bundled, so that it migrates without a folder. */
import assert from 'node:assert/strict'
import Fastify from 'fastify'
import sessions from 'fastify-django-sessions'
import { migrationSource } from 'fastify-django-sessions/migrations'
import createKnex from 'knex'

const knex = createKnex({ client: 'better-sqlite3', connection: { filename: 'esm.sqlite3' }, useNullAsDefault: true })
await knex.migrate.latest({ migrationSource })

const app = Fastify()
app.addHook('onClose', () => knex.destroy())
await app.register(sessions, { secretKey: 'secret', knex })
app.get('/', async (request) => {
  const session = await request.session.load()
  session.set('visits', (visits = 0) => visits + 1)
  return { visits: session.get('visits') }
})

const [{ name, value }] = (await app.inject('/')).cookies
const response = await app.inject({ url: '/', cookies: { [name]: value } })
assert.deepEqual(response.json(), { visits: 2 })
await app.close()
