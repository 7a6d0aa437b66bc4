/**
 * What one would write by hand: named prepared statements through pg, Django's codec,
 * no features. `--plain` deflates from 1 kB on only, as this package does by default.
 */
import { randomBytes } from 'node:crypto'
import Fastify from 'fastify'
import pg from 'pg'
import { createCodec } from './django-codec.ts'
import { cookieAge, database, newSession, poolSize, secret, serve } from './serve.ts'

const codec = createCodec(secret, process.argv.includes('--plain') ? 1024 : 0)
const pool = new pg.Pool({ connectionString: database, max: poolSize })
await pool.query(
  'CREATE TABLE IF NOT EXISTS django_session (session_key varchar(40) NOT NULL PRIMARY KEY, session_data text NOT NULL, expire_date timestamptz NOT NULL)'
)
await pool.query('CREATE INDEX IF NOT EXISTS django_session_key_like ON django_session (session_key varchar_pattern_ops)')
await pool.query('CREATE INDEX IF NOT EXISTS django_session_expire_date ON django_session (expire_date)')

const SELECT = 'SELECT session_data FROM django_session WHERE session_key = $1 AND expire_date > $2'
const INSERT = 'INSERT INTO django_session (session_key, session_data, expire_date) VALUES ($1, $2, $3)'
const UPDATE = 'UPDATE django_session SET session_data = $2, expire_date = $3 WHERE session_key = $1'
const DELETE = 'DELETE FROM django_session WHERE session_key = $1'

const keyOf = (cookie: string | undefined) => /(?:^|; ?)sessionid=([^;]*)/.exec(cookie ?? '')?.[1] ?? null
const now = () => new Date().toISOString()
const expireDate = () => new Date(Date.now() + cookieAge * 1000)
const setCookie = (key: string) =>
  `sessionid=${key}; Path=/; HttpOnly; SameSite=Lax; Max-Age=${cookieAge}; Expires=${expireDate().toUTCString()}`

async function load(key: string | null): Promise<Record<string, unknown> | null> {
  if (key === null) return null
  const { rows } = await pool.query({ name: 'select', text: SELECT, values: [key, now()] })
  return rows.length === 0 ? null : codec.decode(rows[0].session_data)
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
  await pool.query({ name: 'update', text: UPDATE, values: [key, codec.encode(data), expireDate().toISOString()] })
  reply.header('set-cookie', setCookie(key)).header('vary', 'Cookie')
  return { visits: data.visits }
})
app.get('/new', async (_request, reply) => {
  const key = randomBytes(16).toString('hex')
  await pool.query({ name: 'insert', text: INSERT, values: [key, codec.encode(newSession), expireDate().toISOString()] })
  reply.header('set-cookie', setCookie(key)).header('vary', 'Cookie')
  return { visits: 0 }
})
app.get('/logout', async (request, reply) => {
  await pool.query({ name: 'delete', text: DELETE, values: [keyOf(request.headers.cookie)] })
  reply.header('set-cookie', 'sessionid=; Path=/; Max-Age=0').header('vary', 'Cookie')
  return { ok: true }
})
await serve(app)
