/** Runs a suite: all its contenders at the same time, of which one at a time has work, in turns. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Contender, contenders } from './contenders.ts'
import { type Load, load, WARM_UP } from './load.ts'
import type { Postgres } from './postgres.ts'
import { cpuSeconds } from './processes.ts'
import { startProxy } from './proxy.ts'
import { checkBehaviour, createSessions, type Server, startServer } from './server.ts'
import type { CellResult, ContenderResult, Sample } from './statistics.ts'
import type { Cell, Route, Suite } from './suites.ts'

/** So many that PostgreSQL finds a row by its index. */
const SESSIONS = 3000
/** A session can be logged out once: so many are made for the first turn, which tells how many take half of a round. */
const FIRST_LOGOUTS = 1000
/** For each connection: fewer would be one burst. */
const LEAST_LOGOUTS = 10

export interface MeasureOptions {
  postgres: Postgres
  /** Of one contender in one round. */
  seconds: number
  progress(text: string): void
}

interface Entrant extends Server {
  /** Its database's name in PostgreSQL; null without one. */
  databaseName: string | null
  cookies: string[]
}

export async function measureSuite(suite: Suite, options: MeasureOptions): Promise<CellResult[]> {
  const cleanups: (() => Promise<void> | void)[] = []
  try {
    const folder = await mkdtemp(join(tmpdir(), 'bench-sqlite-'))
    cleanups.push(() => rm(folder, { recursive: true }))
    const entrants: Entrant[] = []
    for (const name of suite.contenders) {
      const contender = contenders.get(name)
      if (contender === undefined) continue
      options.progress(`${suite.title}: starting ${name}`)
      const { url, databaseName } = await createDatabase(contender, folder, suite, options.postgres, cleanups)
      const server = await startServer(contender, { database: url, payload: suite.payload })
      cleanups.push(server.stop)
      await checkBehaviour(server)
      entrants.push({ ...server, databaseName, cookies: await createSessions(server, SESSIONS) })
    }
    const results: CellResult[] = []
    let warm: Route | undefined
    for (const cell of suite.cells) {
      options.progress(`${suite.title}: /${cell.route}, ${cell.connections} at a time`)
      if (cell.route !== warm) for (const entrant of entrants) await warmUp(entrant, cell.route)
      warm = cell.route
      results.push({ suite: suite.name, ...cell, results: await measureCell(cell, entrants, suite.rounds, options) })
    }
    return results
  } finally {
    for (const cleanup of cleanups.reverse()) await cleanup()
  }
}

async function createDatabase(
  { name, database }: Contender,
  folder: string,
  suite: Suite,
  postgres: Postgres,
  cleanups: (() => void)[]
): Promise<{ url: string; databaseName: string | null }> {
  if (database === 'none') return { url: '', databaseName: null }
  if (database === 'sqlite') return { url: join(folder, `${name}.sqlite3`), databaseName: null }
  const databaseName = `${suite.name}_${name}`
  const url = await postgres.createDatabase(databaseName)
  if (suite.delay === undefined) return { url, databaseName }
  const proxy = await startProxy(url, suite.delay)
  cleanups.push(proxy.stop)
  return { url: proxy.url, databaseName }
}

async function measureCell(cell: Cell, entrants: readonly Entrant[], rounds: number, options: MeasureOptions): Promise<ContenderResult[]> {
  const results: ContenderResult[] = []
  const logouts: number[] = []
  // The time of the first turn does not count: so it may count statements.
  for (const entrant of entrants) {
    const { name: contender, title } = entrant.contender
    const { statementsPerRequest, requestsPerSecond } = await measureFirst(entrant, cell, options)
    results.push({ contender, title, statementsPerRequest, rounds: [] })
    logouts.push(Math.max(Math.ceil((requestsPerSecond * options.seconds) / 2), LEAST_LOGOUTS * cell.connections))
  }
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < entrants.length; turn++) {
      // Nobody is always after the same one.
      const index = (round + turn) % entrants.length
      const entrant = entrants[index] as Entrant
      const { sample } = await measureRound(entrant, cell, await cookiesFor(entrant, cell, logouts[index] as number), options)
      results[index]?.rounds.push(sample)
    }
  }
  return results
}

/** What few connections run seldom would be measured before it is compiled. */
async function warmUp(entrant: Entrant, route: Route): Promise<void> {
  const cell = { route, connections: WARM_UP.connections }
  await send(entrant, cell, await cookiesFor(entrant, cell, FIRST_LOGOUTS), WARM_UP.seconds)
}

/** What the rounds do not measure: statements, and about how fast it goes. */
async function measureFirst(
  entrant: Entrant,
  cell: Cell,
  options: MeasureOptions
): Promise<{ statementsPerRequest: number | null; requestsPerSecond: number }> {
  const cookies = await cookiesFor(entrant, cell, FIRST_LOGOUTS)
  const measure = () => measureRound(entrant, cell, cookies, options)
  if (entrant.databaseName === null) {
    const { sample } = await measure()
    return { statementsPerRequest: entrant.contender.database === 'none' ? 0 : null, requestsPerSecond: sample.requestsPerSecond }
  }
  const { result, statements } = await options.postgres.countStatements(entrant.databaseName, measure)
  return { statementsPerRequest: statements / result.requests, requestsPerSecond: result.sample.requestsPerSecond }
}

/** A session is logged out once, all else is done to the same ones again and again. */
function cookiesFor(entrant: Entrant, { route, connections }: Cell, logouts: number): Promise<string[]> | string[] {
  return isOnce(entrant, route) ? createSessions(entrant, logouts + connections) : entrant.cookies
}

function isOnce({ contender }: Entrant, route: Route): boolean {
  return route === 'logout' && !contender.stateless
}

function send(entrant: Entrant, { route, connections }: Cell, cookies: string[], seconds: number): Promise<Load> {
  return load({
    origin: entrant.origin,
    paths: [`/${route}`],
    connections,
    seconds,
    once: isOnce(entrant, route),
    spread: entrant.contender.spread ?? false,
    ...(route === 'new' ? {} : { cookies })
  })
}

async function measureRound(
  entrant: Entrant,
  cell: Cell,
  cookies: string[],
  { postgres, seconds }: MeasureOptions
): Promise<{ sample: Sample; requests: number }> {
  const { contender, pid, databaseName } = entrant
  // Who has written more before finds no more dead rows than others.
  if (databaseName !== null) await postgres.vacuum(databaseName)
  const before = { server: cpuSeconds(pid), database: postgres.cpuSeconds() }
  const result = await send(entrant, cell, cookies, seconds)
  const { requests, errors, p50, p90, p99 } = result
  const perRequest = (from: number, to: number) => ((to - from) * 1e6) / requests
  const sample: Sample = {
    requestsPerSecond: (requests - errors) / result.seconds,
    p50,
    p90,
    p99,
    serverCpu: perRequest(before.server, cpuSeconds(pid)),
    databaseCpu: contender.database === 'postgres' ? perRequest(before.database, postgres.cpuSeconds()) : Number.NaN,
    errors
  }
  return { sample, requests }
}
