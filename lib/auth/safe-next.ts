/** The page after a login, which the URL of the login page carries in `next`. */

/** A path with one slash at the start. Two, or one and an encoded one that a proxy decodes, would begin a host. */
const PATH = /^\/(?!\/|%2f|%5c)[!-[\]-~]*$/i

/**
 * The path to redirect to after a login: `next` if it is a path of this site, or else
 * `fallback`. `next` is untrusted. The check is stricter than Django's
 * `url_has_allowed_host_and_scheme` (django/utils/http.py): it allows no hosts and only
 * characters of URLs, so that no browser, and no proxy that decodes slashes or resolves
 * dots, can take the path for a host.
 */
export function safeNext(next: unknown, fallback: string): string {
  if (typeof next !== 'string' || !PATH.test(next)) return fallback
  const resolved = withoutDots(next)
  // `/.//host` becomes `//host` when dots are resolved. So does `/a/..%2f%2fhost` when slashes are decoded first.
  return PATH.test(resolved) && PATH.test(withoutDots(resolved.replaceAll(/%2f|%5c/gi, '/'))) ? next : fallback
}

function withoutDots(path: string): string {
  return new URL(path, 'http://localhost').pathname
}

/** The URL of a login page with `next` (django.contrib.auth.views.redirect_to_login). */
export function withNext(url: string, next: string): string {
  return `${url}${url.includes('?') ? '&' : '?'}next=${encodeURIComponent(next).replaceAll('%2F', '/')}`
}
