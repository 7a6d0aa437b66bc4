/** A logout while a slow request of the same session is running. A visitor is made up for it, and sends real requests. */
import type { FastifyInstance } from 'fastify'
import { excerpt } from '../frame/excerpt.ts'
import { html } from '../frame/html.ts'
import { sendResult } from '../frame/result.ts'

export function lateLogout(app: FastifyInstance): void {
  /** What slow requests wait for. Each run has its own, under the key of its session. */
  const gates = new Map<string, { reached: () => void; opened: Promise<void> }>()

  // --- shown on the page
  app.post('/experiments/slow/', async (request) => {
    const session = await request.session.load()
    // Meanwhile, in another tab:
    await loggedOut(session.sessionKey)
    session.set('has_commented', true)
    return 'saved'
  })

  app.post('/experiments/logout/', async (request) => {
    await request.session.flush()
    return 'logged out'
  })
  // ---

  async function loggedOut(sessionKey: string | null): Promise<void> {
    const gate = gates.get(sessionKey ?? '')
    gate?.reached()
    await gate?.opened
  }

  app.post('/experiments/late-logout/', async (_request, reply) => {
    const session = app.sessions.open().set('word', 'secret')
    await session.save()
    const key = session.sessionKey as string
    const post = (name: string) =>
      app.inject({ method: 'POST', url: `/experiments/${name}/`, headers: { cookie: `${app.sessions.cookieName}=${key}` } })

    let open = () => {}
    const opened = new Promise<void>((resolve) => {
      open = resolve
    })
    const slow = await new Promise<{ running: ReturnType<typeof post> }>((resolve) => {
      gates.set(key, { opened, reached: () => resolve({ running }) })
      const running = post('slow')
    })
    const logout = await post('logout')
    open()
    const late = await slow.running
    gates.delete(key)
    const row = await app.sessions.model.find(key)
    const result = html`
      <ol class="steps">
        <li>A slow request begins, and loads the session.</li>
        <li>A logout in another tab: <strong>${logout.statusCode}</strong>, the row is deleted.</li>
        <li>The slow request wants to save: <strong>${late.statusCode}</strong>, ${late.cookies.length === 0 ? 'and no cookie' : 'and a cookie'}.</li>
        <li>The row afterwards: <strong>${row === null ? 'none' : 'back again'}</strong>. A store that saves by an upsert makes it anew, and the user is signed in again.</li>
      </ol>`
    return sendResult(reply, 'A logout while a request is running', result)
  })
}

export const lateLogoutCode = excerpt(import.meta.url)
