/** Warns of what came too late for a reply: changes that are lost, and keys that the browser does not know. */
import type { FastifyReply } from 'fastify'
import { ChangedAfterReply, CookieNotSent } from '../errors.js'
import { lifecycleOf } from '../session/facade.js'
import { setImmediate } from '../timers.js'
import { forgottenFailure, type RequestState } from './reply.js'

/**
 * Returns a function to call at each change of the session, and before each operation of the store. It looks at the
 * session when the response has ended and no operation is under way: until then `session.save()` may still save a change.
 */
export function lateChangeWarning(reply: FastifyReply, state: RequestState): () => void {
  let isWatched = false
  const look = () => {
    isWatched = false
    // If the client disconnects, the response closes while the handler still runs. Its reply is committed later.
    if (!state.committed && !reply.sent) return
    const isCommitting = state.commit !== null && !state.committed
    if (!isCommitting && lifecycleOf(state.session).isSettled) warn(reply, state)
    else settle(reply, state).then(() => warn(reply, state))
  }
  return () => {
    if (state.committed) state.changedLate = true
    if (isWatched) return
    isWatched = true
    if (reply.raw.writableFinished || reply.raw.closed) setImmediate(look)
    else reply.raw.once('close', look)
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
