/**
 * What all contenders have in common: where they listen, their database, the data of
 * a new session, and more than one process where PROCESSES says so.
 */
import cluster from 'node:cluster'
import { once } from 'node:events'
import type { FastifyInstance } from 'fastify'

/** A URL of PostgreSQL, or a file of SQLite. */
export const database = process.env.DATABASE ?? ''
export const port = Number(process.env.PORT)
export const secret = 'the secret of the benchmarks, of more than 32 characters'
/** Connections to PostgreSQL of each process. */
export const poolSize = 10
/** As Django's SESSION_COOKIE_AGE, in seconds. */
export const cookieAge = 1_209_600
/** Is put into each new session. */
export const newSession: Record<string, unknown> = JSON.parse(process.env.SESSION_DATA ?? '{"visits":0}')

const processes = Number(process.env.PROCESSES ?? 1)
if (cluster.isPrimary && processes > 1) {
  // One after the other: the first one makes the table.
  for (let started = 0; started < processes; started++) await once(cluster.fork(), 'listening')
  process.send?.({ ready: true })
  // The rest of the contender is for its workers.
  await new Promise(() => {})
}

export async function serve(app: FastifyInstance): Promise<void> {
  exitOnSignal(() => app.close())
  await app.listen({ port, host: '127.0.0.1' })
  process.send?.({ ready: true })
}

/** By exit(), so that --cpu-prof writes its file. */
export function exitOnSignal(close: () => Promise<unknown>): void {
  process.once('SIGTERM', () => close().finally(() => process.exit()))
}

let release = () => {}
const released = new Promise<void>((resolve) => {
  release = resolve
})
let requestsHeld = 0

/** For routes that hold their requests, to see what memory those take, until the benchmark lets them go. */
export function held(): Promise<void> {
  requestsHeld++
  return released
}

// What soak.ts asks for: the heap after a collection (--expose-gc), and the end of what is held.
process.on('message', (question) => {
  if (question === 'release') release()
  if (question !== 'memory') return
  globalThis.gc?.()
  process.send?.({ heap: process.memoryUsage().heapUsed, requestsHeld })
})
