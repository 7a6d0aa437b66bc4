/** Pages for what goes wrong. */
import type { FastifyError, FastifyInstance } from 'fastify'
import { html } from './html.ts'
import { sendError, sendPage, showProblem } from './page.ts'

export function explainErrors(app: FastifyInstance): void {
  app.setNotFoundHandler(async (request, reply) => {
    await request.session.load()
    const main = html`${showProblem('There is no such page.')}<p><a href="/">Go to the start page</a></p>`
    return sendPage(reply.code(404), { title: 'Error 404' }, main)
  })
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
