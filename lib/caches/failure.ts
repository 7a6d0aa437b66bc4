import { StoreUnavailable } from '../errors.js'

/** The classes of error replies in ioredis, iovalkey and node-redis. */
const REDIS_ERRORS = ['ReplyError', 'ErrorReply', 'SimpleError', 'BlobError']

/**
 * The error for a failed cache. It names the cause by its code, by the first word of a Redis error (READONLY, OOM), or by
 * its class. Nothing else is repeated, because clients put commands with keys and values into messages and properties.
 *
 * @param what the subject of the sentence
 */
export function cacheFailure(what: string, error: unknown): StoreUnavailable {
  const { code, name, message, constructor: errorClass } = Object(error)
  const word = REDIS_ERRORS.includes(errorClass.name) ? /^[A-Z]+/.exec(message)?.[0] : undefined
  return new StoreUnavailable(`${what} failed (${code ?? word ?? name})`)
}
