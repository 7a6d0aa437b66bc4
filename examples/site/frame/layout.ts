/** The frame of every page. */
import { type Html, html } from './html.ts'

/** Their links, in the navigation of every page. */
const PAGES = { '/': 'Home', '/cart/': 'Cart', '/comments/': 'Comments', '/my-sessions/': 'Sessions', '/session/': 'Row' }

const REPOSITORY = 'https://github.com/OWNER/fastify-django-sessions'

export interface Page {
  title: string
  /** Above the content, with a heading of its own, where the title would be. */
  hero?: Html
  /** The path of the page, which the navigation marks. */
  path?: string | undefined
  /** The user who is signed in; null if that is not known. */
  username?: string | null | undefined
  messages?: string[]
}

export function layout({ title, hero, path, username, messages = [] }: Page, main: Html): Html {
  return html`<!doctype html>
<html lang="en-GB">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>${title} · fastify-django-sessions</title>
    <link rel="stylesheet" href="/style.css">
    <link rel="icon" href="data:,">
    <script src="/client.js" defer></script>
  </head>
  <body>
    <a class="skip" href="#main">Skip to the content</a>
    <header class="band">
      <p class="brand"><a href="/">fastify-django-sessions</a></p>
      <nav aria-label="Pages"><ul>${Object.entries(PAGES).map(([href, text]) => html`<li>${link(href, text, path)}</li>`)}</ul></nav>
      ${accountOf(username, path)}
    </header>
    <main id="main"${hero === undefined ? html` class="sheet"` : undefined}>
      ${hero}
      ${messages.map((message) => html`<p class="message" role="status">${message}</p>`)}
      ${hero === undefined ? html`<h1>${title}</h1>` : undefined}
      ${main}
    </main>
    <footer>
      <p>Sessions and comments are in the database, and survive a restart of the server.</p>
      <ul>
        <li><a href="${REPOSITORY}/tree/main/examples/site">Code of this site</a></li>
        <li><a href="${REPOSITORY}#quick-start">Quick start</a></li>
        <li><a href="${REPOSITORY}/blob/main/docs/README.md">Documentation</a></li>
      </ul>
    </footer>
  </body>
</html>
`
}

function link(href: string, text: string, path: string | undefined): Html {
  return html`<a href="${href}"${href === path ? html` aria-current="page"` : undefined}>${text}</a>`
}

function accountOf(username: string | null | undefined, path: string | undefined): Html | undefined {
  if (username === null) return
  if (username === undefined) return html`<p class="account">${link('/login/', 'Sign in', path)}</p>`
  return html`
    <form class="account" method="post" action="/logout/">
      <span>Signed in as <a href="/account/">${username}</a>.</span>
      <button class="quiet">Sign out</button>
    </form>`
}
