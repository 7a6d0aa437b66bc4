/** What all counts of instructions have in common: sessions, and how the servers are started. */
import type { Contender } from './contenders.ts'
import { checkBehaviour, createSessions, type Server, startServer } from './server.ts'

/** A server that is slowed down looks idle to V8, which would then shrink its heap and collect more often than under load. */
export const NODE_OPTIONS = ['--single-threaded-gc', '--no-memory-reducer', '--min-semi-space-size=16']
/** So many that no session is in two requests at once. */
export const SESSIONS = 1000
/** Bytes of a session's JSON. */
const PAYLOAD = 190

/** Makes sessions with a server that is not measured, and returns their cookies. */
export async function makeSessions(contender: Contender, database: string, count: number): Promise<string[]> {
  const server = await startServer(contender, { database, payload: PAYLOAD })
  try {
    await checkBehaviour(server)
    return await createSessions(server, count)
  } finally {
    await server.stop()
  }
}

/** Its speed does not matter, so it may use any processor and much time. */
export function startCounted(contender: Contender, command: Contender['command'], database: string): Promise<Server> {
  const counted: Contender = { ...contender, command, spread: true, env: { STORE_TIMEOUT: '60', MIGRATED: 'yes' } }
  return startServer(counted, { database, payload: PAYLOAD })
}
