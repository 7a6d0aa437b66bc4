/** A Fastify site on Django's tables that has what the Django site has, and visitors who go to both. */
import type { FastifyInstance } from 'fastify'
import type { Knex } from 'knex'
import type { Test } from 'tap'
import { type Auth, type AuthOptions, type AuthUser, checkPassword, createAuth } from '../../lib/auth/index.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { createApp } from '../fixtures/app.ts'

interface User extends AuthUser {
  username: string
}

type FindUser = (where: Partial<Pick<User, 'id' | 'username'>>) => Promise<User | undefined>

/** Ends with the test; returns its URL. */
export async function startFastify(
  t: Test,
  knex: Knex,
  options: Partial<SessionOptions> = {},
  authOptions: Partial<AuthOptions<User>> = {}
): Promise<string> {
  const findUser: FindUser = (where) => knex('auth_user').where(where).first('id', 'username', 'password', 'is_active as isActive')
  const auth = createAuth<User>({ getUser: (id) => findUser({ id }), ...authOptions })
  const { app } = await createApp(t, { knex, ...options }, (app) => routes(app, auth, findUser))
  return app.listen({ host: '127.0.0.1', port: 0 })
}

function routes(app: FastifyInstance, auth: Auth<User>, findUser: FindUser): void {
  app.get('/who/', async (request) => {
    const user = await auth.user(request)
    return { user: user?.username ?? null, visits: request.session.get('visits', 0) }
  })
  app.get('/visit/', async (request) => {
    request.session.set('visits', (visits = 0) => visits + 1)
    return {}
  })
  app.get('/ends/', { config: { session: { renew: false } } }, async (request) => (await request.session.load()).endsAt)
  app.get('/members/', { preHandler: auth.loginRequired({ redirectTo: '/login/' }) }, async (request) => ({
    userId: await auth.userId(request)
  }))
  app.post<{ Body: { username: string; password: string } }>('/login/', async (request, reply) => {
    const { username, password } = request.body
    const user = await findUser({ username })
    if (!(await checkPassword(password, user?.password)) || user === undefined) return reply.code(403).send({})
    await auth.login(request, user)
    return {}
  })
  app.get('/sessions/', (request) => auth.sessionsOf(request))
  app.get<{ Params: { id: string } }>('/sessions/end/:id/', async (request) => ({
    ended: await auth.endSession(request, request.params.id)
  }))
  app.post('/logout/', async (request) => {
    await auth.logout(request)
    return {}
  })
}

export interface Answer {
  /** Null for nobody. */
  user: string | null
  visits: number
}

export const nobody: Answer = { user: null, visits: 0 }

/** A browser. Cookies know no ports: one jar for both sites. */
export class Visitor {
  readonly #cookies: Map<string, string>

  constructor(cookies = new Map<string, string>()) {
    this.#cookies = cookies
  }

  get sessionKey(): string | undefined {
    return this.#cookies.get('sessionid')
  }

  /** Another browser, of somebody who got hold of the present cookies. */
  fork(): Visitor {
    return new Visitor(new Map(this.#cookies))
  }

  async open(url: string, init: RequestInit = {}): Promise<Response> {
    const cookie = Array.from(this.#cookies, ([name, value]) => `${name}=${value}`).join('; ')
    const response = await fetch(url, { redirect: 'manual', ...init, headers: { accept: 'text/html', ...init.headers, cookie } })
    for (const header of response.headers.getSetCookie()) {
      const [, name, value] = /^(.*?)=(.*?)(?:;|$)/.exec(header) as unknown as [string, string, string]
      if (/max-age=0/i.test(header)) this.#cookies.delete(name)
      else this.#cookies.set(name, value)
    }
    return response
  }

  async who(site: string): Promise<Answer> {
    return (await (await this.open(`${site}/who/`)).json()) as Answer
  }

  /** Fills in Django's form at `page` and sends it; returns where the answer leads, null when it leads nowhere. */
  async submit(page: string, fields: Record<string, string>, action = page): Promise<string | null> {
    const form = await (await this.open(page)).text()
    const token = /name="csrfmiddlewaretoken" value="(\w+)"/.exec(form)?.[1]
    if (token === undefined) throw new Error(`There is no form in ${form}`)
    const response = await this.open(action, { method: 'POST', body: new URLSearchParams({ ...fields, csrfmiddlewaretoken: token }) })
    return response.headers.get('location')
  }

  loginOnDjango(django: string, username: string, password: string): Promise<string | null> {
    return this.submit(`${django}/login/?next=/who/`, { username, password })
  }

  /** With the token of another form, since old Djangos sign out whoever opens the page. */
  logoutOnDjango(django: string): Promise<string | null> {
    return this.submit(`${django}/login/`, {}, `${django}/logout/`)
  }

  /** The status of the answer. */
  async loginOnFastify(fastify: string, username: string, password: string): Promise<number> {
    const headers = { 'content-type': 'application/json' }
    const body = JSON.stringify({ username, password })
    return (await this.open(`${fastify}/login/`, { method: 'POST', headers, body })).status
  }

  /** By django-allauth's form. */
  loginOnAllauth(django: string, username: string, password: string): Promise<string | null> {
    return this.submit(`${django}/accounts/login/?next=/who/`, { login: username, password })
  }

  async logoutOnFastify(fastify: string): Promise<number> {
    return (await this.open(`${fastify}/logout/`, { method: 'POST' })).status
  }
}
