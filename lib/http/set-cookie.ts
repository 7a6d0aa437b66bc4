/** The session cookie in the reply: Set-Cookie as Django writes it, and the headers that must accompany it. */
import fastifyCookie from '@fastify/cookie'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { isCookieValue } from '../django/cookie-header.js'
import { lifecycleOf } from '../session/facade.js'
import type { Session } from '../session/session.js'
import type { Settings } from '../settings/settings.js'
import type { CookieAction } from './commit.js'
import { privateCacheControl } from './headers.js'

type Serialize = FastifyInstance['serializeCookie']

/** Writes a change of the browser's cookie into a reply. Returns the line Set-Cookie. */
export type SetSessionCookie = (reply: FastifyReply, session: Session, action: Exclude<CookieAction, 'none'>) => string

/**
 * The serializer of @fastify/cookie: the application's, if it registered @fastify/cookie before this
 * plugin, otherwise one from a child scope. The child scope leaves the decorators of @fastify/cookie
 * free, so that the application can register it later with its own options.
 */
export async function cookieSerializer(fastify: FastifyInstance): Promise<Serialize> {
  if (fastify.hasDecorator('serializeCookie')) return fastify.serializeCookie
  let serialize: Serialize | undefined
  await fastify.register(async (scope) => {
    await scope.register(fastifyCookie, { hook: false })
    serialize = scope.serializeCookie
  })
  return serialize as Serialize
}

/** Writes the header Set-Cookie as Django's `HttpResponse.set_cookie` and `delete_cookie` do. */
export function cookieSetter({ cookie: { name, ...cookie } }: Settings, serialize: Serialize): SetSessionCookie {
  const warnOfProtocol = protocolWarning(cookie.secure)
  let last: { secure: boolean; maxAge: number | undefined; second: number | undefined; attributes: string } | undefined

  /** Keeps the last result: most cookies differ from the previous one in the key only. */
  const attributesOf = (secure: boolean, { maxAge, expires }: Lifetime): string => {
    const second = expires && Math.trunc(expires.getTime() / 1000)
    if (last?.secure !== secure || last.maxAge !== maxAge || last.second !== second) {
      const header = serialize(name, '', { ...cookie, secure, ...(expires && { maxAge, expires }) })
      last = { secure, maxAge, second, attributes: header.slice(`${name}=`.length) }
    }
    return last.attributes
  }

  return (reply, session, action) => {
    const isHttps = reply.request.protocol === 'https'
    if (!isHttps) warnOfProtocol(reply.request)
    const secure = cookie.secure === 'auto' ? isHttps : cookie.secure
    const isGone = action === 'delete' || lifecycleOf(session).hasEnded
    const [value, lifetime] = isGone ? ['', DELETED] : [session.sessionKey as string, lifetimeOf(session)]
    if (!isCookieValue(value)) throw new TypeError('Expected the engine to make a session key that a cookie can carry, got another string')
    const line = `${name}=${value}${attributesOf(secure, lifetime)}`
    reply.header('set-cookie', line)
    return line
  }
}

interface Lifetime {
  /** Seconds. */
  maxAge?: number
  expires?: Date
}

const DELETED: Lifetime = { maxAge: 0, expires: new Date(0) }

function lifetimeOf(session: Session): Lifetime {
  if (session.getExpireAtBrowserClose()) return {}
  return { maxAge: Math.trunc(session.getExpiryAge()), expires: session.getExpiryDate() }
}

/** Removes a line Set-Cookie from a reply. */
export function withdrawCookie(reply: FastifyReply, line: string): void {
  const others = [reply.getHeader('set-cookie') ?? []].flat().filter((other) => other !== line)
  reply.removeHeader('set-cookie')
  for (const other of others) reply.header('set-cookie', other)
}

/** Makes a reply that sets the cookie private. Returns whether shared caches could have stored it. */
export function keepPrivate(reply: FastifyReply): boolean {
  const cacheControl = privateCacheControl(headerOf(reply, 'cache-control'), reply.hasHeader('expires'))
  if (cacheControl === undefined) return false
  reply.header('cache-control', cacheControl)
  return true
}

/** A header of the reply, or undefined. Several lines are joined into one list (RFC 9110 section 5.2). */
export function headerOf(reply: FastifyReply, name: string): string | undefined {
  const value = reply.getHeader(name)
  return Array.isArray(value) ? value.join(', ') : value?.toString()
}

/** Warns once if the attribute Secure does not fit the protocol of the request, mostly because a proxy terminates TLS. */
function protocolWarning(secure: boolean | 'auto') {
  let warned = secure === false
  return (request: FastifyRequest): void => {
    if (warned || (secure === 'auto' && !claimsHttps(request))) return
    warned = true
    request.log.warn(
      secure === true
        ? 'The session cookie is secure, but the request came over http, so browsers drop it. Behind a proxy that terminates TLS, set the option trustProxy of Fastify'
        : 'The session cookie is sent without Secure: a proxy says that the request came over https, but Fastify does not trust it. Set the option trustProxy of Fastify, or cookie.secure: true'
    )
  }
}

/** Whether a proxy says that the browser used https, in one of the usual headers or that of RFC 7239 section 5.4. */
function claimsHttps({ headers }: FastifyRequest): boolean {
  const proto = String(headers['x-forwarded-proto'] ?? '')
  return /^\s*https\b/i.test(proto) || headers['x-forwarded-ssl'] === 'on' || /\bproto="?https\b/i.test(String(headers.forwarded ?? ''))
}

/** In development, warns once for each route of a reply that sets the cookie and that shared caches may store. */
export function cachingWarning() {
  if (process.env.NODE_ENV === 'production') return () => {}
  const seen = new Set<string>()
  return ({ log, routeOptions: { url = '' } }: FastifyRequest): void => {
    if (seen.has(url)) return
    seen.add(url)
    log.warn(
      { route: url },
      'The reply may be stored by shared caches and sets the session cookie: its Cache-Control was made private. Change no session on routes that are cached for everybody'
    )
  }
}
