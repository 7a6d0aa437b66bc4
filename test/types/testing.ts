/** The types of the entry `testing`, checked by `tsc -p test`; nothing here runs. The keys are declared in session.ts. */
import type { FastifyInstance } from 'fastify'
import type { Auth, AuthUser } from '../../lib/auth/index.ts'
import { loginCookie, sessionCookie } from '../../lib/testing.ts'
import { typeOf } from './expect.ts'

interface User extends AuthUser {
  name: string
}

export async function cookies(app: FastifyInstance, auth: Auth<User>): Promise<void> {
  typeOf(await sessionCookie(app, { typedVisits: 1, 'an undeclared key': [1] })).is<string>()
  typeOf(await loginCookie(app, auth, { id: 1, name: 'Ada', password: 'a hash' }, { typedVisits: 1 })).is<string>()

  // @ts-expect-error a text is no number
  await sessionCookie(app, { typedVisits: '1' })
  // @ts-expect-error what getUser gives is what is signed in
  await loginCookie(app, auth, { id: 1, password: 'a hash' })
}
