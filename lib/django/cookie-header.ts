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
  // A loop instead of split(): this runs for every request that sends cookies.
  for (let start = 0, end = 0, equals = -1; end < header.length; start = end + 1) {
    const semicolon = header.indexOf(';', start)
    end = semicolon === -1 ? header.length : semicolon
    // It may lie behind later semicolons: searching from each of them again would take quadratic time.
    if (equals < start) equals = header.indexOf('=', start)
    if (equals === -1) break
    if (equals < end && stripped(header, start, equals) === name) found = stripped(header, equals + 1, end)
  }
  return found === null ? null : unquote(found)
}

/** A part of the header without the spaces and tabs around it. */
function stripped(header: string, from: number, to: number): string {
  let start = from
  let end = to
  while (start < end && isBlank(header.charCodeAt(start))) start++
  while (end > start && isBlank(header.charCodeAt(end - 1))) end--
  return header.slice(start, end)
}

const isBlank = (code: number) => code === 0x20 || code === 0x09

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
