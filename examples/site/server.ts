/** Serves the site: `npm start`. */
import { randomBytes } from 'node:crypto'
import { existsSync, linkSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { FastifyInstance } from 'fastify'
import { database } from './database.ts'
import { buildSite } from './site.ts'

const { DATABASE_URL, HOST: host = '127.0.0.1', PORT, SECRET_KEY } = process.env
const ports = PORT === undefined ? Array.from({ length: 10 }, (_, index) => 3000 + index) : [Number(PORT)]

// The thing to check if the next step fails.
let advice = DATABASE_URL === undefined ? 'Check that the folder is writable.' : 'Check DATABASE_URL: expected postgres://user@host/name.'
try {
  const secretKey = SECRET_KEY ?? keptSecretKey()
  // Knex would print every connection that fails, with its stack.
  const log = { warn: () => {}, error: () => {} }
  const site = await buildSite({ database: { ...database, log }, secretKey, server: { logger: { level: 'warn' } } })
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => site.close())
  advice = 'Check HOST and PORT.'
  console.log(`The site is at ${await listen(site)}`)
} catch (error) {
  const { message, code } = error as NodeJS.ErrnoException
  // An error for several addresses has no message.
  console.error(`The site cannot start: ${message || code}\n${advice}`)
  // Connections to the database may still be open.
  process.exit(1)
}

/** On the first port that is free. */
async function listen(site: FastifyInstance): Promise<string> {
  for (const port of ports) {
    try {
      return await site.listen({ host, port })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    }
  }
  const last = ports.at(-1) as number
  advice = `Choose another one: PORT=${last + 1} npm start`
  throw new Error(PORT === undefined ? `ports 3000 to ${last} are taken` : `port ${last} is taken`)
}

/** Made at the first start, and kept out of git: with another key all sessions would be unreadable. */
function keptSecretKey(): string {
  const file = fileURLToPath(new URL('demo.secret-key', import.meta.url))
  if (!existsSync(file)) {
    // Two sites that start at once must end up with the same key: only one can link.
    const own = `${file}-${process.pid}`
    writeFileSync(own, randomBytes(48).toString('base64url'), { mode: 0o600 })
    try {
      linkSync(own, file)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    } finally {
      rmSync(own)
    }
  }
  return readFileSync(file, 'utf8')
}
