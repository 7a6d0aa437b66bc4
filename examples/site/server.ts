/** Serves the site: `npm start`. */
import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import database from '../../knexfile.ts'
import { buildSite } from './site.ts'

const host = process.env.HOST ?? '127.0.0.1'
const port = Number(process.env.PORT ?? 3000)
const site = await buildSite({ database, secretKey: process.env.SECRET_KEY ?? keptSecretKey(), server: { logger: { level: 'warn' } } })

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => site.close())
try {
  console.log(`The site is at ${await site.listen({ host, port })}`)
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException
  console.error(code === 'EADDRINUSE' ? `Port ${port} is taken. Choose another one: PORT=${port + 1} npm start` : message)
  process.exitCode = 1
  await site.close()
}

/** Made at the first start, and kept out of git: with another key all sessions would be unreadable. */
function keptSecretKey(): string {
  const file = new URL('../../example.secret-key', import.meta.url)
  if (!existsSync(file)) writeFileSync(file, randomBytes(32).toString('base64url'), { mode: 0o600 })
  return readFileSync(file, 'utf8')
}
