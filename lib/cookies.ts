/** The session's cookie on the wire, read as Django reads it. */

/**
 * The value of a cookie, null when there is none. Of several the last one counts,
 * a quoted value loses its quotes, and nothing is percent-decoded
 * (django.http.cookie.parse_cookie). Only the one cookie is parsed.
 */
export function readCookie(header: string | undefined, name: string): string | null {
  if (header === undefined || !header.includes(name)) return null
  let found: string | null = null
  // Not by split(): this is done for every request that sends cookies.
  for (let start = 0, end = 0; end < header.length; start = end + 1) {
    const semicolon = header.indexOf(';', start)
    end = semicolon === -1 ? header.length : semicolon
    const part = header.slice(start, end)
    const equals = part.indexOf('=')
    if (equals !== -1 && part.slice(0, equals).trim() === name) found = part.slice(equals + 1).trim()
  }
  return found === null ? null : unquote(found)
}

/** Python's `http.cookies._unquote`: `\"` and `\\` stand for the second character, `\101` for one in octal. */
function unquote(value: string): string {
  if (value.length < 2 || !value.startsWith('"') || !value.endsWith('"')) return value
  return value
    .slice(1, -1)
    .replace(/\\(?:([0-3][0-7][0-7])|(.))/g, (_match, octal, character) =>
      octal === undefined ? character : String.fromCharCode(Number.parseInt(octal, 8))
    )
}

/** Whether browsers send a text back as it is: the characters of RFC 6265 section 4.1.1, and those that they take besides. */
export function isCookieValue(text: string): boolean {
  return /^[!-:<-~]*$/.test(text)
}

/** The header Vary with `Cookie` in it, once; `*` says it all (django.utils.cache.patch_vary_headers). */
export function varyOnCookie(vary = ''): string {
  if (vary === '') return 'Cookie'
  const names = vary
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '')
  if (names.includes('*')) return '*'
  return names.some((name) => name.toLowerCase() === 'cookie') ? names.join(', ') : [...names, 'Cookie'].join(', ')
}
