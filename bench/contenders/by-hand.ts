/** The routes of a server that is written by hand: Django's codec and cookie, rows from its own storage, no features. */
import { randomBytes } from 'node:crypto'
import Fastify from 'fastify'
import type { createCodec } from './django-codec.ts'
import { cookieAge, newSession, serve } from './serve.ts'

/** Stored sessions by key. A row that is written expires a cookie's age from now. */
export interface Rows {
  /** The signed text, or null if there is none or it has expired. */
  read(key: string): Promise<string | null>
  insert(key: string, text: string): Promise<unknown>
  update(key: string, text: string): Promise<unknown>
  remove(key: string): Promise<unknown>
}

/** The moment at which a row or cookie that is written now expires. */
export const expireDate = () => new Date(Date.now() + cookieAge * 1000)

const keyOf = (cookie: string | undefined) => /(?:^|; ?)sessionid=([^;]*)/.exec(cookie ?? '')?.[1] ?? null
const setCookie = (key: string) =>
  `sessionid=${key}; Path=/; HttpOnly; SameSite=Lax; Max-Age=${cookieAge}; Expires=${expireDate().toUTCString()}`

export async function serveByHand(rows: Rows, codec: ReturnType<typeof createCodec>): Promise<void> {
  async function load(key: string | null): Promise<Record<string, unknown> | null> {
    const text = key === null ? null : await rows.read(key)
    return text === null ? null : codec.decode(text)
  }

  const app = Fastify()
  app.get('/untouched', async () => ({ ok: true }))
  app.get('/read', async (request, reply) => {
    const data = await load(keyOf(request.headers.cookie))
    reply.header('vary', 'Cookie')
    return { visits: data?.visits ?? null }
  })
  app.get('/write', async (request, reply) => {
    const key = keyOf(request.headers.cookie)
    const data = await load(key)
    if (key === null || data === null) throw new Error('no session')
    data.visits = (data.visits as number) + 1
    await rows.update(key, codec.encode(data))
    reply.header('set-cookie', setCookie(key)).header('vary', 'Cookie')
    return { visits: data.visits }
  })
  app.get('/new', async (_request, reply) => {
    const key = randomBytes(16).toString('hex')
    await rows.insert(key, codec.encode(newSession))
    reply.header('set-cookie', setCookie(key)).header('vary', 'Cookie')
    return { visits: 0 }
  })
  app.get('/logout', async (request, reply) => {
    const key = keyOf(request.headers.cookie)
    if (key !== null) await rows.remove(key)
    reply.header('set-cookie', 'sessionid=; Path=/; Max-Age=0').header('vary', 'Cookie')
    return { ok: true }
  })
  await serve(app)
}
