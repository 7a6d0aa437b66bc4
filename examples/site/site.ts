/**
 * A small site on sessions: a visit counter, a favourite colour, one comment each,
 * and signing in and out. Pages are plain HTML with forms, without JavaScript.
 *
 * No form needs a CSRF token: with a POST from another site browsers do not send the
 * session's cookie (SameSite=Lax). So whatever matters is changed by POST, never by GET.
 */
import { readFile } from 'node:fs/promises'
import formbody from '@fastify/formbody'
import Fastify, { type FastifyError, type FastifyInstance, type FastifyReply, type FastifyServerOptions } from 'fastify'
import sessions from 'fastify-django-sessions'
import { checkPassword, createAuth, safeNext } from 'fastify-django-sessions/auth'
import { migrationSource } from 'fastify-django-sessions/migrations'
import createKnex, { type Knex } from 'knex'
import { type Html, html } from './html.ts'
import { layout } from './layout.ts'
import { demoPasswords, findUser, getUser } from './users.ts'

declare module 'fastify-django-sessions' {
  interface SessionData {
    num_visits: number
    fav_colour: string
    has_commented: boolean
  }
}

export interface SiteOptions {
  database: Knex.Config
  secretKey: string
  logger?: FastifyServerOptions['logger']
}

/** The site, ready to listen or to be tested. */
export async function buildSite({ database, secretKey, logger = false }: SiteOptions): Promise<FastifyInstance> {
  await migrate(database)
  const app: FastifyInstance = Fastify({ logger })
  await app.register(formbody)
  await app.register(sessions, { secretKey, knex: database })

  app.addHook('onRequest', async (_request, reply) => {
    reply.header(
      'content-security-policy',
      "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; frame-ancestors 'none'"
    )
  })
  app.setNotFoundHandler((_request, reply) => sendError(reply.code(404), 'There is no such page.'))
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const { statusCode = 500, message } = error
    if (statusCode < 500) return sendError(reply.code(statusCode), `${message}.`)
    request.log.error(error)
    return sendError(reply.code(statusCode), 'Something went wrong here. Please try again later.')
  })

  const css = await readFile(new URL('./style.css', import.meta.url), 'utf8')
  app.get('/style.css', { config: { session: false } }, (_request, reply) => reply.type('text/css; charset=utf-8').send(css))

  visits(app)
  colour(app)
  comments(app)
  accounts(app)
  sessionPage(app)
  return app
}

async function migrate(database: Knex.Config): Promise<void> {
  const knex = createKnex(database)
  await knex.migrate.latest({ migrationSource }).finally(() => knex.destroy())
}

// --- How often you were here ---------------------------------------------------------

function visits(app: FastifyInstance): void {
  app.get('/', async (request, reply) => {
    const session = await request.session.load()
    // A function counts right under parallel requests: it is called again on what another request has saved meanwhile.
    session.set('num_visits', (visits = 0) => visits + 1)

    const visits = session.get('num_visits', 0)
    const main = html`
      <p>You have visited this page <strong class="count">${visits}</strong> ${visits === 1 ? 'time' : 'times'}.</p>
      <p>
        The number is in your session, a row of the table <code>django_session</code>.
        Your browser has only its key, in the cookie <code>sessionid</code>: another browser is another visitor.
      </p>`
    return sendPage(reply, 'Visits', main)
  })
}

// --- Setting, getting and deleting a value ---------------------------------------------

function colour(app: FastifyInstance): void {
  app.get('/colour/', async (request, reply) => {
    const session = await request.session.load()
    const colour = session.get('fav_colour')
    const main = html`
      ${colour === undefined ? html`<p>You have not told us yet.</p>` : showColour(colour)}
      <form method="post" action="/colour/">
        <label for="colour">Your favourite colour</label>
        <input id="colour" name="colour" type="color" value="${colour ?? '#0c6b46'}">
        <button>Save</button>
      </form>`
    return sendPage(reply, 'Favourite colour', main)
  })

  const body = form({ colour: { pattern: '^#[0-9a-f]{6}$' } })
  app.post<{ Body: { colour: string } }>('/colour/', { schema: { body } }, async (request, reply) => {
    request.session.set('fav_colour', request.body.colour)
    return reply.redirect('/colour/', 303)
  })

  app.post('/colour/delete/', async (request, reply) => {
    request.session.delete('fav_colour')
    return reply.redirect('/colour/', 303)
  })
}

function showColour(colour: string): Html {
  return html`
    <p class="colour">
      <svg viewBox="0 0 1 1" aria-hidden="true"><rect width="1" height="1" fill="${colour}"/></svg>
      <span>Your favourite colour is <code>${colour}</code>.</span>
    </p>
    <form method="post" action="/colour/delete/"><button class="quiet">Forget it</button></form>`
}

// --- Doing something only once -----------------------------------------------------------

function comments(app: FastifyInstance): void {
  /** The database has only sessions: comments last until the site stops. */
  const comments: string[] = []

  app.get('/comments/', async (request, reply) => {
    await request.session.load()
    return sendComments(reply)
  })

  const body = form({ comment: { maxLength: 1000, pattern: '\\S' } })
  app.post<{ Body: { comment: string } }>('/comments/', { schema: { body } }, async (request, reply) => {
    const session = await request.session.load()
    if (session.get('has_commented', false)) return sendComments(reply.code(403))
    comments.push(request.body.comment)
    session.set('has_commented', true)
    return reply.redirect('/comments/', 303)
  })

  function sendComments(reply: FastifyReply): Promise<FastifyReply> {
    const commentForm = html`
      <form method="post" action="/comments/">
        <label for="comment">Your comment: you have only one</label>
        <textarea id="comment" name="comment" rows="4" maxlength="500" required></textarea>
        <button>Comment</button>
      </form>`
    const items = comments.map((comment) => html`<li>${comment}</li>`)
    const hasCommented = reply.request.session.get('has_commented', false)
    const main = html`
      ${hasCommented ? html`<p role="status">You have already commented.</p>` : commentForm}
      <h2>All comments</h2>
      ${comments.length === 0 ? html`<p>There are none yet.</p>` : html`<ul class="comments">${items}</ul>`}`
    return sendPage(reply, 'Comments', main)
  }
}

