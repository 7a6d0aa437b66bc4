/**
 * A page of Fastify on a Django site, with its sessions and users. Needs Python with Django 3.2 or newer.
 * In a clone: `npm run example examples/beside-django/service.ts`
 */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import proxy from '@fastify/http-proxy'
import Fastify from 'fastify'
import sessions from 'fastify-django-sessions'
import { type AuthUser, createAuth } from 'fastify-django-sessions/auth'
import createKnex from 'knex'

interface User extends AuthUser {
  username: string
}

const { SECRET_KEY = 'for development only', PORT = '3000', DJANGO_PORT = '8000', PYTHON = 'python3' } = process.env
const DATABASE_FILE = 'beside-django.sqlite3'

// Django makes the tables. In production it runs by itself.
const site = fileURLToPath(new URL('django_site.py', import.meta.url))
const django = spawn(PYTHON, [site, `127.0.0.1:${DJANGO_PORT}`], {
  env: { ...process.env, SECRET_KEY, DATABASE_FILE },
  stdio: ['ignore', 'ignore', 'inherit']
})
django.on('error', (error) => {
  console.error(`Python cannot start: ${error.message}`)
  process.exit(1)
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => app.close())
while (!(await fetch(`http://127.0.0.1:${DJANGO_PORT}/`).catch(() => null))) {
  if (django.exitCode !== null) throw new Error('Django has ended: see its message above.')
  await new Promise((resolve) => setTimeout(resolve, 200))
}

const knex = createKnex({ client: 'better-sqlite3', connection: { filename: DATABASE_FILE }, useNullAsDefault: true })
const app = Fastify({ logger: true })
app.addHook('onClose', async () => {
  django.kill()
  await knex.destroy()
})
await app.register(sessions, { secretKey: SECRET_KEY, knex })

const { user, loginRequired } = createAuth<User>({
  getUser: (id) => knex('auth_user').where({ id, is_active: true }).first('id', 'username', 'password')
})

// This page has moved.
app.get('/account/', { preHandler: loginRequired({ redirectTo: '/login/' }) }, async (request, reply) => {
  const session = await request.session.load()
  session.set('visits', (visits = 0) => Number(visits) + 1)
  return reply.type('text/html').send(`<!doctype html><title>Fastify</title><h1>A page of Fastify</h1>
<p>You are ${(await user(request))?.username}, and have visited ${session.get('visits')} pages.</p>
<p><a href="/">A page of Django</a></p>`)
})

// All others have not. In production a proxy such as nginx stands before both.
await app.register(proxy, {
  upstream: `http://127.0.0.1:${DJANGO_PORT}`,
  replyOptions: { rewriteRequestHeaders: (request, headers) => ({ ...headers, host: request.headers.host }) }
})

await app.listen({ port: Number(PORT) })
