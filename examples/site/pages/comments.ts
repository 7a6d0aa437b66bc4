/** Doing something only once. */
import type { FastifyInstance, FastifyReply } from 'fastify'
import type { Knex } from 'knex'
import { html } from '../frame/html.ts'
import { form, sendPage, showProblem, tell } from '../frame/page.ts'

declare module 'fastify-django-sessions' {
  interface SessionData {
    has_commented: boolean
  }
}

const SHOWN = 20

export const comments = (knex: Knex) => (app: FastifyInstance) => {
  app.get('/comments/', async (request, reply) => {
    await request.session.load()
    return sendComments(reply)
  })

  // Twice what the page allows, since browsers send each end of a line as two characters.
  const body = form({ comment: { maxLength: 1000 } })
  app.post<{ Body: { comment: string } }>('/comments/', { schema: { body } }, async (request, reply) => {
    const session = await request.session.load()
    if (session.get('has_commented', false)) return sendComments(reply.code(403), 'You have already commented.')
    // PostgreSQL stores no NUL.
    const text = request.body.comment.replaceAll('\0', '')
    if (text.trim() === '') return sendComments(reply.code(400), 'Your comment is empty. Please write something.')
    await knex('site_comments').insert({ text })
    session.set('has_commented', true)
    tell(session, 'Thank you for your comment.')
    return reply.redirect('/comments/', 303)
  })

  async function sendComments(reply: FastifyReply, problem?: string): Promise<FastifyReply> {
    const texts: string[] = await knex('site_comments').orderBy('id', 'desc').limit(SHOWN).pluck('text')
    const hasCommented = reply.request.session.get('has_commented', false)
    const commentForm = html`
      <form method="post" action="/comments/">
        <label for="comment">Your comment</label>
        <textarea id="comment" name="comment" rows="4" maxlength="500" aria-describedby="once" required></textarea>
        <p class="hint" id="once">One for each visitor: the session remembers it.</p>
        <button>Comment</button>
      </form>`
    const main = html`
      ${showProblem(problem)}
      ${hasCommented ? html`<p class="lead">One for each visitor: your session remembers that you wrote yours.</p>` : commentForm}
      <h2>What visitors wrote</h2>
      ${texts.length === 0 ? html`<p>There are none yet.</p>` : html`<ul class="comments">${texts.map((text) => html`<li>${text}</li>`)}</ul>`}`
    return sendPage(reply, { title: 'Comments' }, main)
  }
}
