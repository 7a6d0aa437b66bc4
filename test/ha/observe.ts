/** What a cell is, and how one is observed: applications, visitors, a fault, and the verdict on the histories. */
import { setTimeout as pause } from 'node:timers/promises'
import createKnex from 'knex'
import { migrationSource } from '../../lib/migrations.ts'
import { type Site, startSite } from '../fixtures/site.ts'
import type { SiteOptions } from '../fixtures/site-app.ts'
import { judge, type Verdict } from './history.ts'
import type { ProcessOptions } from './process.ts'
import type { Scope } from './scope.ts'
import { RecordedVisitors, type VisitorsOptions } from './visitors.ts'

/** What a cell must not exceed; what is not named may be anything, and is printed. `wrong` and `down` are never more than 0. */
export type Goals = { gap: number } & Partial<Record<Exclude<keyof Verdict, 'answers' | 'kinds' | 'wrong' | 'down'>, number>>

export interface Cell {
  name: string
  /** Whether it is one of those that each commit runs. */
  isShort: boolean
  /** The name of a variable without which it cannot run. */
  needs?: 'MYSQL_URL'
  goals: Goals
  run(scope: Scope): Promise<Verdict>
}

/** Nothing that was promised is missing. */
export const kept = (gap: number, errors: number): Goals => ({ gap, errors, lost: 0, undone: 0, anonymous: 0, stale: 0 })
/** Nobody notices more than a wait of so many seconds, which is about two more than it took where it was measured. */
export const unnoticed = (gap: number): Goals => kept(gap, 0)

/** Milliseconds before the fault. */
const BEFORE = 2000
export const PROGRAM = new URL('process.ts', import.meta.url)
const SEED = Number(process.env.SEED ?? 1)

export interface Trial {
  /** The database as it is reached in the end, for the migration too. */
  migrate: SiteOptions['knex']
  sites: ProcessOptions[]
  /** Of the applications. @default process.ts */
  program?: URL
  /** Of the applications, beside those of this process. */
  env?: NodeJS.ProcessEnv
  /** What happens, and how many milliseconds the visitors go on after it. */
  fault(sites: Site[]): Promise<void>
  after: number
  /** Milliseconds before the sessions are read in the end. @default 0 */
  settle?: number
  visitors?: Partial<VisitorsOptions>
}

export async function observe(
  scope: Scope,
  { migrate, sites: options, program = PROGRAM, env = {}, fault, after, settle = 0, visitors: more = {} }: Trial
): Promise<Verdict> {
  if (migrate !== undefined) {
    const knex = createKnex(migrate)
    await knex.migrate.latest({ migrationSource })
    await knex.destroy()
  }
  const sites = await Promise.all(options.map((each) => startSite(scope.test, each, program, { ...process.env, ...env })))
  const visitors = new RecordedVisitors(() => sites.map(({ origin }) => origin), { count: 12, seed: SEED, ...more })
  await pause(BEFORE)
  await fault(sites)
  const over = visitors.now
  await pause(after)
  const times = { fault: over, stop: visitors.now }
  await visitors.stop()
  await pause(settle)
  const ends = await visitors.ends()
  for (const site of sites) await site.close()
  return judge(visitors.visits, ends, times)
}

/** Of each application. */
export const pool = { min: 0, max: 10 }
