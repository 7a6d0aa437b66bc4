/** Sign up, sign in, sign out, with users in a table of your own. In a clone: `npm run example examples/login.ts` */
import formbody from '@fastify/formbody'
import Fastify from 'fastify'
import sessions from 'fastify-django-sessions'
import { type AuthUser, checkPassword, createAuth, hashPassword, safeNext } from 'fastify-django-sessions/auth'
import { migrationSource } from 'fastify-django-sessions/migrations'
import createKnex from 'knex'

interface User extends AuthUser {
  username: string
}

const knex = createKnex({ client: 'better-sqlite3', connection: { filename: 'login.sqlite3' }, useNullAsDefault: true })
await knex.migrate.latest({ migrationSource })
if (!(await knex.schema.hasTable('users'))) {
  await knex.schema.createTable('users', (table) => {
    table.increments('id')
    table.string('username').notNullable().unique()
    table.string('password').notNullable()
  })
}
const findUser = (where: Partial<User>): Promise<User | undefined> => knex('users').where(where).first()
const { login, logout, loginRequired, user } = createAuth<User>({ getUser: (id) => findUser({ id }) })

const app = Fastify({ logger: true })
app.addHook('onClose', () => knex.destroy())
await app.register(formbody)
await app.register(sessions, { secretKey: process.env.SECRET_KEY ?? 'for development only', knex })

// A form on another site must not sign a visitor in as somebody else.
app.addHook('onRequest', async (request, reply) => {
  const { origin, 'sec-fetch-site': sender } = request.headers
  // Browsers send Sec-Fetch-Site to https and localhost only, and Origin everywhere.
  const isOwn = sender === undefined ? !origin || origin.endsWith(`://${request.host}`) : sender === 'same-origin' || sender === 'none'
  if (request.method === 'POST' && !isOwn) return reply.code(403).send('Expected a form of this site.')
})

const username = { type: 'string', maxLength: 150, pattern: '^[\\w.@+-]+$' }
const password = { type: 'string', minLength: 1, maxLength: 4096 }
const schema = { body: { type: 'object', properties: { username, password }, required: ['username', 'password'] } }
type Credentials = { Body: { username: string; password: string }; Querystring: { next?: string } }

const page = (main: string) => `<!doctype html><meta name="viewport" content="width=device-width"><title>Login</title>${main}`
const form = (action: string, button: string) => `<form method="post" action="${action}">
<label>User <input name="username" required></label> <label>Password <input name="password" type="password" required></label>
<button>${button}</button></form>`

app.get('/', async (_request, reply) => {
  return reply.type('text/html').send(page(`<h1>Sign in</h1>${form('/login', 'Sign in')}<h2>Or sign up</h2>${form('/signup', 'Sign up')}`))
})

app.post<Credentials>('/signup', { schema }, async (request, reply) => {
  const { username, password } = request.body
  if (await findUser({ username })) return reply.code(409).send('This name is taken.')
  const [id = 0] = await knex('users').insert({ username, password: await hashPassword(password) })
  const created = await findUser({ id })
  if (created !== undefined) await login(request, created)
  return reply.redirect('/account', 303)
})

app.post<Credentials>('/login', { schema }, async (request, reply) => {
  const found = await findUser({ username: request.body.username })
  // Without a user too, so that the time it takes does not tell which names exist.
  const matches = await checkPassword(request.body.password, found?.password)
  if (found === undefined || !matches) return reply.code(403).send('User and password do not match.')
  await login(request, found)
  return reply.redirect(safeNext(request.query.next, '/account'), 303)
})

app.get('/account', { preHandler: loginRequired({ redirectTo: '/' }) }, async (request, reply) => {
  // The pattern above leaves no character that HTML would need to escape.
  const name = (await user(request))?.username
  reply.header('cache-control', 'no-store').type('text/html')
  return page(`<p>You are <strong>${name}</strong>.</p><form method="post" action="/logout"><button>Sign out</button></form>`)
})

app.post('/logout', async (request, reply) => {
  await logout(request)
  return reply.redirect('/', 303)
})

await app.listen({ port: Number(process.env.PORT ?? 3000) })
