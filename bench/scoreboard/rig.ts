/** What the checks work with: a browser, gates for handlers, and one contender on its database. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdtemp, open, rm } from 'node:fs/promises'
import { createServer, get, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { type Server, startServer } from '../server.ts'
import type { Checked } from './contenders.ts'
import { startWire, type Wire } from './wire.ts'

/** Milliseconds after which a reply counts as none: more than any contender waits for a database by its own settings. */
export const REPLY_LIMIT = 8000
/** What a browser keeps of a cookie: bytes of its name and value (RFC 6265bis, 5.6). */
const COOKIE_LIMIT = 4096
/** The process prints to a file: what it prints before a reply is there when the reply comes, which a pipe does not promise. */
const PRINTED = 'printed'

export interface Reply {
  /** 0 where no whole reply came. */
  status: number
  /** The status in words. */
  text: string
  headers: IncomingMessage['headers']
  /** What the handler returned. */
  value: unknown
}

/** A browser: keeps the cookie of its session as browsers do, and sends it. */
export class Browser {
  readonly #origin: string
  cookie: string | null

  constructor(origin: string, cookie: string | null = null) {
    this.#origin = origin
    this.cookie = cookie
  }

  /** Another browser with a copy of the cookie. */
  copy(): Browser {
    return new Browser(this.#origin, this.cookie)
  }

  async get(path: string, limit = REPLY_LIMIT): Promise<Reply> {
    return (await this.open(path, limit)).whole
  }

  /** Resolves when the headers are here; the whole reply may take longer, or never come. */
  async open(path: string, limit = REPLY_LIMIT): Promise<{ location: string; whole: Promise<Reply> }> {
    const signal = AbortSignal.timeout(limit)
    const missing = () => ({ status: 0, text: signal.aborted ? 'no reply' : 'connection closed', headers: {}, value: undefined })
    try {
      const request = get(this.#origin + path, { headers: this.cookie === null ? {} : { cookie: this.cookie }, agent: false, signal })
      const [response] = (await once(request, 'response')) as [IncomingMessage]
      const { headers, statusCode: status = 0 } = response
      this.#keep(headers['set-cookie'])
      const whole = readBody(response).then((value) => ({ status, text: String(status), headers, value }), missing)
      return { location: headers.location ?? '', whole }
    } catch {
      return { location: '', whole: Promise.resolve(missing()) }
    }
  }

  #keep(setCookies: string[] | undefined): void {
    for (const text of setCookies ?? []) {
      const [pair = '', ...attributes] = text.split('; ')
      const attribute = (name: string) => attributes.find((other) => other.toLowerCase().startsWith(name))
      const expires = attribute('expires=')?.slice(8)
      const hasEnded = attribute('max-age=0') !== undefined || (expires !== undefined && new Date(expires).getTime() <= Date.now())
      if (pair.length - 1 > COOKIE_LIMIT || attribute('secure') !== undefined) continue
      this.cookie = hasEnded ? null : pair
    }
  }
}

/** Rejects where the connection ended before the body did. Undefined for what is no JSON: errors, redirects. */
async function readBody(response: IncomingMessage): Promise<unknown> {
  let text = ''
  for await (const chunk of response.setEncoding('utf8')) text += chunk
  return response.headers['content-type']?.includes('json') ? (JSON.parse(text) as { value?: unknown }).value : undefined
}

/** A gate in the handlers of a contender: they ask for its address, and are answered when it opens. */
export interface Gate {
  url: string
  /** When so many handlers wait. */
  reached(count?: number): Promise<void>
  open(): void
}

export interface Gates {
  create(): Gate
  stop(): void
}

export async function startGates(): Promise<Gates> {
  const arrivals = new Map<string, (response: ServerResponse) => void>()
  const server = createServer((request, response) => arrivals.get(request.url as string)?.(response)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    create() {
      const path = `/${arrivals.size}`
      const waiting: ServerResponse[] = []
      let isOpen = false
      let notify = () => {}
      arrivals.set(path, (response) => {
        if (isOpen) response.end()
        waiting.push(response)
        notify()
      })
      return {
        url: `http://127.0.0.1:${port}${path}`,
        reached: (count = 1) =>
          new Promise((resolve) => {
            notify = () => waiting.length >= count && resolve()
            notify()
          }),
        open: () => {
          isOpen = true
          for (const response of waiting) response.end()
        }
      }
    },
    stop() {
      server.closeAllConnections()
      server.close()
    }
  }
}

export type Variant = 'plain' | 'renewing' | 'secure' | 'cut off'

/** A contender at work, as the checks see it. */
export class Bench {
  readonly contender: Checked
  readonly wire: Wire
  readonly #server: Server
  readonly #gates: Gates
  readonly #admin: pg.Client | null
  readonly #folder: string

