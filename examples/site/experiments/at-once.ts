/** Twenty requests at once that count: by a function, and by a value that was read before. */
import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { excerpt } from '../frame/excerpt.ts'
import { type Html, html } from '../frame/html.ts'
import { sendResult } from '../frame/result.ts'

declare module 'fastify-django-sessions' {
  interface SessionData {
    counted: number
    overwritten: number
  }
}

export const REQUESTS = 20

/** Milliseconds that a request takes, as if it asked a database: without it few would meet. */
const WORK = 40

export function atOnce(app: FastifyInstance): void {
  // --- shown on the page
  app.post('/experiments/at-once/', async (request) => {
    const session = await request.session.load()
    const before = session.get('overwritten', 0)
    await pause(WORK) // meanwhile other requests save

    // The function runs again on what they have saved:
    session.set('counted', (counted = 0) => counted + 1)

    // The last write wins, as in most session stores:
    session.set('overwritten', before + 1)
    return 'saved'
  })
  // ---

  app.post('/experiments/at-once/begin/', async (request) => {
    request.session.set('counted', 0).set('overwritten', 0)
    return 'begun'
  })

  app.get('/experiments/at-once/result/', async (request, reply) => {
    const session = await request.session.load()
    const result = html`
      <div class="tallies">
        ${tally('Here', session.get('counted', 0), 'good')}
        ${tally('Last write wins', session.get('overwritten', 0), 'bad')}
      </div>`
    return sendResult(reply, '20 requests at once', result)
  })
}

export const atOnceCode = excerpt(import.meta.url)

function tally(title: string, count: number, kind: 'good' | 'bad'): Html {
  const dots = Array.from({ length: REQUESTS }, (_, index) => html`<i${index < count ? html` class="on"` : undefined}></i>`)
  return html`
    <div class="tally ${kind}">
      <p class="label">${title}</p>
      <p><strong>${count}</strong> of ${REQUESTS} counted</p>
      <div class="dots" aria-hidden="true">${dots}</div>
    </div>`
}
