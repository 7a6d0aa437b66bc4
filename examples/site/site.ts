/**
 * A small site on sessions: a visit counter, a cart, one comment each, and signing in
 * and out. Pages are plain HTML with forms, without JavaScript.
 *
 * Everything that matters is changed by POST, never by GET: with a POST from another site
 * browsers do not send the session's cookie (SameSite=Lax).
 */
import { readFile } from 'node:fs/promises'
import type { ServerOptions } from 'node:https'
import { setTimeout as pause } from 'node:timers/promises'
import formbody from '@fastify/formbody'
import Fastify, { type FastifyError, type FastifyInstance, type FastifyReply, type FastifyServerOptions } from 'fastify'
import sessions, { type Session, type SessionOptions } from 'fastify-django-sessions'
import { checkPassword, createAuth, safeNext } from 'fastify-django-sessions/auth'
import { migrationSource } from 'fastify-django-sessions/migrations'
import createKnex, { type Knex } from 'knex'
import { type Html, html } from './html.ts'
import { layout } from './layout.ts'
import { demoPasswords, findUser, getUser } from './users.ts'

declare module 'fastify-django-sessions' {
  interface SessionData {
    num_visits: number
    /** How many of each item. */
    cart_items: Record<string, number>
    has_commented: boolean
    /** The message for the visitor on the next page. */
    messages: string[]
  }
}

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
  await migrate(database)
  const app: FastifyInstance = Fastify(server)
  await app.register(formbody)
  await app.register(sessions, { secretKey, knex: database, ...options })

  protect(app)
  explainErrors(app)
  await serveStyle(app)
  visits(app)
  cart(app)
  comments(app)
  accounts(app)
  sessionPage(app)
  return app
}

/**
 * Several sites may start on a new database at the same time: one migrates, the others are refused and try again.
 * One transaction holds it all, since Knex's lock could otherwise be created twice, and would then never be free.
 */
