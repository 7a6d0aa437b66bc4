/** The home page: a visit counter, and experiments with their buttons. */
import type { FastifyInstance } from 'fastify'
import type { Session } from 'fastify-django-sessions'
import { atOnceCode, REQUESTS } from '../experiments/at-once.ts'
import { endingCode } from '../experiments/ending.ts'
import { lateLogoutCode } from '../experiments/late-logout.ts'
import { type Html, html } from '../frame/html.ts'
import { inWords, sendPage } from '../frame/page.ts'
import { mySessionsCode } from './my-sessions.ts'
import { rowCode, shorten } from './session.ts'

declare module 'fastify-django-sessions' {
  interface SessionData {
    num_visits: number
  }
}

export function home(app: FastifyInstance): void {
  app.get('/', async (request, reply) => {
    const session = await request.session.load()
    // A function counts right under parallel requests: it is called again on what another request has saved meanwhile.
    session.set('num_visits', (visits = 0) => visits + 1)
    const main = html`
      <h2 class="wide">Try what goes wrong elsewhere</h2>
      <div class="experiments">${COLUMNS.map((experiments) => html`<div>${experiments.map(card)}</div>`)}</div>`
    return sendPage(reply, { title: 'Home', hero: heroOf(session) }, main)
  })
}

function heroOf(session: Session): Html {
  const visits = session.get('num_visits', 0)
  return html`
    <section class="hero band" aria-label="About this demo">
      <div>
        <h1>Sessions that keep every change</h1>
        <p class="pitch">
          A Fastify plugin with Django’s sessions: one row for each visitor, in a table that a Django site can use at the same time.
          This is a demo. Press the buttons, and read the code behind them.
        </p>
      </div>
      <section class="ticket" aria-labelledby="ticket">
        <h2 id="ticket">Your session</h2>
        <p>You have visited this page <strong class="count">${visits}</strong> ${visits === 1 ? 'time' : 'times'}.</p>
        <dl>
          <dt>Key</dt>
          <dd>${session.sessionKey === null ? 'made with this page' : html`<code>${shorten(session.sessionKey)}</code>`}</dd>
          <dt>Ends</dt>
          <dd>${inWords(session.getExpiryAge())} after its last change</dd>
        </dl>
      </section>
    </section>`
}

interface Experiment {
  title: string
  text: Html
  button: string
  action: string
  /** For a page that is opened instead of a result that is shown. */
  opens?: boolean
  code: Html
  /** Sends the form so often at once, and shows the result of another page. */
  atOnce?: { times: number; begin: string; result: string }
}

const COLUMNS: readonly Experiment[][] = [
  [
    {
      title: '20 requests at once',
      text: html`Your browser sends 20 requests that each count one up. With most session stores the last one to save wins, and the others are lost.`,
      button: 'Send 20 requests',
      action: '/experiments/at-once/',
      code: atOnceCode,
      atOnce: { times: REQUESTS, begin: '/experiments/at-once/begin/', result: '/experiments/at-once/result/' }
    },
    {
      title: 'Ends in 20 seconds',
      text: html`Makes a session beside yours that ends soon. When it has ended, its key is as unknown as any other.`,
      button: 'Make that session',
      action: '/experiments/ending/',
      code: endingCode
    },
    {
      title: 'My sessions',
      text: html`Sign in as the same user in two browsers, see both, and end one from the other.`,
      button: 'See where I am signed in',
      action: '/my-sessions/',
      opens: true,
      code: mySessionsCode
    }
  ],
  [
    {
      title: 'A logout while a request is running',
      text: html`A slow request has loaded the session when the user signs out in another tab. What happens when it saves?`,
      button: 'Run both',
      action: '/experiments/late-logout/',
      code: lateLogoutCode
    },
    {
      title: 'The row',
      text: html`Your session as the database has it, as JSON, and the line of Python by which Django reads it.`,
      button: 'Show my row',
      action: '/experiments/row/',
      code: rowCode
    }
  ]
]

function card({ title, text, button, action, opens = false, code, atOnce }: Experiment): Html {
  const repeated = atOnce && html` data-times="${atOnce.times}" data-begin="${atOnce.begin}" data-result="${atOnce.result}"`
  return html`
    <article>
      <h3>${title}</h3>
      <p>${text}</p>
      <form ${opens ? html`method="get"` : html`class="experiment" method="post"`} action="${action}"${repeated}><button>${button}</button></form>
      ${atOnce && html`<noscript><p class="hint">This experiment needs JavaScript.</p></noscript>`}
      <div class="result" aria-live="polite"></div>
      <details><summary>See the code</summary>${code}</details>
    </article>`
}
