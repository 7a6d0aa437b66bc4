/** A contender at work: its process, its sessions, and the proof that it does what is measured. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { freePort } from '../test/fixtures/servers.ts'
import type { Contender } from './contenders.ts'
import { pinned } from './processes.ts'

export interface Server {
  contender: Contender
  origin: string
  pid: number
  /** Sends a message to the process, and returns its answer. One at a time. */
  ask<T>(question: string): Promise<T>
  /** After a collection, where it was started with --expose-gc. */
  memory(): Promise<Memory>
  /** Answers the requests to `/held`. */
  release(): void
  stop(): Promise<void>
}

export interface Memory {
  /** Bytes. */
  heap: number
  /** Requests that wait in `/held`. */
  requestsHeld: number
}

/** What a new session holds: a login as Django stores it (190 bytes), and goods up to `bytes` of JSON. */
export function sessionData(bytes: number): Record<string, unknown> {
  const login = {
    _auth_user_id: '1',
    _auth_user_backend: 'django.contrib.auth.backends.ModelBackend',
    _auth_user_hash: '0f2a4e6c8b1d3f5a7092b4d6f8e1c3a50f2a4e6c8b1d3f5a7092b4d6f8e1c3a5',
    visits: 0
  }
  const cart: object[] = []
  const data = () => (cart.length === 0 ? login : { ...login, cart })
  while (JSON.stringify(data()).length < bytes) {
    const id = 1000 + cart.length * 37
    cart.push({ id, title: `Article ${id}`, quantity: (id % 7) + 1, price: (id * 13) % 997, inStock: id % 3 > 0 })
  }
  return data()
}

export interface StartOptions {
  database: string
  payload: number
  /** The open file for what the process prints. Default: the terminal. */
  output?: number
}

export async function startServer(contender: Contender, { database, payload, output }: StartOptions): Promise<Server> {
  const port = await freePort()
  const [command, ...args] = pinned(contender.spread ? 'all' : 'server', contender.command)
  const child = spawn(command, args, {
    stdio: ['ignore', output ?? 'inherit', output ?? 'inherit', 'ipc'],
    env: {
      ...process.env,
      NODE_ENV: 'production',
      PORT: String(port),
      DATABASE: database,
      SESSION_DATA: JSON.stringify(sessionData(payload)),
      ...contender.env
    }
  })
  await new Promise<void>((resolve, reject) => {
    child.once('message', () => resolve())
    child.once('exit', (status) => reject(new Error(`${contender.name} ended with status ${status}`)))
  })
  const ask = <T>(question: string): Promise<T> => {
    const answer = new Promise<T>((resolve, reject) => {
      const ended = () => reject(new Error(`${contender.name} ended`))
      child.once('exit', ended).once('message', (message) => {
        child.off('exit', ended)
        resolve(message as T)
      })
    })
    child.send(question)
    return answer
  }
  return {
    contender,
    origin: `http://127.0.0.1:${port}`,
    pid: child.pid as number,
    ask,
    memory: () => ask('memory'),
    release: () => child.send('release'),
    stop: () => stop(child)
  }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  // Who waits for connections that stay open has had its time.
  const timer = setTimeout(() => child.kill('SIGKILL'), 5000)
  await ended
  clearTimeout(timer)
}

/** What a browser would send back. */
function cookieOf(response: Response): string {
  return response.headers
    .getSetCookie()
    .map((header) => header.slice(0, header.indexOf(';')))
    .join('; ')
}

/** Makes sessions, and returns their cookies. */
export async function createSessions({ origin }: { origin: string }, count: number): Promise<string[]> {
  const cookies: string[] = []
  let begun = 0
  const make = async () => {
    while (begun++ < count) {
      const response = await fetch(`${origin}/new`)
      await response.arrayBuffer()
      cookies.push(cookieOf(response))
    }
  }
  await Promise.all(Array.from({ length: 20 }, make))
  return cookies
}

/** Every route does what it says, for two visitors, or it is not measured. @throws AssertionError */
export async function checkBehaviour({ contender, origin }: Pick<Server, 'contender' | 'origin'>): Promise<void> {
  const get = async (path: string, cookie?: string) => {
    const response = await fetch(`${origin}${path}`, cookie === undefined ? {} : { headers: { cookie } })
    const text = await response.text()
    assert.equal(response.status, 200, `${contender.name} ${path}: ${text}`)
    return { body: JSON.parse(text), cookie: cookieOf(response) }
  }
  const visits = async (cookie?: string) => (await get('/read', cookie)).body.visits
  const message = contender.name

  assert.deepEqual((await get('/untouched')).body, { ok: true }, message)
  if (contender.name === 'bare') return
  const [one = '', two = ''] = await createSessions({ origin }, 2)
  assert.notEqual(one, '', message)
  assert.notEqual(one, two, message)
  assert.deepEqual([await visits(), await visits(one), await visits(two)], [null, 0, 0], message)
  const first = await get('/write', one)
  assert.deepEqual(first.body, { visits: 1 }, message)
  const latest = contender.stateless ? first.cookie : one
  assert.deepEqual((await get('/write', latest)).body, { visits: 2 }, message)
  if (!contender.stateless) assert.deepEqual([await visits(one), await visits(two)], [2, 0], message)
  assert.equal((await get('/untouched', one)).body.ok, true, message)
  const logout = await get('/logout', one)
  assert.deepEqual(logout.body, { ok: true }, message)
  if (!contender.stateless) assert.deepEqual([await visits(one), await visits(two)], [null, 0], message)
  else assert.equal(await visits(logout.cookie), null, message)
}
