/** Where the user is signed in, and how to end it there. */
import type { FastifyInstance } from 'fastify'
import type { OwnSession } from 'fastify-django-sessions/auth'
import { excerpt } from '../frame/excerpt.ts'
import { type Html, html } from '../frame/html.ts'
import { form, inWords, sendPage, tell } from '../frame/page.ts'
import { endOtherSessions, endSession, loginRequired, sessionsOf } from '../users.ts'

const preHandler = loginRequired({ redirectTo: '/login/' })

export function mySessions(app: FastifyInstance): void {
  app.get('/my-sessions/', { preHandler }, async (request, reply) => {
    const sessions = await sessionsOf(request)
    const others = sessions.length - 1
    const endOthers = html`
      <form method="post" action="/my-sessions/end-others/">
        <button>Sign out everywhere else</button>
      </form>`
    const main = html`
      <p class="lead">You are signed in ${others === 0 ? 'here only.' : `here and in ${others} other place${others === 1 ? '' : 's'}.`}</p>
      <ul class="devices">${sessions.map(show)}</ul>
      ${others === 0 ? undefined : endOthers}`
    return sendPage(reply, { title: 'My sessions' }, main)
  })

  const body = form({ id: { maxLength: 20 } })
  const options = { preHandler, schema: { body } }

  // --- shown on the page
  app.post<{ Body: { id: string } }>('/my-sessions/end/', options, async (request, reply) => {
    // The number of a row. False for a session of somebody else.
    const hasEnded = await endSession(request, request.body.id)
    tell(request.session, hasEnded ? 'That session has ended.' : 'That session had ended already.')
    return reply.redirect('/my-sessions/', 303)
  })

  app.post('/my-sessions/end-others/', { preHandler }, async (request, reply) => {
    const count = await endOtherSessions(request)
    tell(request.session, `You have signed out in ${count} other place${count === 1 ? '' : 's'}.`)
    return reply.redirect('/my-sessions/', 303)
  })
  // ---
}

export const mySessionsCode = excerpt(import.meta.url)

function show({ id, userAgent, ip, createdAt, lastSeenAt, isCurrent }: OwnSession): Html {
  const device = deviceOf(userAgent ?? '')
  const end = html`
    <form method="post" action="/my-sessions/end/">
      <input type="hidden" name="id" value="${id}">
      <button class="quiet" aria-label="End the session of ${device}, signed in ${ago(createdAt)}">End</button>
    </form>`
  return html`
    <li>
      <p><strong>${device}</strong>${isCurrent ? ' (this device)' : ''}</p>
      <p class="hint">${ip ?? 'Unknown address'}, signed in ${ago(createdAt)}, last seen ${isCurrent ? 'now' : ago(lastSeenAt)}</p>
      ${isCurrent ? undefined : end}
    </li>`
}

/** A guess, of which the user knows more. Edge calls itself Chrome too, and Chrome Safari: the first that fits. */
function deviceOf(userAgent: string): string {
  const browser = ['Edg', 'OPR', 'Firefox', 'Chrome', 'Safari'].find((name) => userAgent.includes(`${name}/`))
  const system = ['Android', 'iPhone', 'iPad', 'Windows', 'Mac OS', 'Linux'].find((name) => userAgent.includes(name))
  const names: Record<string, string> = { Edg: 'Edge', OPR: 'Opera', 'Mac OS': 'macOS' }
  const known = [browser, system].map((name) => (name === undefined ? undefined : (names[name] ?? name)))
  return known.every((name) => name === undefined) ? 'An unknown device' : known.filter((name) => name !== undefined).join(' on ')
}

function ago(date: Date): string {
  const seconds = (Date.now() - date.getTime()) / 1000
  return seconds < 5 ? 'just now' : `${inWords(seconds)} ago`
}