async function migrate(database: Knex.Config): Promise<void> {
  const knex = createKnex(database)
  try {
    // Only a refused migration is worth another attempt: a database that cannot be reached fails here.
    await knex.raw('SELECT 1')
    for (let refusals = 1; ; refusals++) {
      try {
        return await knex.transaction((transaction) => transaction.migrate.latest({ migrationSource }))
      } catch (error) {
        if (refusals === 20) throw error
        await pause(250)
      }
    }
  } finally {
    await knex.destroy()
  }
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

// --- Changing and deleting a value -------------------------------------------------------

const ITEMS = ['apples', 'bread', 'tea']

function cart(app: FastifyInstance): void {
  app.get('/cart/', async (request, reply) => {
    const session = await request.session.load()
    const cart = session.get('cart_items', {})
    const rows = ITEMS.map(
      (item) => html`
        <tr>
          <th scope="row">${capitalise(item)}</th>
          <td>${cart[item] ?? 0}</td>
          <td><button name="item" value="${item}">Add ${item}</button></td>
        </tr>`
    )
    const main = html`
      <form method="post" action="/cart/">
        <table>
          <thead><tr><th scope="col">Item</th><th scope="col">Count</th><td></td></tr></thead>
          <tbody>${rows}</tbody>
        </table>
      </form>
      ${session.has('cart_items') ? html`<form method="post" action="/cart/empty/"><button class="quiet">Empty the cart</button></form>` : undefined}
      <p>Open this page in two tabs and add something in both at once: nothing gets lost.</p>`
    return sendPage(reply, 'Cart', main)
  })

  const body = form({ item: { enum: ITEMS } })
  app.post<{ Body: { item: string } }>('/cart/', { schema: { body } }, async (request, reply) => {
    const { item } = request.body
    // Writing needs no load().
    request.session.set('cart_items', (cart = {}) => ({ ...cart, [item]: (cart[item] ?? 0) + 1 }))
    tell(request.session, `Added: ${item}.`)
    return reply.redirect('/cart/', 303)
  })

  app.post('/cart/empty/', async (request, reply) => {
    request.session.delete('cart_items')
    tell(request.session, 'Your cart is empty.')
    return reply.redirect('/cart/', 303)
  })
}

// --- Doing something only once -----------------------------------------------------------

function comments(app: FastifyInstance): void {
  /** The database has only sessions: comments last until the site stops. */
  const comments: string[] = []

  app.get('/comments/', async (request, reply) => {
    await request.session.load()
    return sendComments(reply)
  })

  // Twice what the page allows, since browsers send each end of a line as two characters.
  const body = form({ comment: { maxLength: 1000 } })
  app.post<{ Body: { comment: string } }>('/comments/', { schema: { body } }, async (request, reply) => {
    const session = await request.session.load()
    if (session.get('has_commented', false)) return sendComments(reply.code(403))
    if (request.body.comment.trim() === '') return sendComments(reply.code(400), 'Your comment is empty. Please write something.')
    comments.push(request.body.comment)
    session.set('has_commented', true)
    tell(session, 'Thank you for your comment.')
    return reply.redirect('/comments/', 303)
  })

  function sendComments(reply: FastifyReply, problem?: string): Promise<FastifyReply> {
    const commentForm = html`
      ${showProblem(problem)}
      <form method="post" action="/comments/">
        <label for="comment">Your comment: you have only one</label>
        <textarea id="comment" name="comment" rows="4" maxlength="500" required></textarea>
        <button>Comment</button>
      </form>`
    const items = comments.map((comment) => html`<li>${comment}</li>`)
    const hasCommented = reply.request.session.get('has_commented', false)
    const main = html`
      ${hasCommented ? html`<p>You have already commented.</p>` : commentForm}
      <h2>All comments</h2>
      ${comments.length === 0 ? html`<p>There are none yet.</p>` : html`<ul class="comments">${items}</ul>`}`
    return sendPage(reply, 'Comments', main)
  }
}

// --- Signing in and out --------------------------------------------------------------------

const { login, logout, loginRequired, user } = createAuth({ getUser })

interface LoginRoute {
  Body: { username: string; password: string; remember?: string }
  /** Where somebody wanted to go. Anybody may have written it: only `safeNext` reads it. */
  Querystring: { next?: unknown }
}

function accounts(app: FastifyInstance): void {
  app.get<Pick<LoginRoute, 'Querystring'>>('/login/', async (request, reply) => {
    const { next } = request.query
    if ((await user(request)) !== null) return reply.redirect(safeNext(next, '/account/'), 303)
    return sendLoginForm(reply, next === undefined ? {} : { message: 'Please sign in to see that page.' })
  })

  const body = form({ username: { maxLength: 100 }, password: { maxLength: 100 } })
  app.post<LoginRoute>('/login/', { schema: { body } }, async (request, reply) => {
    const { username, password, remember } = request.body
    const session = await request.session.load()
    const refuse = (problem: string) => sendLoginForm(reply.code(403), { username, problem })
    if (!session.testCookieWorked()) return refuse('Your browser sent no cookie. Please allow cookies for this site and try again.')

    const found = findUser(username)
    // Without a user too, so that the time it takes does not tell which names exist.
    const matches = await checkPassword(password, found?.password)
    if (found === undefined || !matches) return refuse('User and password do not match. Please try again.')

    session.deleteTestCookie()
    await login(request, found)
    // 0 is until the browser closes, and null the default: two weeks.
    session.setExpiry(remember === undefined ? 0 : null)
    return reply.redirect(safeNext(request.query.next, '/account/'), 303)
  })

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
    // In a new session. Chromium keeps even `no-store` pages in memory for the back button, until a cookie is set: to delete one is not enough.
    tell(request.session, 'You have signed out.')
    return reply.redirect('/login/', 303)
  })
}

