/**
 * The demo: experiments with sessions, a cart, one comment each, and signing in and out.
 * Pages are HTML with forms. Two of the experiments need the script in `public/`.
 *
 * Everything that matters is changed by POST, never by GET: with a POST from another site
 * browsers do not send the session's cookie (SameSite=Lax).
 */
import type { ServerOptions } from 'node:https'
import formbody from '@fastify/formbody'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import sessions, { type SessionOptions } from 'fastify-django-sessions'
import type { Knex } from 'knex'
import { atOnce } from './experiments/at-once.ts'
import { ending } from './experiments/ending.ts'
import { lateLogout } from './experiments/late-logout.ts'
import { explainErrors } from './frame/errors.ts'
import { serveFiles } from './frame/files.ts'
import { protect } from './frame/protection.ts'
import { migrate } from './migrate.ts'
import { account } from './pages/account.ts'
import { cart } from './pages/cart.ts'
import { comments } from './pages/comments.ts'
import { home } from './pages/home.ts'
import { mySessions } from './pages/my-sessions.ts'
import { sessionPage } from './pages/session.ts'

export interface SiteOptions {
  database: Knex.Config
  secretKey: string
  /** Further options of the plugin. */
  sessions?: Partial<SessionOptions>
  /** Options of Fastify, such as `logger`, `https` and, behind a proxy, `trustProxy`. */
  server?: FastifyServerOptions & { https?: ServerOptions }
}

/** The site, ready to listen or to be tested. */
export async function buildSite({ database, secretKey, sessions: options, server = {} }: SiteOptions): Promise<FastifyInstance> {
  const knex = await migrate(database)
  const app: FastifyInstance = Fastify(server)
  app.addHook('onClose', () => knex.destroy())
  await app.register(formbody)
  await app.register(sessions, { secretKey, knex: database, userSessions: true, ...options })

  protect(app)
  explainErrors(app)
  await serveFiles(app)
  for (const page of [home, atOnce, ending, lateLogout, cart, comments(knex), account, mySessions, sessionPage]) page(app)
  return app
}
