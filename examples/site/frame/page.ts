/** How pages are sent, and what they have in common. */
import type { FastifyReply } from 'fastify'
import type { Session } from 'fastify-django-sessions'
import { user } from '../users.ts'
import { type Html, html } from './html.ts'
import { layout, type Page } from './layout.ts'

declare module 'fastify-django-sessions' {
  interface SessionData {
    /** The message for the visitor on the next page. */
    messages: string[]
  }
}

/** Keeps a message for the next page that is shown. */
export function tell(session: Session, message: string): void {
  session.set('messages', (messages = []) => [...messages, message])
}

/** Needs a session that is loaded. */
export async function sendPage(reply: FastifyReply, page: Pick<Page, 'title' | 'hero'>, main: Html): Promise<FastifyReply> {
  const { session, routeOptions } = reply.request
  const username = (await user(reply.request))?.username
  // With this, and what the logout does, nobody sees them by the back button when the user has signed out.
  if (username !== undefined) reply.header('cache-control', 'no-store')
  return sendHtml(reply, layout({ ...page, path: routeOptions.url, username, messages: session.pop('messages', []) }, main))
}

/** Does without the session, since that may be what failed. */
export function sendError(reply: FastifyReply, problem: string): FastifyReply {
  const main = html`${showProblem(problem)}<p><a href="/">Go to the start page</a></p>`
  return sendHtml(reply, layout({ title: `Error ${reply.statusCode}`, username: null }, main))
}

export function sendHtml(reply: FastifyReply, page: Html): FastifyReply {
  return reply.type('text/html; charset=utf-8').send(page.toString())
}

export function showProblem(problem = ''): Html | undefined {
  return problem === '' ? undefined : html`<p class="problem" role="alert">${problem}</p>`
}

/** The JSON schema of a form: these fields are strings that must be there. */
export function form(fields: Record<string, { maxLength?: number; enum?: string[] }>) {
  const properties = Object.fromEntries(Object.entries(fields).map(([name, rules]) => [name, { type: 'string', ...rules }]))
  return { type: 'object', required: Object.keys(fields), properties }
}

const UNITS = [
  [86_400, 'day'],
  [3600, 'hour'],
  [60, 'minute'],
  [1, 'second']
] as const

/** When a session ends, if nothing is saved before: the script counts. */
export function countdown(session: Session): Html {
  const end = session.endsAt?.idle
  const seconds = end === undefined ? session.getExpiryAge() : Math.max(0, (end.getTime() - Date.now()) / 1000)
  return html`<span class="countdown" data-seconds="${Math.ceil(seconds)}">in ${inWords(seconds)}</span>, unless something is saved before`
}

/** Seconds in words, such as 14 days or 20 seconds. */
export function inWords(seconds: number): string {
  const [size, unit] = UNITS.find(([size]) => seconds >= size) ?? [1, 'second']
  const count = Math.round(seconds / size)
  return `${count} ${unit}${count === 1 ? '' : 's'}`
}
