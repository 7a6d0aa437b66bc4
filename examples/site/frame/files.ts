/** The style and the script, which need no session. */
import { readFile } from 'node:fs/promises'
import type { FastifyInstance } from 'fastify'

const FILES = { 'style.css': 'text/css', 'client.js': 'text/javascript' }

export async function serveFiles(app: FastifyInstance): Promise<void> {
  for (const [name, type] of Object.entries(FILES)) {
    const text = await readFile(new URL(`../public/${name}`, import.meta.url), 'utf8')
    app.get(`/${name}`, { config: { session: false } }, (_request, reply) => reply.type(`${type}; charset=utf-8`).send(text))
  }
}
