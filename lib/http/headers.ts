/** Reply headers that depend on the session: pure functions from one header value to another. */

/** The header Vary with `Cookie` in it, once; `*` covers everything (django.utils.cache.patch_vary_headers). */
export function varyOnCookie(vary = ''): string {
  if (vary === '') return 'Cookie'
  const names = listOf(vary)
  if (names.includes('*')) return '*'
  return names.some((name) => name.toLowerCase() === 'cookie') ? names.join(', ') : [...names, 'Cookie'].join(', ')
}

/** Joins values of a list header, such as Vary or Cache-Control. */
export function joinLists(...values: (string | undefined)[]): string {
  return values.flatMap(listOf).join(', ')
}

/**
 * The header Cache-Control for a reply that sets or deletes the session cookie. A shared cache would
 * give one visitor's cookie to the next, because all requests without a cookie are one variant.
 * Django's cache middleware refuses to store such replies (UpdateCacheMiddleware.process_response).
 *
 * @param cacheControl the header of the reply, undefined when there is none
 * @param hasExpires whether the reply has the header Expires
 * @returns undefined when the header can stay as it is
 */
export function privateCacheControl(cacheControl: string | undefined, hasExpires: boolean): string | undefined {
  if (cacheControl === undefined) return hasExpires ? 'private' : undefined
  const directives = listOf(cacheControl)
  const names = directives.map(nameOf)
  // private="X-User" covers the named fields only: shared caches may store the rest of the reply.
  if (names.includes('no-store') || directives.some((directive) => directive.toLowerCase() === 'private')) return undefined
  const isShared = hasExpires || names.some((name) => name === 'public' || name === 'max-age' || name === 's-maxage')
  if (!isShared) return undefined
  const kept = directives.filter((directive) => !['public', 's-maxage', 'private'].includes(nameOf(directive)))
  return ['private', ...kept].join(', ')
}

/** The name of a directive, in lower case. */
function nameOf(directive: string): string {
  return (directive.split('=', 1)[0] as string).trim().toLowerCase()
}

/** The members of a list: a comma inside quotes is part of a member (RFC 9110 section 5.6.1). */
function listOf(value = ''): string[] {
  return (value.match(/(?:[^,"]|"(?:[^"\\]|\\.)*"?)+/g) ?? []).map((member) => member.trim()).filter((member) => member !== '')
}
