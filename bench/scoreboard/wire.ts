/**
 * Stands between a contender and PostgreSQL. It reads the statements that go through,
 * whether they are prepared or not, and holds one back or cuts its connection off
 * where a check asks for that: at a statement, and not after a time.
 *
 * @see https://www.postgresql.org/docs/current/protocol-message-formats.html
 */
import { EventEmitter, once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { gate } from '../../test/fixtures/app.ts'

export interface Wire {
  /** The address of the database, as it is reached through the wire. */
  url: string
  /** What was executed, in its order. */
  statements: string[]
  /** While true, new connections are refused. */
  refuses: boolean
  /** Keeps the next statement that matches from the database until it is opened. */
  hold(pattern: RegExp): { reached: Promise<void>; open(): void }
  /** Cuts the connection off over which the next statement comes that matches. */
  cut(pattern: RegExp): void
  /** Resolves when the database has answered all that was passed on. */
  idle(): Promise<void>
  stop(): void
}

interface Trap {
  pattern: RegExp
  spring(cutOff: () => void): Promise<void>
}

/** Parse, Bind, Describe, Execute, Close: the database answers to what follows them. */
const isPart = (type: string) => type !== '' && 'PBDEC'.includes(type)

/** Messages that are answered by ReadyForQuery: the first of a connection, Sync and Query. */
const isAnswered = (type: string) => type === '' || type === 'S' || type === 'Q'

/** Cuts the bytes of one side into messages. */
class Framer {
  #buffer = Buffer.alloc(0)
  /** The first message of a client has no type. */
  #typed: boolean

  constructor(typed: boolean) {
    this.#typed = typed
  }

  *read(bytes: Buffer): Generator<{ type: string; message: Buffer }> {
    this.#buffer = Buffer.concat([this.#buffer, bytes])
    for (;;) {
      const start = this.#typed ? 1 : 0
      if (this.#buffer.length < start + 4) return
      const length = start + this.#buffer.readInt32BE(start)
      if (this.#buffer.length < length) return
      const message = this.#buffer.subarray(0, length)
      this.#buffer = this.#buffer.subarray(length)
      const type = this.#typed ? message.toString('latin1', 0, 1) : ''
      this.#typed = true
      yield { type, message }
    }
  }
}

interface Group {
  bytes: Buffer
  statements: string[]
  isAnswered: boolean
}

/** Puts together what a client wants carried out together, and knows its statements. */
class Reader {
  readonly #framer = new Framer(false)
  readonly #prepared = new Map<string, string>()
  #bound = ''
  #messages: Buffer[] = []
  #statements: string[] = []

  #note(type: string, message: Buffer): void {
    const [first = '', second = ''] = type === '' ? [] : message.toString('latin1', 5).split('\0', 2)
    if (type === 'P') this.#prepared.set(first, second)
    if (type === 'B') this.#bound = this.#prepared.get(second) ?? ''
    if (type === 'E') this.#statements.push(this.#bound)
    if (type === 'Q') this.#statements.push(first)
  }

  *read(bytes: Buffer): Generator<Group> {
    for (const { type, message } of this.#framer.read(bytes)) {
      this.#messages.push(message)
      this.#note(type, message)
      if (isPart(type)) continue
      yield { bytes: Buffer.concat(this.#messages), statements: this.#statements, isAnswered: isAnswered(type) }
      this.#messages = []
      this.#statements = []
    }
  }
}

export async function startWire(databaseUrl: string): Promise<Wire> {
  const upstream = new URL(databaseUrl)
  const traps: Trap[] = []
  const sockets = new Set<Socket>()
  /** Answers that are to come, of each connection to the database. */
  const awaited = new Map<Socket, number>()
  const quiet = new EventEmitter()

  function expect(database: Socket, change: number): void {
    const count = awaited.get(database)
    if (count !== undefined) awaited.set(database, count + change)
    if (isIdle()) quiet.emit('idle')
  }
  const isIdle = () => [...awaited.values()].every((count) => count === 0)

  async function pass({ bytes, statements, isAnswered }: Group, database: Socket, cutOff: () => void): Promise<void> {
    wire.statements.push(...statements)
    const index = traps.findIndex(({ pattern }) => statements.some((sql) => pattern.test(sql)))
    if (index >= 0) await traps.splice(index, 1)[0]?.spring(cutOff)
    if (isAnswered) expect(database, 1)
    database.write(bytes)
  }

  const server = createServer((client) => {
    if (wire.refuses) return client.destroy()
    const database = connect(Number(upstream.port), upstream.hostname)
    awaited.set(database, 0)
    const cutOff = () => {
      client.destroy()
      database.destroy()
      awaited.delete(database)
      expect(database, 0)
    }
    for (const socket of [client, database]) {
      sockets.add(socket.setNoDelay(true))
      socket.on('error', cutOff).on('close', () => {
        sockets.delete(socket)
        cutOff()
      })
    }
    const reader = new Reader()
    const answers = new Framer(true)
    let passed = Promise.resolve()
    client.on('data', (received) => {
      for (const group of reader.read(received)) passed = passed.then(() => pass(group, database, cutOff))
    })
    database.on('data', (received) => {
      client.write(received)
      for (const { type } of answers.read(received)) if (type === 'Z') expect(database, -1)
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = new URL(databaseUrl)
  url.port = String((server.address() as AddressInfo).port)

  const wire: Wire = {
    url: url.href,
    statements: [],
    refuses: false,
    hold(pattern) {
      const { reached, pass, open } = gate()
      traps.push({ pattern, spring: pass })
      return { reached, open }
    },
    cut(pattern) {
      traps.push({ pattern, spring: async (cutOff) => cutOff() })
    },
    async idle() {
      if (!isIdle()) await once(quiet, 'idle')
    },
    stop() {
      for (const socket of sockets) socket.destroy()
      server.close()
    }
  }
  return wire
}
