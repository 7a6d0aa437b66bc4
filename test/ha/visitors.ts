/** Visitors over HTTP, each with one request at a time, whose requests and answers are recorded. */
import { Agent, request } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import { random } from '../fixtures/visitors.ts'
import type { End, Visit } from './history.ts'

/** Milliseconds between an answer and the next request. */
const PAUSE = 40

interface Answer {
  /** 0 for none. */
  status: number
  body: string
  cookie: string | null
}

export class RecordedVisitors {
  readonly visits: Visit[] = []
  readonly #origins: () => readonly string[]
  readonly #agent = new Agent({ keepAlive: true })
  readonly #cookies = new Map<string, string>()
  readonly #began = performance.now()
  readonly #running: Promise<unknown>
  #stopped = false

  /** @param origins of the processes that may be asked now, by a random choice for each request */
  constructor(origins: () => readonly string[], { count, seed }: { count: number; seed: number }) {
    this.#origins = origins
    this.#running = Promise.all(Array.from({ length: count }, (_, visitor) => this.#visit(visitor, random(seed + visitor))))
  }

  /** Until all have their last answer. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.#running
  }

  /** What the sessions hold, read by their last cookies. @throws where one cannot be read */
  async ends(): Promise<End[]> {
    const ends: End[] = []
    for (const [key, cookie] of this.#cookies) {
      const [visitor, life] = key.split('/').map(Number) as [number, number]
      const { status, body } = await this.#get(0, '/read', cookie)
      if (status !== 200) throw new Error(`the end of a session could not be read: ${status} ${body}`)
      ends.push({ visitor, life, count: JSON.parse(body).count ?? null })
    }
    this.#agent.destroy()
    return ends
  }

  async #visit(visitor: number, next: () => number): Promise<void> {
    for (let life = 0; !this.#stopped; life++) {
      const ask = (what: Visit['what'], isAfterLogout = false) => this.#ask({ visitor, life, what, isAfterLogout }, next())
      if ((await ask('login')) !== 200) continue
      for (let visits = 3 + Math.floor(next() * 8); visits > 0 && !this.#stopped; visits--) await ask(next() < 0.5 ? 'count' : 'read')
      // Some leave without a logout: their sessions must be there in the end.
      if (!this.#stopped && next() < 0.6 && (await ask('logout')) === 200) await ask('read', true)
    }
  }

  async #ask(visit: Pick<Visit, 'visitor' | 'life' | 'what' | 'isAfterLogout'>, chance: number): Promise<number> {
    const { visitor, life, what } = visit
    const process = Math.floor(chance * this.#origins().length)
    const key = `${visitor}/${life}`
    const url = { login: `/visit/${visitor}/${life}`, count: `/visit/${visitor}/${life}`, read: '/read', logout: '/flush' }[what]
    const start = performance.now() - this.#began
    const { status, body, cookie } = await this.#get(process, url, this.#cookies.get(key) ?? null)
    const end = performance.now() - this.#began
    const seen = what === 'read' && status === 200 ? (JSON.parse(body).count ?? null) : undefined
    this.visits.push({ ...visit, process, start, end, status, ...(seen === undefined ? {} : { seen }) })
    if (cookie) this.#cookies.set(key, cookie)
    await pause(PAUSE)
    return status
  }

  #get(process: number, url: string, cookie: string | null): Promise<Answer> {
    const origin = this.#origins()[process] ?? this.#origins()[0]
    return new Promise((resolve) => {
      const none = () => resolve({ status: 0, body: '', cookie: null })
      const sent = request(
        `${origin}${url}`,
        { agent: this.#agent, headers: cookie ? { cookie: `sessionid=${cookie}` } : {} },
        (response) => {
          let body = ''
          response.setEncoding('utf8').on('data', (text) => {
            body += text
          })
          response.on('error', none).on('end', () => {
            const [set] = response.headers['set-cookie'] ?? []
            resolve({ status: response.statusCode as number, body, cookie: set?.slice('sessionid='.length, set.indexOf(';')) ?? null })
          })
        }
      )
      sent.on('error', none).end()
    })
  }
}
