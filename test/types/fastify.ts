/** What the package adds to Fastify's types, checked by `tsc -p test`; nothing here runs. */
import Fastify, { type FastifyRequest } from 'fastify'
import type { Knex } from 'knex'
import sessions, { errors, getSession, type Session, type SessionOptions, type Sessions, signing } from '../../lib/index.ts'
import * as publicEntry from '../../lib/untyped.ts'
import { typeOf } from './expect.ts'

export async function application(knex: Knex): Promise<void> {
  const app = Fastify()
  await app.register(sessions, { secretKey: 'secret', knex })
  await app.register(sessions, { secretKey: 'secret', knex: { client: 'pg' }, prefix: '/admin' })
  typeOf(app.sessions).is<Sessions>()

  app.get('/', async (request, reply) => {
    typeOf(request.session).is<Session>()
    typeOf(await request.session.load()).is<Session>()
    typeOf(reply.saveSession()).is<Promise<void>>()
    // @ts-expect-error the session is changed, not replaced by data
    request.session = { user: 1 }
  })
  app.get('/eager', { config: { session: 'eager' } }, async (request) => request.session.get('undeclared', 0))
  app.get('/lazy', { config: { session: 'lazy' } }, async () => ({}))
  app.get('/poll', { config: { session: { load: 'eager', renew: false } } }, async () => ({}))
  app.get('/without', { config: { session: false } }, async () => ({}))
  // @ts-expect-error true says neither when to load nor that there is no session
  app.get('/true', { config: { session: true } }, async () => ({}))
  // @ts-expect-error a misspelling
  app.get('/misspelt', { config: { session: 'eagre' } }, async () => ({}))

  // @ts-expect-error the secret key is missing
  await app.register(sessions, { knex })
  // @ts-expect-error an unknown option
  await app.register(sessions, { secretKey: 'secret', knex, secret: 'secret' })
}

export function options(knex: Knex): SessionOptions[] {
  return [
    { secretKey: 'secret', knex },
    Object.freeze({ secretKey: 'secret', knex, secretKeyFallbacks: Object.freeze(['former']) }),
    { secretKey: 'secret', knex, cookie: { sameSite: 'none', secure: true, partitioned: true, priority: 'high' } },
    { secretKey: 'secret', knex, columns: (data, sessionKey) => ({ account_id: Number(data._auth_user_id), key: sessionKey, note: null }) },
    { secretKey: 'secret', knex, columns: () => ({ a: undefined, b: true, c: 1n, d: new Date(), e: Buffer.from('') }) },
    // @ts-expect-error an async function returns no columns
    { secretKey: 'secret', knex, columns: async () => ({ account_id: 1 }) },
    // @ts-expect-error an age in seconds is a number
    { secretKey: 'secret', knex, cookieAge: '60' },
    // @ts-expect-error in lower case, as everywhere
    { secretKey: 'secret', knex, cookie: { sameSite: 'None' } },
    // @ts-expect-error the cookie's age is the session's: cookieAge
    { secretKey: 'secret', knex, cookie: { maxAge: 60 } },
    // @ts-expect-error not a choice
    { secretKey: 'secret', knex, onConflict: 'ignore' },
    // @ts-expect-error an engine has all the methods
    { secretKey: 'secret', engine: { load: async () => null } },
    // @ts-expect-error columns hold what a database does
    { secretKey: 'secret', knex, columns: () => ({ account: { id: 1 } }) },
    // @ts-expect-error a serializer reads what it writes
    { secretKey: 'secret', knex, serializer: { dumps: JSON.stringify } }
  ]
}

export async function outsideRequests(sessions: Sessions, request: FastifyRequest): Promise<void> {
  typeOf(getSession(request)).is<Session>()
  typeOf(sessions.open('key')).is<Session>()
  typeOf(sessions.forCookie(undefined)).is<Session>()
  typeOf((await sessions.clearExpired({ grace: 60 })).deleted).is<number>()
  const row = await sessions.model.find('key')
  // @ts-expect-error there may be no such row
  row.decoded()
  typeOf(row?.decoded()).is<Record<string, unknown> | undefined>()
  typeOf(signing.loads('text', { secretKey: 'secret' })).is<unknown>()
  typeOf(new errors.SessionNotLoaded('get').code).is<string>()
}

/** The entry `fastify-django-sessions/untyped` has the same names; that it types no `request.session` shows only in a program of its own. */
export const sameNames: typeof import('../../lib/index.ts') = publicEntry
