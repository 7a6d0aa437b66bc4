/** What every reply needs against other sites. */
import type { FastifyInstance } from 'fastify'
import { sendError } from './page.ts'

const POLICY = [
  "default-src 'none'",
  "style-src 'self'",
  "script-src 'self'",
  "connect-src 'self'",
  'img-src data:',
  "form-action 'self'",
  "frame-ancestors 'none'"
].join('; ')

export function protect(app: FastifyInstance): void {
  app.addHook('onRequest', async (request, reply) => {
    reply.header('content-security-policy', POLICY)
    // SameSite=Lax keeps the session from forms of other sites, but not the answer's cookie from replacing it.
    const sender = request.headers['sec-fetch-site'] ?? 'none'
    if (request.method === 'POST' && sender !== 'none' && sender !== 'same-origin') {
      return sendError(reply.code(403), 'This form was sent from another site. Nothing was changed.')
    }
  })
}
