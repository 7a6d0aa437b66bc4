/**
 * A server of the conformance kit: the plugin behind HTTP, on a table that a real
 * Django may use at the same time.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import Fastify, { type FastifyInstance } from 'fastify'
import type { Knex } from 'knex'
import { openKnex } from '../../lib/assembly.ts'
import { MemoryCache } from '../../lib/caches/memory.ts'
import sessions, { type CookieOptions, type SessionOptions } from '../../lib/index.ts'
import { migrationSource } from '../../lib/migrations.ts'
import type { EngineName } from '../../lib/settings/options.ts'

const { PORT = '8001', CONFORMANCE_DB = 'sqlite:conformance.sqlite3', CONFORMANCE_SECRET_KEY = 'conformance' } = process.env

function configOf(database: string): Knex.Config {
  if (database.startsWith('sqlite:')) return { client: 'better-sqlite3', connection: { filename: database.slice('sqlite:'.length) } }
  return { client: database.startsWith('mysql:') ? 'mysql2' : 'pg', connection: database }
}

const { knex, close } = await openKnex(configOf(CONFORMANCE_DB), 5)
const database = knex as Knex
// Django's own table is left without our list of migrations beside it.
if (!(await database.schema.hasTable('django_session'))) await database.migrate.latest({ migrationSource })

// Shared by all settings, as the database is.
const cache = new MemoryCache()
const filePath = await mkdtemp(join(tmpdir(), 'conformance-'))
const stores: Record<EngineName, Partial<SessionOptions>> = {
  db: {},
  cached_db: { cache },
  cache: { cache },
  file: { filePath },
  signed_cookies: {}
}
const engines = Object.keys(stores) as EngineName[]

/** The settings that a request may bring along. */
interface DjangoSettings {
  SESSION_ENGINE?: EngineName
  SESSION_COOKIE_NAME?: string
  SESSION_COOKIE_AGE?: number
  SESSION_COOKIE_DOMAIN?: string
  SESSION_COOKIE_PATH?: string
  SESSION_COOKIE_SECURE?: boolean
  SESSION_COOKIE_HTTPONLY?: boolean
  SESSION_COOKIE_SAMESITE?: 'Strict' | 'Lax' | 'None' | false
  SESSION_EXPIRE_AT_BROWSER_CLOSE?: boolean
  SESSION_SAVE_EVERY_REQUEST?: boolean
}

function optionsOf(settings: DjangoSettings): SessionOptions {
  const sameSite = settings.SESSION_COOKIE_SAMESITE
  const cookie = {
    name: settings.SESSION_COOKIE_NAME,
    domain: settings.SESSION_COOKIE_DOMAIN,
    path: settings.SESSION_COOKIE_PATH,
    // The plugin refuses SameSite=None without Secure, since browsers drop such cookies.
    secure: sameSite === 'None' ? true : settings.SESSION_COOKIE_SECURE,
    httpOnly: settings.SESSION_COOKIE_HTTPONLY,
    sameSite: typeof sameSite === 'string' ? (sameSite.toLowerCase() as CookieOptions['sameSite']) : sameSite
  }
  return {
    secretKey: CONFORMANCE_SECRET_KEY,
    knex: database,
    engine: settings.SESSION_ENGINE,
    ...stores[settings.SESSION_ENGINE ?? 'db'],
    cookie,
    cookieAge: settings.SESSION_COOKIE_AGE,
    expireAtBrowserClose: settings.SESSION_EXPIRE_AT_BROWSER_CLOSE,
    saveEveryRequest: settings.SESSION_SAVE_EVERY_REQUEST
  }
}

interface Route {
  Querystring: Record<'k' | 'v' | 'code' | 'ms' | 'value' | 'key', string> & { seconds?: string; at?: string }
}

function routes(app: FastifyInstance): void {
  app.get('/about', async () => ({ name: 'fastify-django-sessions', engines, capabilities: ['modern'] }))
  app.get('/noop', async () => ({}))
  app.get('/key', async (request) => ({ key: request.session.sessionKey }))
  app.get<Route>('/get', async (request) => {
    const session = await request.session.load()
    return { value: session.get(request.query.k, null) }
  })
  app.get<Route>('/set', async (request) => {
    request.session.set(request.query.k, request.query.v)
    return {}
  })
  app.get<Route>('/del', async (request) => {
    request.session.delete(request.query.k)
    return {}
  })
  app.get('/clear', async (request) => {
    request.session.clear()
    return {}
  })
  app.get('/flush', async (request) => {
    await request.session.flush()
    return {}
  })
  app.get('/cycle', async (request) => {
    await request.session.cycleKey()
    return {}
  })
  app.get<Route>('/expiry', async (request) => {
    const { seconds, at } = request.query
    if (at !== undefined) request.session.setExpiry(new Date(at))
    // A negative age is refused by ours, and read as Django's.
    else if (Number(seconds) < 0) request.session.set('_session_expiry', Number(seconds))
    else request.session.setExpiry(seconds === 'none' ? null : Number(seconds))
    return {}
  })
  app.get<Route>('/status', async (request, reply) => {
    request.session.set(request.query.k, request.query.v)
    reply.code(Number(request.query.code))
    return {}
  })
  app.get<Route>('/raise', async (request) => {
    request.session.set(request.query.k, request.query.v)
    throw new Error('raised on purpose')
  })
  app.get<Route>('/redirect', async (request, reply) => {
    request.session.set(request.query.k, request.query.v)
    return reply.redirect(`/get?k=${encodeURIComponent(request.query.k)}`)
  })
  app.get('/deleted-meanwhile', async ({ session }) => {
    session.set('a', '1')
    await session.save()
    await app.sessions.open(session.sessionKey).flush()
    session.set('a', '2')
    return {}
  })
  app.get<Route>('/slow-set', async (request) => {
    const session = await request.session.load()
    await pause(Number(request.query.ms))
    session.set(request.query.k, request.query.v)
    return {}
  })
  app.get<Route>('/vary', async (request, reply) => {
    reply.header('vary', request.query.value)
    await request.session.load()
    return {}
  })
  app.get<Route>('/peek', async (request) => {
    const other = await app.sessions.open(request.query.key).load()
    return { found: other.sessionKey !== null, data: other.toObject() }
  })
  app.get('/test-cookie/set', async (request) => {
    request.session.setTestCookie()
    return {}
  })
  app.get('/test-cookie/check', async (request) => ({ value: (await request.session.load()).testCookieWorked() }))
  app.get('/test-cookie/delete', async (request) => {
    request.session.deleteTestCookie()
    return {}
  })
}

async function createApp(settings: DjangoSettings): Promise<FastifyInstance> {
  const app = Fastify()
  await app.register(sessions, optionsOf(settings))
  routes(app)
  await app.ready()
  return app
}

/** One for each set of settings, by the text of the header that brought them. */
const apps = new Map<string, Promise<FastifyInstance>>()

function findApp(settings: string): Promise<FastifyInstance> {
  const found = apps.get(settings) ?? createApp(JSON.parse(settings))
  apps.set(settings, found)
  return found
}

const server = createServer(async (request, response) => {
  try {
    const app = await findApp(String(request.headers['x-conformance-settings'] ?? '{}'))
    app.routing(request, response)
  } catch (error) {
    response.writeHead(500).end(String(error))
  }
})
server.listen(Number(PORT), '127.0.0.1')

process.once('SIGTERM', () => {
  server.closeAllConnections()
  server.close(async () => {
    await close()
    await rm(filePath, { recursive: true })
  })
})
