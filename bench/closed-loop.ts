/**
 * Sends an exact number of requests: each connection sends its next one once it has its answer.
 * By bare sockets, since a client that is slower than the server would keep its batches small.
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

export interface ClosedLoop {
  /** One GET request for each cookie, in their order; null sends none. @throws Error unless all are answered with 200 */
  send(cookies: readonly (string | null)[]): Promise<void>
  close(): void
}

export async function openClosedLoop(url: string, connections: number): Promise<ClosedLoop> {
  const { hostname, port, host, pathname } = new URL(url)
  const sockets = await Promise.all(Array.from({ length: connections }, () => open(hostname, Number(port))))
  const requestWith = (cookie: string | null) =>
    `GET ${pathname} HTTP/1.1\r\nHost: ${host}\r\n${cookie === null ? '' : `Cookie: ${cookie}\r\n`}\r\n`
  return {
    async send(cookies) {
      let next = 0
      const ask = () => (next < cookies.length ? requestWith(cookies[next++] as string | null) : null)
      await Promise.all(sockets.map((socket) => converse(socket, ask)))
    },
    close: () => {
      for (const socket of sockets) socket.destroy()
    }
  }
}

async function open(host: string, port: number): Promise<Socket> {
  const socket = connect({ host, port, noDelay: true })
  await once(socket, 'connect')
  return socket.setEncoding('latin1')
}

/** Until `ask` has no further request. */
function converse(socket: Socket, ask: () => string | null): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = ''
    const end = (error?: Error) => {
      socket.removeAllListeners()
      if (error === undefined) resolve()
      else reject(error)
    }
    const sendNext = () => {
      const request = ask()
      if (request === null) end()
      else socket.write(request)
    }
    socket.on('data', (chunk: unknown) => {
      text += chunk
      if (!isWhole(text)) return
      if (!text.startsWith('HTTP/1.1 200 ')) return end(new Error(`Expected an answer of status 200, got ${text}`))
      text = ''
      sendNext()
    })
    socket.once('error', end).once('close', () => end(new Error('The server has closed a connection')))
    sendNext()
  })
}

function isWhole(answer: string): boolean {
  const head = answer.indexOf('\r\n\r\n')
  if (head < 0) return false
  const length = /\r\ncontent-length: *(\d+)/i.exec(answer.slice(0, head))?.[1]
  if (length === undefined) throw new Error(`Expected an answer with Content-Length, got ${answer}`)
  return answer.length >= head + 4 + Number(length)
}
