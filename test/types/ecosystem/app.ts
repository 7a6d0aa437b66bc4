/**
 * An application beside plugins that bring @fastify/secure-session's type of
 * `request.session`, checked by `tsc -p test/types/ecosystem` against the built package,
 * with all declaration files; nothing here runs.
 */
import flash from '@fastify/flash'
import passport from '@fastify/passport'
import Fastify from 'fastify'
import { createAuth } from 'fastify-django-sessions/auth'
import sessions, { getSession, type Session } from 'fastify-django-sessions/untyped'

declare module 'fastify-django-sessions/untyped' {
  interface SessionData {
    num_visits: number
  }
}

declare module 'fastify' {
  interface PassportUser {
    name: string
  }
}

const app = Fastify()
await app.register(sessions, { secretKey: 'secret', knex: { client: 'pg' }, load: 'eager' })
await app.register(flash)
await app.register(passport.initialize())
await app.register(passport.secureSession())
const { userId } = createAuth({ getUser: () => null })

app.get('/', async (request, reply) => {
  const session: Session = getSession(request)
  session.set('num_visits', (visits = 0) => visits + 1)
  // @ts-expect-error a declared key has its type here too
  session.set('num_visits', 'one')
  const visits: number = session.get('num_visits', 0)
  const count: number = request.flash('info', 'hello')
  await reply.saveSession()
  return { visits, count, name: request.user?.name, id: await userId(request), messages: reply.flash('info') }
})
