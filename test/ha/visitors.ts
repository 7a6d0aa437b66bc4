/** Visitors over HTTP, each with one session at a time, whose requests and answers are recorded. */
import { Agent, request } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import { random } from '../fixtures/visitors.ts'
import type { Content, End, Visit } from './history.ts'

interface Answer {
  /** 0 for none. */
  status: number
  body: string
  cookie: string | null
}

export interface VisitorsOptions {
  count: number
  seed: number
  /** How many writes or reads of one session a visitor asks for at the same time, each of another process. @default 1, of any process */
  tabs?: number
  /** Milliseconds between an answer and the next request. @default 40 */
  rest?: number
}

export class RecordedVisitors {
  readonly visits: Visit[] = []
  readonly #origins: () => readonly string[]
  readonly #tabs: number
  readonly #rest: number
  readonly #agent = new Agent({ keepAlive: true })
  readonly #cookies = new Map<string, string>()
  readonly #began = performance.now()
  readonly #running: Promise<unknown>
  #writes = 0
  #stopped = false

  /** @param origins of the processes that may be asked now, by a random choice for each request */
  constructor(origins: () => readonly string[], { count, seed, tabs = 1, rest = 40 }: VisitorsOptions) {
    this.#origins = origins
    this.#tabs = tabs
    this.#rest = rest
    this.#running = Promise.all(Array.from({ length: count }, (_, visitor) => this.#visit(visitor, random(seed + visitor))))
  }

  /** Milliseconds since the beginning. */
  get now(): number {
    return performance.now() - this.#began
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
      ends.push({ visitor, life, seen: contentOf(body) })
    }
    this.#agent.destroy()
    return ends
  }

  async #visit(visitor: number, next: () => number): Promise<void> {
    const process = () => Math.floor(next() * this.#origins().length)
    for (let life = 0; !this.#stopped; life++) {
      const ask = (what: Visit['what'], at = process()) => this.#ask({ visitor, life, what, process: at })
      if ((await ask('login')) !== 200) continue
      for (let visits = 3 + Math.floor(next() * 8); visits > 0 && !this.#stopped; visits--) {
        const first = process()
        const tabs = Array.from({ length: this.#tabs }, (_, tab) => (first + tab) % this.#origins().length)
        await Promise.all(tabs.map((at) => ask(next() < 0.5 ? 'write' : 'read', at)))
      }
      // Some leave without a logout: their sessions must be there in the end.
      if (this.#stopped || next() >= 0.6) continue
      // Nobody would see afterwards that a write was missing, and whatever the logout's answer is, what is seen then must stay.
      for (const what of ['read', 'logout', 'read'] as const) await ask(what)
    }
  }

  async #ask(visit: Pick<Visit, 'visitor' | 'life' | 'what' | 'process'>): Promise<number> {
    const { visitor, life, what, process } = visit
    const isWrite = what === 'login' || what === 'write'
    const id = isWrite ? { id: ++this.#writes } : {}
    const key = `${visitor}/${life}`
    const url = isWrite ? `/write/${key}/${id.id}` : what === 'read' ? '/read' : '/flush'
    const start = this.now
    const { status, body, cookie } = await this.#get(process, url, this.#cookies.get(key) ?? null)
    const seen = what === 'read' && status === 200 ? { seen: contentOf(body) } : {}
    this.visits.push({ ...visit, ...id, start, end: this.now, status, ...seen })
    if (cookie) this.#cookies.set(key, cookie)
    await pause(this.#rest)
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

/** Null for a session without data: the visitor is nobody. */
function contentOf(body: string): Content | null {
  const { visitor, life, writes = [], twin = [] } = JSON.parse(body)
  return body === '{}' ? null : { visitor, life, writes, twin }
}
