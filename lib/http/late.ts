/** Warns of what came too late for a reply: changes that are lost, and keys that the browser does not know. */
import type { FastifyReply } from 'fastify'
import { ChangedAfterReply, CookieNotSent } from '../errors.js'
import { lifecycleOf } from '../session/facade.js'
import type { ChangeObserver } from '../session/working-copy.js'
import { setImmediate } from '../timers.js'
import { forgottenFailure, type RequestState } from './reply.js'

/** The reply of a request, which is unknown before the plugin's onRequest hook. */
export const kReply = Symbol('fastify-django-sessions.reply')

/**
 * Checks a used session for unsaved changes after the response has ended and no operation is running. Until then
 * `session.save()` may still save them.
 */
export class LateWatch implements ChangeObserver {
  readonly #state: RequestState
  readonly #request: { readonly [kReply]?: FastifyReply | null }
  #isWatched = false

  constructor(state: RequestState, request: { readonly [kReply]?: FastifyReply | null }) {
    this.#state = state
    this.#request = request
  }

  changed(): void {
    const reply = this.#request[kReply]
    // The plugin's onRequest hook calls this again.
    if (!reply) return
    if (this.#state.committed) this.#state.changedLate = true
    if (this.#isWatched) return
    this.#isWatched = true
    const look = () => this.#look(reply)
    if (reply.raw.writableFinished || reply.raw.destroyed) setImmediate(look)
    else reply.raw.once('close', look)
  }

  #look(reply: FastifyReply): void {
    const state = this.#state
    this.#isWatched = false
    // If the client disconnects, the response closes while the handler still runs. Its reply is committed later.
    if (!state.committed && !reply.sent) return
    const isCommitting = state.commit !== null && !state.committed
    if (!isCommitting && lifecycleOf(state.session).queue.isSettled) warn(reply, state)
    else settle(reply, state).then(() => warn(reply, state))
  }
}

/** Waits for the operations under way, and logs the error of one that nothing else waits for. */
async function settle({ log, request }: FastifyReply, { session, commit }: RequestState): Promise<void> {
  try {
    // Its failure is reported already.
    await commit?.catch(() => {})
    await lifecycleOf(session).settled()
  } catch (error) {
    const route = request.routeOptions.url
    log.warn({ err: error, route }, 'An operation of the session failed after the reply, and nothing waits for it: is an await missing?')
  }
}

function warn({ log, request }: FastifyReply, state: RequestState): void {
  const error = problemOf(state)
  if (error === null) return
  lifecycleOf(state.session).reportTooLate()
  log.warn({ code: error.code, route: request.routeOptions.url }, error.message)
}

function problemOf(state: RequestState) {
  const { session, cookieKey } = state
  const { sessionKey } = session
  const isLate = !state.committed || state.changedLate || forgottenFailure(state) !== null
  // A session that was ended is empty. Nothing is lost, though its cookie stays until the next request.
  const isUnsaved = isLate && session.modified && !session.isEmpty
  const { keyIsData = false } = lifecycleOf(session).context.engine
  if (sessionKey !== cookieKey && (keyIsData || sessionKey !== null)) return keyIsData ? new ChangedAfterReply('') : new CookieNotSent()
  if (!isUnsaved) return null
  return new ChangedAfterReply(keyIsData || cookieKey === null ? '' : ', or await session.save(), which sends no cookie')
}
