/** The session cookie in the request header, read as Django reads it. */

/**
 * The value of a cookie, null when there is none. The last one of several counts, a quoted value
 * loses its quotes, and nothing is percent-decoded (django.http.cookie.parse_cookie).
 *
 * Only spaces and tabs around a name are ignored. JavaScript's `trim()` also removes U+00A0, which
 * to a browser is part of the name: a sibling host could then set a cookie that is read as
 * `__Host-sessionid` without being one (RFC 6265bis section 4.1.3).
 */
export function readCookie(header: string | undefined, name: string): string | null {
  if (header === undefined || !header.includes(name)) return null
  let found: string | null = null
  for (const part of header.split(';')) {
    const equals = part.indexOf('=')
    if (equals !== -1 && strip(part.slice(0, equals)) === name) found = strip(part.slice(equals + 1))
  }
  return found === null ? null : unquote(found)
}

/** The text without the spaces and tabs around it. A regular expression takes quadratic time on long runs of them. */
function strip(text: string): string {
  let start = 0
  let end = text.length
  while (start < end && isBlank(text[start])) start++
  while (end > start && isBlank(text[end - 1])) end--
  return text.slice(start, end)
}

const isBlank = (character: string | undefined) => character === ' ' || character === '\t'

/** Python's `http.cookies._unquote`: `\"` and `\\` stand for the second character, `\101` for one in octal. */
function unquote(value: string): string {
  if (value.length < 2 || !value.startsWith('"') || !value.endsWith('"')) return value
  return value
    .slice(1, -1)
    .replace(/\\(?:([0-3][0-7][0-7])|(.))/g, (_match, octal, character) =>
      octal === undefined ? character : String.fromCharCode(Number.parseInt(octal, 8))
    )
}

/** Whether browsers send a string back unchanged: the characters of RFC 6265 section 4.1.1, and others that they accept. */
export function isCookieValue(text: string): boolean {
  return /^[!-:<-~]*$/.test(text)
}
