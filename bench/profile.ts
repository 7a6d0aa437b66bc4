/** Where the server's time goes: `npm run bench:profile -- read`. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { commandLine, count, oneOf } from './command-line.ts'
import { type Contender, contenders, withNodeOptions } from './contenders.ts'
import { load, WARM_UP } from './load.ts'
import { startPostgres } from './postgres.ts'
import { pin } from './processes.ts'
import { decimal, table } from './report.ts'
import { createSessions, startServer } from './server.ts'
import { ROUTES } from './suites.ts'

interface CallFrame {
  functionName: string
  url: string
  lineNumber: number
}

interface Profile {
  nodes: { id: number; callFrame: CallFrame }[]
  samples: number[]
  timeDeltas: number[]
}

const { route, ...values } = commandLine({
  command: 'npm run bench:profile --',
  about: "Shows where the server's time goes.",
  settings: {
    route: { ...oneOf(ROUTES, 'read', 'The route'), isOperand: true },
    only: oneOf([...contenders.keys()], 'ours', 'The contender'),
    connections: count(1, 50, 'Requests at a time'),
    seconds: count(1, 5, 'How long it is measured, unless by logouts'),
    top: count(1, 10, 'Lines of each table')
  }
})
const contender = contenders.get(values.only) as Contender

/** A session can be logged out once: this many take a second or more. */
const LOGOUTS = 20_000

pin('load', process.pid)
const folder = await mkdtemp(join(tmpdir(), 'bench-profile-'))
const postgres = await startPostgres()
try {
  const database = contender.database === 'sqlite' ? join(folder, 'bench.sqlite3') : await postgres.createDatabase('profile')
  const profiled = withNodeOptions(contender, '--cpu-prof', `--cpu-prof-dir=${folder}`)
  const server = await startServer(profiled, { database, payload: 0 })
  const once = route === 'logout' && !contender.stateless
  const send = async (options: { connections: number; seconds: number }) =>
    load({ origin: server.origin, paths: [`/${route}`], cookies: await createSessions(server, once ? LOGOUTS : 1000), once, ...options })
  await send(WARM_UP)
  const { requests, seconds } = await send(values)
  await server.stop()
  print(await readProfile(folder), requests, seconds)
} finally {
  await postgres.stop()
  await rm(folder, { recursive: true })
}

/** The thread that compiles TypeScript may have written one as well: the main thread is number 0, `CPU.<date>.<time>.<process>.0.<count>`. */
async function readProfile(folder: string): Promise<Profile> {
  const file = (await readdir(folder)).find((name) => /\.0\.\d+\.cpuprofile$/.test(name))
  if (file === undefined) throw new Error(`Expected a .cpuprofile of the server's main thread in ${folder}, got none`)
  return JSON.parse(await readFile(join(folder, file), 'utf8'))
}

function print({ nodes, samples, timeDeltas }: Profile, requests: number, seconds: number): void {
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]))
  const byFrame = new Map<string, number>()
  const byOrigin = new Map<string, number>()
  const add = (sums: Map<string, number>, name: string, time: number) => sums.set(name, (sums.get(name) ?? 0) + time)
  let total = 0
  // The load came last: what is older is the start.
  let left = seconds * 1e6
  for (let index = samples.length - 1; index >= 0 && left > 0; index--) {
    const time = timeDeltas[index] as number
    left -= time
    const frame = frames.get(samples[index] as number) as CallFrame
    if (frame.functionName === '(idle)') continue
    total += time
    add(byFrame, nameOf(frame), time)
    add(byOrigin, originOf(frame), time)
  }
  const top = (sums: Map<string, number>) =>
    [...sums]
      .sort(([, one], [, other]) => other - one)
      .slice(0, values.top)
      .map(([name, time]) => [name, decimal((time / total) * 100, 1), decimal(time / requests, 2)])
  console.log(`${contender.title}, /${route}, ${values.connections} at a time, ${requests} requests: own time\n`)
  console.log(`${table(['frame', '% of busy', 'us per request'], top(byFrame))}\n`)
  console.log(table(['by origin', '% of busy', 'us per request'], top(byOrigin)))
}

function placeOf({ url }: CallFrame): string {
  return url.startsWith('file:') ? relative(process.cwd(), fileURLToPath(url)) : url
}

function nameOf(frame: CallFrame): string {
  const name = frame.functionName === '' ? '(anonymous)' : frame.functionName
  return frame.url === '' ? name : `${name} ${placeOf(frame)}:${frame.lineNumber + 1}`
}

/** The package, or the part of Node.js. */
function originOf(frame: CallFrame): string {
  if (frame.url === '') return frame.functionName.startsWith('(') ? frame.functionName : `native: ${frame.functionName}`
  const place = placeOf(frame)
  return /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(place)?.[1] ?? place.split(/[/?]/)[0] ?? place
}
