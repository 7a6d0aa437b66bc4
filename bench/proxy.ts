/** Puts a database farther away: answers come later by some milliseconds, in their order. */
import { connect, createServer, type Socket } from 'node:net'

export interface Proxy {
  /** The address of the database, as it is reached through the proxy. */
  url: string
  stop(): void
}

export async function startProxy(databaseUrl: string, milliseconds: number): Promise<Proxy> {
  const upstream = new URL(databaseUrl)
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const database = connect(Number(upstream.port), upstream.hostname)
    for (const socket of [client, database]) {
      socket.setNoDelay(true)
      sockets.add(socket)
      socket.on('error', () => socket.destroy())
      socket.on('close', () => {
        sockets.delete(socket)
        client.destroy()
        database.destroy()
      })
    }
    client.on('data', (message) => database.write(message))
    database.on('data', (message) => setTimeout(() => client.write(message), milliseconds))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = new URL(databaseUrl)
  url.port = String((server.address() as { port: number }).port)
  return {
    url: url.href,
    stop() {
      for (const socket of sockets) socket.destroy()
      server.close()
    }
  }
}