// --- Signing in and out --------------------------------------------------------------------

const { login, logout, loginRequired, user } = createAuth({ getUser })

function accounts(app: FastifyInstance): void {
  /** Where somebody wanted to go, in the query of the login page. Anybody may have written it: only `safeNext` reads it. */
  type Querystring = { next?: unknown }

  app.get<{ Querystring: Querystring }>('/login/', async (request, reply) => {
    if ((await user(request)) !== null) return reply.redirect(safeNext(request.query.next, '/account/'), 303)
    return sendForm(reply)
  })

  const body = form({ username: { maxLength: 100 }, password: { maxLength: 100 } })
  app.post<{ Body: { username: string; password: string }; Querystring: Querystring }>(
    '/login/',
    { schema: { body } },
    async (request, reply) => {
      const session = await request.session.load()
      if (!session.testCookieWorked()) return sendForm(reply.code(403), 'Your browser sent no cookie. Allow cookies and try again.')

      const { username, password } = request.body
      const found = findUser(username)
      // Without a user too, so that the time it takes does not tell which names exist.
      const matches = await checkPassword(password, found?.password)
      if (found === undefined || !matches) return sendForm(reply.code(403), 'User and password do not match.')

      session.deleteTestCookie()
      await login(request, found)
      return reply.redirect(safeNext(request.query.next, '/account/'), 303)
    }
  )

  app.get('/account/', { preHandler: loginRequired({ redirectTo: '/login/' }) }, async (request, reply) => {
    const main = html`
      <p>Hello, ${(await user(request))?.username}. Nobody else sees this page.</p>
      <p>
        Your session got a new key when you signed in.
        When you sign out it is deleted with all that it holds, for every tab of this browser.
      </p>
      <form method="post" action="/logout/"><button>Sign out</button></form>`
    return sendPage(reply, 'Account', main)
  })

  app.post('/logout/', async (request, reply) => {
    await logout(request)
    return reply.redirect('/', 303)
  })
}

async function sendForm(reply: FastifyReply, problem?: string): Promise<FastifyReply> {
  const session = await reply.request.session.load()
  // When the form comes back, the session shows whether the browser keeps cookies.
  session.setTestCookie()
  // Without an action the form goes to the URL of its page, `next` included.
  const main = html`
    ${problem === undefined ? undefined : html`<p class="problem" role="alert">${problem}</p>`}
    <form method="post">
      <label for="username">User</label>
      <input id="username" name="username" autocomplete="username" autocapitalize="none" maxlength="100" required>
      <label for="password">Password</label>
      <input id="password" name="password" type="password" autocomplete="current-password" maxlength="100" required>
      <button>Sign in</button>
    </form>
    <h2>Users of this demo</h2>
    <dl>${Object.entries(demoPasswords).map(([username, password]) => html`<dt>${username}</dt><dd><code>${password}</code></dd>`)}</dl>`
  return sendPage(reply, 'Sign in', main)
}

// --- What a session is -----------------------------------------------------------------------

function sessionPage(app: FastifyInstance): void {
  app.get('/session/', async (request, reply) => {
    const session = await request.session.load()
    if (session.sessionKey === null) {
      return sendPage(reply, 'Your session', html`<p>You have none yet: there is nothing to remember.</p>`)
    }
    const end = session.getExpiryDate()
    const main = html`
      <dl>
        <dt>Key</dt><dd><code>${session.sessionKey.slice(0, 4)}…</code> The rest is a secret between your browser and this site.</dd>
        <dt>Age</dt><dd>It ends ${session.getExpiryAge()} seconds after its last change.</dd>
        <dt>End</dt><dd>Changed now, it ends on <time datetime="${end.toISOString()}">${end.toUTCString()}</time>.</dd>
        <dt>Keys of its data</dt><dd>${session.size === 0 ? 'none' : session.keys().map((name) => html`<code>${name}</code> `)}</dd>
      </dl>`
    return sendPage(reply, 'Your session', main)
  })
}

// --- What all of them need ---------------------------------------------------------------------

async function sendPage(reply: FastifyReply, title: string, main: Html): Promise<FastifyReply> {
  const { routeOptions } = reply.request
  const username = (await user(reply.request))?.username
  // With the back button nobody sees the pages of a user who has signed out.
  if (username !== undefined) reply.header('cache-control', 'no-store')
  return sendHtml(reply, layout({ title, path: routeOptions.url, username }, main))
}

/** Does without the session, since that may be what failed. */
function sendError(reply: FastifyReply, message: string): FastifyReply {
  return sendHtml(reply, layout({ title: `Error ${reply.statusCode}` }, html`<p>${message}</p>`))
}

function sendHtml(reply: FastifyReply, page: Html): FastifyReply {
  return reply.type('text/html; charset=utf-8').send(page.toString())
}

/** The JSON schema of a form with text fields, all of them required. */
function form(fields: Record<string, { maxLength?: number; pattern?: string }>) {
  const properties = Object.fromEntries(Object.entries(fields).map(([name, rules]) => [name, { type: 'string', ...rules }]))
  return { type: 'object', required: Object.keys(fields), properties }
}
