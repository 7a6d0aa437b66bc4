/** What every reply needs against other sites. */
import type { FastifyInstance, FastifyRequest } from 'fastify'
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
    if (request.method === 'POST' && isFromOtherSite(request)) {
      return sendError(reply.code(403), 'This form was sent from another site. Nothing was changed.')
    }
  })
}

/** Browsers send `Sec-Fetch-Site` to https and localhost only, and `Origin` everywhere. What sends neither is no browser. */
function isFromOtherSite({ headers, host }: FastifyRequest): boolean {
  const { 'sec-fetch-site': sender, origin } = headers
  if (sender !== undefined) return sender !== 'none' && sender !== 'same-origin'
  return origin !== undefined && !origin.endsWith(`://${host}`)
}
