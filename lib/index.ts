/** The main entry: the public names, and the type of `request.session`. */
import type { Session } from './session/session.js'

declare module 'fastify' {
  interface FastifyRequest {
    /** The visitor's session. Using it costs nothing until it is loaded. */
    session: Session
  }
}

export * from './untyped.js'
export { default } from './untyped.js'
