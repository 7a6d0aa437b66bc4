/** The header `Cookie`, parsed as Django parses it. */

/**
 * The value of a cookie. Null if the header does not contain it. If there are several of that name,
 * the last one counts. Quotes around a value are removed, and nothing is percent-decoded
 * (django.http.cookie.parse_cookie).
 *
 * Only spaces and tabs around a name are ignored. `trim()` would also remove U+00A0, which is part of
 * the name for a browser: a sibling host could then set a cookie that is taken for `__Host-sessionid`
 * although it breaks the rules of that prefix (RFC 6265bis section 4.1.3).
 */
export function readCookie(header: string | undefined, name: string): string | null {
  if (header === undefined || !header.includes(name)) return null
  let found: string | null = null
  for (let start = 0, end: number; start < header.length; start = end + 1) {
    end = header.indexOf(';', start)
    if (end === -1) end = header.length
    const part = header.slice(start, end)
    const equals = part.indexOf('=')
    if (equals !== -1 && strip(part, 0, equals) === name) found = strip(part, equals + 1, part.length)
  }
  return found === null ? null : unquote(found)
}

/** A part of a text without spaces and tabs at both ends. A regular expression would take quadratic time on a long run of spaces. */
function strip(text: string, from: number, to: number): string {
  let start = from
  let end = to
  while (start < end && isBlank(text.charCodeAt(start))) start++
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--
  return text.slice(start, end)
}

const SPACE = 0x20
const TAB = 0x09
const isBlank = (code: number) => code === SPACE || code === TAB

/** Python's `http.cookies._unquote`: a backslash escapes the next character, or three octal digits of a character code. */
function unquote(value: string): string {
  if (value.length < 2 || !value.startsWith('"') || !value.endsWith('"')) return value
  return value
    .slice(1, -1)
    .replace(/\\(?:([0-3][0-7][0-7])|(.))/g, (_match, octal, character) =>
      octal === undefined ? character : String.fromCharCode(Number.parseInt(octal, 8))
    )
}

/** Whether browsers send a value back unchanged. They accept more characters than RFC 6265 section 4.1.1. */
export function isCookieValue(text: string): boolean {
  return /^[!-:<-~]*$/.test(text)
}
