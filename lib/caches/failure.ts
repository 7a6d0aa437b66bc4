import { StoreUnavailable } from '../errors.js'

/** Classes of what Redis answers in place of a result, in ioredis and iovalkey, and in node-redis. */
const REDIS_ERRORS = ['ReplyError', 'ErrorReply', 'SimpleError', 'BlobError']

/**
 * The failure of a cache, named by a code, by the word that begins an error of Redis (READONLY, OOM), or by its class.
 * Clients put commands with keys and values into messages and properties: nothing else is repeated.
 *
 * @param what the subject of the sentence
 */
export function cacheFailure(what: string, error: unknown): StoreUnavailable {
  const { code, name, message, constructor: errorClass } = Object(error)
  const word = REDIS_ERRORS.includes(errorClass.name) ? /^[A-Z]+/.exec(message)?.[0] : undefined
  return new StoreUnavailable(`${what} failed (${code ?? word ?? name})`)
}
