/** A session that ends in 20 seconds, beside that of the visitor, so that nobody is signed out by it. */
import type { FastifyInstance } from 'fastify'
import { excerpt } from '../frame/excerpt.ts'
import { html } from '../frame/html.ts'
import { sendResult } from '../frame/result.ts'

declare module 'fastify-django-sessions' {
  interface SessionData {
    word: string
  }
}

/** Has the key of that session, and goes to this experiment only. */
const COOKIE = 'ending'

const SECONDS = 20
const WORDS = ['tangerine', 'lighthouse', 'marmalade', 'porcupine', 'umbrella']

export function ending(app: FastifyInstance): void {
  app.post('/experiments/ending/', async (_request, reply) => {
    const word = WORDS[Math.floor(Math.random() * WORDS.length)] as string
    const attributes = `Path=/experiments/ending/; Max-Age=3600; HttpOnly; SameSite=Lax`
    reply.header('set-cookie', `${COOKIE}=${await store(word)}; ${attributes}`)
    const result = html`
      <p>The word of that session is <strong>${word}</strong>.</p>
      <p>
        <progress max="${SECONDS}" value="${SECONDS}" aria-label="Seconds that are left"></progress>
        It ends <span class="countdown" data-seconds="${SECONDS}" data-then="/experiments/ending/">in ${SECONDS} seconds</span>.
      </p>`
    return sendResult(reply, 'Ends in 20 seconds', result)
  })

  app.get('/experiments/ending/', async (request, reply) => {
    const [, key = ''] = new RegExp(`\\b${COOKIE}=(\\w+)`).exec(request.headers.cookie ?? '') ?? []
    const word = await read(key)
    const result =
      word === null
        ? html`<p>It has ended. The same key now leads to <strong>nothing</strong>, and the row waits for the cleanup.</p>`
        : html`<p>It still has its word, <strong>${word}</strong>.</p>`
    return sendResult(reply, 'Ends in 20 seconds', result)
  })

  // --- shown on the page
  async function store(word: string) {
    // A new session, apart from yours.
    const session = app.sessions.open()
    session.set('word', word).setExpiry(SECONDS)
    await session.save()
    return session.sessionKey as string
  }

  async function read(sessionKey: string) {
    const session = app.sessions.open(sessionKey)
    // Nothing, once the clock of the server has passed its end.
    await session.load()
    return session.get('word') ?? null
  }
  // ---
}

export const endingCode = excerpt(import.meta.url)
