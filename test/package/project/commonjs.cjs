/** An application in CommonJS, with logins; also bundled. */
const assert = require('node:assert/strict')
const Fastify = require('fastify')
const { signing } = require('fastify-django-sessions')
const { createAuth } = require('fastify-django-sessions/auth')
const { migrationSource } = require('fastify-django-sessions/migrations')
const createKnex = require('knex')

async function main() {
  const knex = createKnex({ client: 'better-sqlite3', connection: { filename: 'commonjs.sqlite3' }, useNullAsDefault: true })
  await knex.migrate.latest({ migrationSource })

  const app = Fastify()
  app.addHook('onClose', () => knex.destroy())
  app.register(require('fastify-django-sessions'), { secretKey: 'secret', knex })
  const { login, userId } = createAuth({ getUser: (id) => ({ id, password: 'hash' }) })
  app.post('/login', async (request) => {
    await login(request, { id: '7', password: 'hash' })
    return 'signed in'
  })
  app.get('/', async (request) => ({ user: await userId(request) }))

  const [{ name, value }] = (await app.inject({ method: 'POST', url: '/login' })).cookies
  const response = await app.inject({ url: '/', cookies: { [name]: value } })
  assert.deepEqual(response.json(), { user: '7' })
  assert.equal(typeof signing.dumps, 'function')
  await app.close()
}

main()