  private constructor(parts: { contender: Checked; wire: Wire; server: Server; gates: Gates; admin: pg.Client | null; folder: string }) {
    this.contender = parts.contender
    this.wire = parts.wire
    this.#server = parts.server
    this.#gates = parts.gates
    this.#admin = parts.admin
    this.#folder = parts.folder
  }

  /** 'cut off': the database is not reachable at the start. */
  static async start(contender: Checked, { variant, databaseUrl, gates }: { variant: Variant; databaseUrl: string; gates: Gates }) {
    const wire = await startWire(databaseUrl)
    wire.refuses = variant === 'cut off'
    const folder = await mkdtemp(join(tmpdir(), 'bench-scoreboard-'))
    const admin = contender.table === null ? null : new pg.Client(databaseUrl)
    await admin?.connect()
    const printed = await open(join(folder, PRINTED), 'a')
    try {
      const server = await startServer(
        { ...contender, spread: true, env: { VARIANT: variant } },
        { database: wire.url, payload: 0, output: printed.fd }
      )
      return new Bench({ contender, wire, server, gates, admin, folder })
    } catch (error) {
      const output = readPrinted(folder)
      wire.stop()
      await admin?.end()
      await rm(folder, { recursive: true })
      throw new Error(`${(error as Error).message}: ${output}`)
    } finally {
      await printed.close()
    }
  }

  browser(cookie: string | null = null): Browser {
    return new Browser(this.#server.origin, cookie)
  }

  /** A browser whose session has the user and, maybe, more. */
  async visitor(): Promise<Browser> {
    const browser = this.browser()
    await browser.get('/set?name=user&value="ada"')
    return browser
  }

  gate(): Gate {
    return this.#gates.create()
  }

  /** What would have ended the process since the last time, what is still to happen included. */
  async faults(): Promise<string[]> {
    const faults: string[] = []
    for (let sent = -1; sent !== this.wire.statements.length; ) {
      sent = this.wire.statements.length
      await this.wire.idle()
      // What comes of the last answers may send more.
      faults.push(...(await this.#server.ask<string[]>('faults')))
    }
    return faults
  }

  /** What the process has printed. */
  get output(): string {
    return readPrinted(this.#folder)
  }

  /** @param where conditions in SQL */
  async rows(where = 'true'): Promise<number> {
    const { rows } = await this.query(`SELECT count(*)::int AS count FROM "${this.table.name}" WHERE ${where}`)
    return rows[0].count
  }

  /** Asks the database itself, and not through the wire. */
  query(sql: string): Promise<pg.QueryResult> {
    return (this.#admin as pg.Client).query(sql)
  }

  /** @throws TypeError where sessions are in the cookie */
  get table(): NonNullable<Checked['table']> {
    if (this.contender.table === null) throw new TypeError(`Expected a contender with a table, got ${this.contender.name}`)
    return this.contender.table
  }

  /** Runs `work` while the table is away, so that every statement fails. */
  async withoutTable<T>(work: () => Promise<T>): Promise<T> {
    const { name } = this.table
    await this.query(`ALTER TABLE "${name}" RENAME TO "${name}_away"`)
    try {
      return await work()
    } finally {
      await this.query(`ALTER TABLE "${name}_away" RENAME TO "${name}"`)
    }
  }

  /** The statements on sessions that `work` caused, by their first words. */
  async statements(work: () => Promise<unknown>): Promise<string[]> {
    this.wire.statements.length = 0
    await work()
    return this.wire.statements.map((sql) => kindOf(sql, this.table.name)).filter((kind) => kind !== null)
  }

  async stop(): Promise<void> {
    this.wire.stop()
    await this.#server.stop()
    await this.#admin?.end()
    await rm(this.#folder, { recursive: true })
  }
}

const readPrinted = (folder: string) => readFileSync(join(folder, PRINTED), 'utf8')

/** Null for what a driver or a pool asks on its own account. */
function kindOf(sql: string, table: string): string | null {
  const word = (/^\s*(\w+)/.exec(sql)?.[1] ?? '').toUpperCase()
  if (['BEGIN', 'COMMIT', 'ROLLBACK'].includes(word)) return word
  if (!sql.includes(table)) return null
  return word === 'WITH' || /DO UPDATE/.test(sql) ? 'UPSERT' : word
}