async function sendLoginForm(reply: FastifyReply, { username = '', message = '', problem = '' }): Promise<FastifyReply> {
  const session = await reply.request.session.load()
  // When the form comes back, the session shows whether the browser keeps cookies.
  session.setTestCookie()
  // Without an action the form goes to the URL of its page, `next` included.
  const main = html`
    ${message === '' ? undefined : html`<p>${message}</p>`}
    ${showProblem(problem)}
    <form method="post">
      <label for="username">User</label>
      <input id="username" name="username" value="${username}" autocomplete="username" autocapitalize="none" maxlength="100" required>
      <label for="password">Password</label>
      <input id="password" name="password" type="password" autocomplete="current-password" maxlength="100" required>
      <label class="choice"><input name="remember" type="checkbox"> Keep me signed in after the browser closes</label>
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
    const age = session.getExpiryAge()
    const end = session.getExpiryDate()
    const names = session.keys().filter((name) => name !== 'messages')
    const main = html`
      <dl>
        <dt>Key</dt>
        <dd><code>${session.sessionKey.slice(0, 4)}…</code> The rest is a secret between your browser and this site.</dd>
        <dt>Age</dt>
        <dd>It ends ${age} seconds (${Math.round(age / 86_400)} days) after its last change${session.getExpireAtBrowserClose() ? ', and when the browser closes' : ''}.</dd>
        <dt>End</dt>
        <dd>Changed now, it ends on <time datetime="${end.toISOString()}">${end.toUTCString()}</time>.</dd>
        <dt>Keys of its data</dt>
        <dd>${names.length === 0 ? 'none' : html`<ul>${names.map((name) => html`<li><code>${name}</code></li>`)}</ul>`}</dd>
      </dl>`
    return sendPage(reply, 'Your session', main)
  })
}

// --- What all of them need ---------------------------------------------------------------------

function protect(app: FastifyInstance): void {
  app.addHook('onRequest', async (request, reply) => {
    reply.header(
      'content-security-policy',
      "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; frame-ancestors 'none'"
    )
    // SameSite=Lax keeps the session from forms of other sites, but not the answer's cookie from replacing it.
    const sender = request.headers['sec-fetch-site'] ?? 'none'
    if (request.method === 'POST' && sender !== 'none' && sender !== 'same-origin') {
      return sendError(reply.code(403), 'This form was sent from another site. Nothing was changed.')
    }
  })
}

function explainErrors(app: FastifyInstance): void {
  app.setNotFoundHandler((_request, reply) => sendError(reply.code(404), 'There is no such page.'))
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const { statusCode = 500, message } = error
    if (error.code === 'FST_SESSION_INTERRUPTED') {
      const problem = 'You signed out or in while this page was on its way, perhaps in another tab. Nothing was changed. Please try again.'
      return sendError(reply.code(statusCode), problem)
    }
    if (error.validation) return sendError(reply.code(statusCode), 'The form was not filled in as expected. Please go back and check it.')
    if (statusCode < 500) return sendError(reply.code(statusCode), `${message}.`)
    request.log.error(error)
    return sendError(reply.code(statusCode), 'Something went wrong here. Please try again later.')
  })
}

/** Does without the session, since that may be what failed. */
function sendError(reply: FastifyReply, problem: string): FastifyReply {
  const main = html`${showProblem(problem)}<p><a href="/">Go to the start page</a></p>`
  return sendHtml(reply, layout({ title: `Error ${reply.statusCode}` }, main))
}

async function serveStyle(app: FastifyInstance): Promise<void> {
  const css = await readFile(new URL('./style.css', import.meta.url), 'utf8')
  app.get('/style.css', { config: { session: false } }, (_request, reply) => reply.type('text/css; charset=utf-8').send(css))
}

/** Keeps a message for the next page that is shown. */
function tell(session: Session, message: string): void {
  session.set('messages', (messages = []) => [...messages, message])
}

async function sendPage(reply: FastifyReply, title: string, main: Html): Promise<FastifyReply> {
  const { session, routeOptions } = reply.request
  const username = (await user(reply.request))?.username
  // With this, and what the logout does, nobody sees them by the back button when the user has signed out.
  if (username !== undefined) reply.header('cache-control', 'no-store')
  return sendHtml(reply, layout({ title, path: routeOptions.url, username, messages: session.pop('messages', []) }, main))
}

function sendHtml(reply: FastifyReply, page: Html): FastifyReply {
  return reply.type('text/html; charset=utf-8').send(page.toString())
}

function showProblem(problem = ''): Html | undefined {
  return problem === '' ? undefined : html`<p class="problem" role="alert">${problem}</p>`
}

function capitalise(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1)
}

/** The JSON schema of a form: these fields are texts that must be there. */
function form(fields: Record<string, { maxLength?: number; enum?: string[] }>) {
  const properties = Object.fromEntries(Object.entries(fields).map(([name, rules]) => [name, { type: 'string', ...rules }]))
  return { type: 'object', required: Object.keys(fields), properties }
}
