/** The head of a reply: its status and headers at the time of `send()`. */
import { errorCodes, type FastifyReply } from 'fastify'
import { joinLists } from './headers.js'
import { headerOf } from './set-cookie.js'

type HeaderValue = ReturnType<FastifyReply['getHeader']>

export interface Head {
  readonly statusCode: number
  /** Called before the reply waits for its commit. */
  hold(): void
  /** Called after the commit succeeded, before the session's own headers are set. */
  apply(): void
}

/**
 * The head of a reply that waits in `onSend`. A second `send()` in the meantime, such as that of an
 * error or a timeout, may change the status and the content headers. They are restored.
 *
 * A web `Response` is unpacked here, because Fastify would apply its status and headers after
 * `onSend` and replace ours. None of them reach the reply before the commit has succeeded.
 */
export class SentHead implements Head {
  readonly statusCode: number
  /** The payload to send after `apply()`. */
  payload: unknown
  readonly #reply: FastifyReply
  readonly #response: Response | null
  #held: { statusCode: number; type: HeaderValue; length: HeaderValue } | null = null

  /** @throws FST_ERR_REP_RESPONSE_BODY_CONSUMED, as Fastify does, when the body of a Response was read already */
  constructor(reply: FastifyReply, payload: unknown) {
    this.#reply = reply
    this.#response = isWebResponse(payload) ? payload : null
    this.payload = payload
    if (this.#response?.bodyUsed) throw new errorCodes.FST_ERR_REP_RESPONSE_BODY_CONSUMED()
    this.statusCode = this.#response?.status ?? reply.statusCode
  }

  hold(): void {
    const { statusCode } = this.#reply
    this.#held = { statusCode, type: this.#reply.getHeader('content-type'), length: this.#reply.getHeader('content-length') }
  }

  apply(): void {
    if (this.#held !== null) {
      this.#reply.code(this.#held.statusCode)
      restore(this.#reply, 'content-type', this.#held.type)
      restore(this.#reply, 'content-length', this.#held.length)
    }
    if (this.#response === null) return
    this.#reply.code(this.#response.status)
    for (const [name, value] of this.#response.headers) {
      const isList = name === 'vary' || name === 'cache-control'
      this.#reply.header(name, isList ? joinLists(headerOf(this.#reply, name), value) : value)
    }
    this.payload = this.#response.body ?? ''
  }

  /**
   * Called when the commit failed, before the error is sent. Removes the headers of the page that is not
   * sent, which Fastify would keep: its ETag would make @fastify/etag answer 304, and its Cache-Control
   * would make caches store the error.
   */
  discard(): void {
    discard(this.payload)
    for (const name of CONTENT_HEADERS) this.#reply.removeHeader(name)
  }
}

/** Headers that describe the content of a reply, other than those that Fastify removes before it sends an error. */
const CONTENT_HEADERS = ['etag', 'last-modified', 'cache-control', 'expires', 'content-encoding', 'content-disposition', 'content-range']

function restore(reply: FastifyReply, name: string, value: HeaderValue): void {
  if (reply.getHeader(name) === value) return
  if (value === undefined) reply.removeHeader(name)
  else reply.header(name, value)
}

/** As Fastify recognises it: a Response may come from another realm, or from an undici package. */
function isWebResponse(payload: unknown): payload is Response {
  return Object.prototype.toString.call(payload) === '[object Response]'
}

/** Releases a payload that is not sent: nothing else closes its stream. */
export function discard(payload: unknown): void {
  const body = isWebResponse(payload) ? payload.body : payload
  const { on, destroy, cancel } = (body ?? {}) as { on?: unknown; destroy?: unknown; cancel?: unknown }
  if (typeof on === 'function' && typeof destroy === 'function') {
    const stream = body as NodeJS.ReadableStream & { destroy(): void }
    stream.on('error', () => {})
    stream.destroy()
  } else if (typeof cancel === 'function') {
    // Fails if the stream has a reader, which then has to end it.
    ;(body as ReadableStream).cancel().catch(() => {})
  }
}
