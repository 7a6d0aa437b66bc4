/** What an experiment found out: a part of the home page, or a page of its own where no script runs. */
import type { FastifyReply } from 'fastify'
import { type Html, html } from './html.ts'
import { sendHtml, sendPage } from './page.ts'

export async function sendResult(reply: FastifyReply, title: string, result: Html): Promise<FastifyReply> {
  if (!reply.request.headers.accept?.includes('text/html')) return sendHtml(reply, result)
  await reply.request.session.load()
  return sendPage(reply, { title }, html`<div class="result">${result}</div><p><a href="/">Back to the experiments</a></p>`)
}
