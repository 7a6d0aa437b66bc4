/** Checks of the option `cookie`. */
import { BOOLEAN, type Check, checkAll, isObject, isText, oneOf } from './check.js'
import type { CookieOptions } from './options.js'

const CHECKS: Record<keyof CookieOptions, Check> = {
  // RFC 9110 §5.6.2, token
  name: ["a cookie name (letters, digits and !#$%&'*+-.^_`|~)", (value) => isText(value) && /^[\w!#$%&'*+.^`|~-]+$/.test(value)],
  domain: ['a domain name', (value) => isText(value) && /^[\w.-]+$/.test(value)],
  path: ['a path that starts with /', (value) => isText(value) && /^\/[ -:<-~]*$/.test(value)],
  secure: oneOf(true, false, 'auto'),
  httpOnly: BOOLEAN,
  sameSite: oneOf('lax', 'strict', 'none', false),
  partitioned: BOOLEAN,
  priority: oneOf('low', 'medium', 'high')
}

/** Describes everything that is wrong with the option `cookie`. */
export function cookieProblems(cookie: unknown): string[] {
  if (!isObject(cookie)) return []
  const problems = checkAll(cookie, CHECKS, 'cookie.')
  return problems.length > 0 ? problems : ruleProblems(cookie)
}

/** The rules of browsers (RFC 6265bis §4.1.3 and §5.6, CHIPS). A browser silently drops a cookie that breaks one. */
function ruleProblems({
  name = 'sessionid',
  secure = 'auto',
  domain,
  path = '/',
  httpOnly = true,
  sameSite = 'lax',
  partitioned = false
}: CookieOptions): string[] {
  const prefix = /^__(?:host-http-|host-|secure-|http-)/i.exec(name)?.[0].toLowerCase() ?? ''
  const problems: string[] = []
  const demand = (holds: boolean, option: string, needed: string) => {
    if (!holds) problems.push(`${option} needs ${needed}`)
  }
  const prefixed = `cookie.name ${JSON.stringify(name)}`
  if (prefix !== '') demand(secure === true, prefixed, 'cookie.secure: true')
  if (prefix.startsWith('__host-')) {
    demand(domain === undefined, prefixed, 'no cookie.domain')
    demand(path === '/', prefixed, "cookie.path: '/'")
  }
  if (prefix.endsWith('http-')) demand(httpOnly, prefixed, 'cookie.httpOnly: true')
  if (sameSite === 'none') demand(secure === true, "cookie.sameSite: 'none'", 'cookie.secure: true')
  if (partitioned) demand(secure === true, 'cookie.partitioned: true', 'cookie.secure: true')
  return problems
}
