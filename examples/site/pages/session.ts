/** What a session is: the row of the table, as the database has it, as JSON, and as Django reads it. */
import type { FastifyInstance } from 'fastify'
import type { Session } from 'fastify-django-sessions'
import { excerpt } from '../frame/excerpt.ts'
import { type Html, html } from '../frame/html.ts'
import { countdown, sendPage } from '../frame/page.ts'
import { sendResult } from '../frame/result.ts'

// --- shown on the page
async function rowOf(app: FastifyInstance, key: string) {
  const row = await app.sessions.model.find(key)
  return row && { ...row, decoded: row.decoded() }
}
// ---

export const rowCode = excerpt(import.meta.url)

/** Shows no more of a key than its beginning: whoever has it has the session. */
export const shorten = (sessionKey: string) => `${sessionKey.slice(0, 4)}…`

export function sessionPage(app: FastifyInstance): void {
  app.get('/session/', async (request, reply) => {
    const session = await request.session.load()
    if (session.sessionKey === null) {
      return sendPage(reply, { title: 'Your session' }, html`<p class="lead">You have none yet: there is nothing to remember.</p>`)
    }
    const closes = session.getExpireAtBrowserClose() ? ', or when the browser closes' : ''
    const main = html`
      <dl>
        <dt>Key</dt>
        <dd><code>${shorten(session.sessionKey)}</code> The rest is a secret between your browser and this site.</dd>
        <dt>Ends</dt>
        <dd>${countdown(session)}${closes}</dd>
      </dl>
      ${await showRow(app, session, (text) => html`<h2>${text}</h2>`)}`
    return sendPage(reply, { title: 'Your session' }, main)
  })

  app.post('/experiments/row/', async (request, reply) => {
    return sendResult(reply, 'The row', await showRow(app, await request.session.load(), (text) => html`<p class="label">${text}</p>`))
  })
}

async function showRow(app: FastifyInstance, session: Session, heading: (text: string) => Html): Promise<Html> {
  const row = session.sessionKey === null ? null : await rowOf(app, session.sessionKey)
  if (row === null) return html`<p>You have no session yet.</p>`
  return html`
    ${heading('In the database')}
    <dl class="row">
      <dt>session_key</dt><dd><code>${shorten(row.sessionKey)}</code></dd>
      <dt>session_data</dt><dd><code>${row.sessionData}</code></dd>
      <dt>expire_date</dt><dd><code>${row.expireDate.toISOString()}</code></dd>
    </dl>
    ${heading('Decoded')}
    <pre class="data"><code>${JSON.stringify(row.decoded, null, 2)}</code></pre>
    ${heading('Read by Django')}
    <pre class="data"><code>SessionStore(request.COOKIES['sessionid']).load()</code></pre>`
}
