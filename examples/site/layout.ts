/** The frame of every page. */
import { type Html, html } from './html.ts'

const PAGES = { '/': 'Visits', '/cart/': 'Cart', '/comments/': 'Comments', '/session/': 'Session' }

export interface Page {
  title: string
  /** The path of the page, which the navigation marks. */
  path?: string | undefined
  /** The user who is signed in. */
  username?: string | undefined
  messages?: string[]
}

export function layout({ title, path, username, messages = [] }: Page, main: Html): Html {
  const pages = { ...PAGES, ...(username === undefined ? { '/login/': 'Sign in' } : { '/account/': 'Account' }) }
  const links = Object.entries(pages).map(([href, text]) => {
    const current = href === path ? html` aria-current="page"` : undefined
    return html`<li><a href="${href}"${current}>${text}</a></li>`
  })
  return html`<!doctype html>
<html lang="en-GB">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>${title} · fastify-django-sessions</title>
    <link rel="stylesheet" href="/style.css">
    <link rel="icon" href="data:,">
  </head>
  <body>
    <a class="skip" href="#main">Skip to the content</a>
    <header>
      <p><strong>fastify-django-sessions</strong> <span>a demo</span></p>
      ${username === undefined ? undefined : html`<p>Signed in as <strong>${username}</strong>.</p>`}
      <nav aria-label="Pages"><ul>${links}</ul></nav>
    </header>
    ${messages.map((message) => html`<p class="message" role="status">${message}</p>`)}
    <main id="main">
      <h1>${title}</h1>
      ${main}
    </main>
  </body>
</html>
`
}
