/** The types of logins, checked by `tsc -p test`; nothing here runs. */
import Fastify, { type FastifyInstance } from 'fastify'
import { type AuthUser, checkPassword, createAuth, createPasswords, hashPassword, mustUpdate, safeNext } from '../../lib/auth/index.ts'
import { typeOf } from './expect.ts'

interface User extends AuthUser {
  name: string
}

export function logins(app: FastifyInstance, rows: { first(id: string): Promise<User | undefined> }): void {
  const { login, logout, reauthenticate, user, userId, userOf, updateSessionAuthHash, loginRequired, freshLoginRequired } = createAuth({
    getUser: (id) => rows.first(id),
    onLogin: (user, request) => request.log.info(user.name),
    onLogout: (user, request) => request.log.info(user?.name)
  })

  app.get('/', { preHandler: loginRequired({ redirectTo: '/login/' }) }, async (request) => {
    typeOf(await user(request)).is<User | null>()
    typeOf(await userId(request)).is<string | null>()
    typeOf(await userOf(app.sessions.forCookie(request.headers.cookie), request)).is<User | null>()
    typeOf(await userOf(request.session)).is<User | null>()
    return (await user(request))?.name
  })

  const body = { type: 'object' } as const
  app.post<{ Body: { name: string; password: string }; Querystring: { next?: string } }>(
    '/login/',
    { schema: { body }, preHandler: [loginRequired(), freshLoginRequired({ within: '5m', redirectTo: '/confirm/' })] },
    async (request, reply) => {
      const found = await rows.first(request.body.name)
      typeOf(checkPassword(request.body.password, found?.password)).is<Promise<boolean>>()
      if (found === undefined) {
        await logout(request)
        return reply.code(403).send()
      }
      await login(request, found, { method: 'mfa', rememberMe: true })
      await reauthenticate(request, found, { method: 'password' })
      // @ts-expect-error the text of a form is no boolean
      await login(request, found, { rememberMe: 'on' })
      await updateSessionAuthHash(request, { ...found, password: 'new' })
      // @ts-expect-error what getUser gives is what is signed in
      await login(request, { id: 1, password: '' })
      typeOf(safeNext(request.query.next, '/')).is<string>()
      return reply.redirect(safeNext(request.query.next, '/'))
    }
  )
}

export function passwords(): void {
  typeOf(hashPassword('secret')).is<Promise<string>>()
  typeOf(mustUpdate(null)).is<boolean>()
  typeOf(createPasswords({ iterations: 600_000 }).checkPassword('secret', undefined)).is<Promise<boolean>>()
  // @ts-expect-error a password is a string
  hashPassword(null)
}

export function options(): void {
  createAuth({ getUser: () => null })
  createAuth({ getUser: async () => ({ id: 1n, password: '', isActive: true }), backends: ['our.Backend'] })
  // @ts-expect-error without a backend no login could count
  createAuth({ getUser: () => null, backends: [] })
  // @ts-expect-error a user needs the field password
  createAuth({ getUser: () => ({ id: 1 }) })
  // @ts-expect-error the application's users are its own
  createAuth({})
}

/** The hook fits where a logger or a server has a type of its own. */
export function otherInstances(): void {
  const { loginRequired } = createAuth({ getUser: () => null })
  Fastify({ logger: true }).addHook('preHandler', loginRequired())
  Fastify({ https: {} }).get('/', { preHandler: loginRequired() }, async () => '')
  // @ts-expect-error it is not a hook but makes one
  Fastify().get('/', { preHandler: loginRequired }, async () => '')
}
