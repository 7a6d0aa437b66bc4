import { StoreUnavailable } from '../errors.js'

/** The classes of error replies in ioredis, iovalkey and node-redis. */
const REDIS_ERRORS = ['ReplyError', 'ErrorReply', 'SimpleError', 'BlobError']

/** First words of errors of Redis that pass: nothing was done, since the server loads, is a replica, or belongs to a cluster that has no master. */
const PASSING = ['LOADING', 'READONLY', 'MASTERDOWN', 'CLUSTERDOWN', 'TRYAGAIN']

/** The class of node-redis' error for commands that waited for a node of a cluster, when the client has found another one in its place. */
const NODE_REPLACED = 'DisconnectsClientError'

/** The class of node-redis' error for every command of a client that was not connected, or has been closed. */
const CLIENT_CLOSED = 'ClientClosedError'

/** Errors of node-redis have their own classes, and all the same `name`. */
function classOf(error: unknown): string {
  return Object(error).constructor?.name ?? 'Object'
}

/** The word that begins an error of Redis. */
function wordOf(error: unknown): string | undefined {
  return REDIS_ERRORS.includes(classOf(error)) ? /^[A-Z]+/.exec((error as Error).message)?.[0] : undefined
}

/** Whether a command may succeed later, on another server or on the same one. */
export function isPassing(error: unknown): boolean {
  return classOf(error) === NODE_REPLACED || PASSING.includes(wordOf(error) ?? '')
}

/** Whether the connection broke: no other error has a code of the system. The client may notice a moment later, and fail the next command too. */
export function isCutOff(error: unknown): boolean {
  return Object(error).code !== undefined
}

/**
 * The error for a failed cache. It names the cause by its code, by the first word of a Redis error (READONLY, OOM), or by
 * its class. Nothing else is repeated, because clients put commands with keys and values into messages and properties.
 *
 * @param what the subject of the sentence
 */
export function cacheFailure(what: string, error: unknown): StoreUnavailable {
  const { code, name = 'Error' } = Object(error)
  const hint = classOf(error) === CLIENT_CLOSED ? ': its client is closed. Is await client.connect() missing?' : ''
  return new StoreUnavailable(`${what} failed (${code ?? wordOf(error) ?? (name === 'Error' ? classOf(error) : name)})${hint}`)
}
