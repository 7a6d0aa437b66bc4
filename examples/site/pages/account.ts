/** Signing in and out. */
import type { FastifyInstance, FastifyReply } from 'fastify'
import { checkPassword, safeNext } from 'fastify-django-sessions/auth'
import { html } from '../frame/html.ts'
import { form, sendPage, showProblem, tell } from '../frame/page.ts'
import { demoPasswords, findUser, login, loginRequired, logout, user } from '../users.ts'

interface LoginRoute {
  Body: { username: string; password: string; remember?: string }
  /** Where somebody wanted to go. Anybody may have written it: only `safeNext` reads it. */
  Querystring: { next?: unknown }
}

export function account(app: FastifyInstance): void {
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
    await login(request, found, { rememberMe: remember !== undefined })
    return reply.redirect(safeNext(request.query.next, '/account/'), 303)
  })

  app.get('/account/', { preHandler: loginRequired({ redirectTo: '/login/' }) }, async (request, reply) => {
    const main = html`
      <p class="lead">Hello, ${(await user(request))?.username}. Nobody else sees this page.</p>
      <ul>
        <li>Your session got a new key when you signed in, and kept your cart.</li>
        <li>When you sign out it is deleted with all that it holds, for every tab of this browser.</li>
        <li>A Django site on the same table would know you, too.</li>
      </ul>
      <p><a href="/my-sessions/">Where you are signed in</a></p>`
    return sendPage(reply, { title: 'Account' }, main)
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
  const rows = Object.entries(demoPasswords).map(
    ([name, password]) => html`
      <tr>
        <th scope="row">${name}</th>
        <td><code>${password}</code></td>
        <td><button class="quiet" type="button" data-username="${name}" data-password="${password}" aria-label="Use ${name}" hidden>Use</button></td>
      </tr>`
  )
  // Without an action the form goes to the URL of its page, `next` included.
  const main = html`
    ${message === '' ? undefined : html`<p class="lead">${message}</p>`}
    ${showProblem(problem)}
    <div class="columns">
      <form method="post">
        <label for="username">User</label>
        <input id="username" name="username" value="${username}" autocomplete="username" autocapitalize="none" maxlength="100" required>
        <label for="password">Password</label>
        <input id="password" name="password" type="password" autocomplete="current-password" maxlength="100" required>
        <label class="choice"><input name="remember" type="checkbox"> Keep me signed in after the browser closes</label>
        <button>Sign in</button>
      </form>
      <section>
        <h2>Users of this demo</h2>
        <table>
          <thead><tr><th scope="col">User</th><th scope="col">Password</th><td></td></tr></thead>
          <tbody>${rows}</tbody>
        </table>
      </section>
    </div>`
  return sendPage(reply, { title: 'Sign in' }, main)
}
