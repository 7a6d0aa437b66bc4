/** The way back after a login: where to go, and the redirect to the login page that says so. */

/** One slash, which neither a browser nor a proxy that decodes could take for the beginning of a host. */
const PATH = /^\/(?!\/|%2f|%5c)[!-[\]-~]*$/i

/**
 * Where to go after signing in: `next`, which anybody may have written, if it is a path
 * of this site, else `fallback`. Stricter than `url_has_allowed_host_and_scheme` in
 * django/utils/http.py: no hosts at all, and only what may stand in a URL, so that no
 * browser, and no proxy that decodes slashes or resolves dots, reads it in another way.
 */
export function safeNext(next: unknown, fallback: string): string {
  if (typeof next !== 'string' || !PATH.test(next)) return fallback
  const resolved = withoutDots(next)
  // `/.//host` is `//host` without its dots, and `/a/..%2f%2fhost` where slashes are decoded first.
  return PATH.test(resolved) && PATH.test(withoutDots(resolved.replaceAll(/%2f|%5c/gi, '/'))) ? next : fallback
}

function withoutDots(path: string): string {
  return new URL(path, 'http://localhost').pathname
}

/** A login page's URL with the way back in `next` (django.contrib.auth.views.redirect_to_login). */
export function withNext(url: string, next: string): string {
  return `${url}${url.includes('?') ? '&' : '?'}next=${encodeURIComponent(next).replaceAll('%2F', '/')}`
}
