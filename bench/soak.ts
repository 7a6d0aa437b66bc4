/**
 * `npm run bench:soak`: what a request with a session holds in memory, and a million
 * requests after which the heap must be what it was. Ends with status 1 where it grew.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { commandLine, count } from './command-line.ts'
import { contenders, withNodeOptions } from './contenders.ts'
import { load } from './load.ts'
import { type Postgres, startPostgres } from './postgres.ts'
import { pin } from './processes.ts'
import { decimal, table } from './report.ts'
import { checkBehaviour, createSessions, type Memory, type Server, startServer } from './server.ts'
import { median } from './statistics.ts'

const { requests: total } = commandLine({
  command: 'npm run bench:soak --',
  about: 'Measures the heap: what a request with a session holds, and what is left after many requests.',
  settings: { requests: count(1, 1_000_000, 'Requests after which the heap must be what it was') }
})
const HELD = 1000
const BLOCKS = 12
const CONNECTIONS = 50
/** The first blocks still compile. */
const WARM_UP_BLOCKS = 2
/** Bytes: what collections leave behind differs by as much. One object that stays of each request takes 24 times that in a million. */
const NOISE = 1_000_000

async function withServer<T>(name: string, postgres: Postgres, work: (server: Server) => Promise<T>): Promise<T> {
  const contender = contenders.get(name)
  if (contender === undefined) throw new Error(`There is no contender ${name}`)
  const database = contender.database === 'none' ? '' : await postgres.createDatabase(`soak_${name}_${Date.now()}`)
  const server = await startServer(withNodeOptions(contender, '--expose-gc'), { database, payload: 190 })
  try {
    await checkBehaviour(server)
    return await work(server)
  } finally {
    await server.stop()
  }
}

/** Bytes of heap that a request takes which has loaded its session and waits for something else. */
async function heldBytes(server: Server): Promise<number> {
  const cookies = await createSessions(server, HELD)
  // All code that is needed has been compiled then.
  await load({ origin: server.origin, paths: ['/read'], connections: CONNECTIONS, seconds: 2, cookies })
  const before = await server.memory()
  const answers = cookies.map((cookie) => fetch(`${server.origin}/held`, { headers: { cookie } }))
  let after: Memory
  do {
    await pause(100)
    after = await server.memory()
  } while (after.requestsHeld < HELD)
  server.release()
  await Promise.all(answers.map(async (answer) => (await answer).text()))
  return (after.heap - before.heap) / HELD
}

/** One block of requests of all kinds; returns how many. */
async function block(server: Server, cookies: string[], atLeast: number): Promise<number> {
  const { origin } = server
  const common = { origin, connections: CONNECTIONS }
  let requests = 0
  while (requests < atLeast) {
    const mixed = await load({ ...common, paths: ['/read', '/write', '/untouched'], seconds: 4, cookies })
    const unknown = await load({ ...common, paths: ['/read'], seconds: 1, cookies: ['sessionid=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'] })
    const created = await load({ ...common, paths: ['/new'], seconds: 1 })
    const loggedOut = await load({ ...common, paths: ['/logout'], seconds: 1, once: true, cookies: await createSessions(server, 1000) })
    for (const { requests: answered, errors } of [mixed, unknown, created, loggedOut]) {
      if (errors > 0) throw new Error(`${errors} of ${answered} requests failed`)
      requests += answered
    }
  }
  return requests
}

/** Bytes per request by which the heap grows: the slope of the line through all points. */
function slope(points: readonly { requests: number; heap: number }[]): number {
  const slopes = points.flatMap((from, index) => points.slice(index + 1).map((to) => (to.heap - from.heap) / (to.requests - from.requests)))
  return median(slopes)
}

async function soak(server: Server): Promise<boolean> {
  const cookies = await createSessions(server, 1000)
  const points: { requests: number; heap: number }[] = []
  let requests = 0
  // A slope takes two points.
  while (requests < total || points.length < WARM_UP_BLOCKS + 2) {
    requests += await block(server, cookies, total / BLOCKS)
    const { heap } = await server.memory()
    points.push({ requests, heap })
    console.log(`${String(requests).padStart(9)} requests, heap ${decimal(heap / 1e6, 2)} MB`)
  }
  const growth = slope(points.slice(WARM_UP_BLOCKS))
  const isFlat = growth * requests < NOISE
  console.log(`\nafter warming up the heap grew by ${decimal(growth, 2)} bytes per request: ${isFlat ? 'flat' : 'A LEAK'}`)
  return isFlat
}

pin('load', process.pid)
const postgres = await startPostgres()
try {
  const held = new Map<string, number>()
  for (const name of ['bare', 'ours', 'fs-pg-simple']) held.set(name, await withServer(name, postgres, heldBytes))
  const bare = held.get('bare') ?? 0
  console.log(`heap per request that is held, of ${HELD}\n`)
  console.log(
    table(
      ['', 'bytes', 'of which for the session'],
      Array.from(held, ([name, bytes]) => [contenders.get(name)?.title ?? name, decimal(bytes, 0), decimal(bytes - bare, 0)])
    )
  )
  console.log()
  if (!(await withServer('ours', postgres, soak))) process.exitCode = 1
} finally {
  await postgres.stop()
}
