/** Instructions of a server whose code has been compiled. */
import { countedInstructions, type Instructions, startCounting, underCallgrind, untilQuiet } from './callgrind.ts'
import { openClosedLoop } from './closed-loop.ts'
import type { Contender } from './contenders.ts'
import { startCounted } from './counted.ts'
import type { Cell } from './suites.ts'

const WARM_UP = 9000
/** Counting slows the server down, so that more requests meet in a batch: code is compiled for that too before the figures begin. */
const SETTLE = 1000
export const COUNTED = 1000
/** As often are so many requests counted: code that is optimised anew, or a collection of the whole heap, falls into one of the counts. */
const COUNTS = 3
/** Of one server: a session can be logged out once. */
export const REQUESTS = WARM_UP + SETTLE + COUNTS * COUNTED

/** Counts of all threads of a server that has warmed up, for so many requests of a route at a time. */
export async function countWarm(
  contender: Contender,
  folder: string,
  database: string,
  { route, connections }: Cell,
  sessions: readonly string[]
): Promise<Instructions[]> {
  const server = await startCounted(contender, underCallgrind(folder, contender.command), database)
  const loop = await openClosedLoop(`${server.origin}/${route}`, connections)
  let sent = 0
  const send = (requests: number) =>
    loop.send(Array.from({ length: requests }, () => (route === 'new' ? null : (sessions[sent++ % sessions.length] as string))))
  try {
    await send(WARM_UP)
    await untilQuiet(server.pid)
    await startCounting(server.pid)
    await send(SETTLE)
    await untilQuiet(server.pid)
    const counts: Instructions[] = []
    while (counts.length < COUNTS) {
      await startCounting(server.pid)
      await send(COUNTED)
      await untilQuiet(server.pid)
      counts.push(await countedInstructions(server.pid))
    }
    return counts
  } finally {
    loop.close()
    await server.stop()
  }
}
