/** What a cell is, and how one is observed: applications, visitors, a fault, and the verdict on the histories. */
import { setTimeout as pause } from 'node:timers/promises'
import createKnex from 'knex'
import { migrationSource } from '../../lib/migrations.ts'
import { type Site, startSite } from '../fixtures/site.ts'
import type { SiteOptions } from '../fixtures/site-app.ts'
import { judge, type Verdict } from './history.ts'
import type { ProcessOptions } from './process.ts'
import type { Scope } from './scope.ts'
import { RecordedVisitors } from './visitors.ts'

/** What a cell must not exceed; what is not named may be anything, and is printed. */
export type Goals = Partial<Record<Exclude<keyof Verdict, 'answers'>, number>>

export interface Cell {
  name: string
  /** Whether it is one of those that each commit runs. */
  isShort: boolean
  goals: Goals
  run(scope: Scope): Promise<Verdict>
}

/** Nothing that was promised is missing. */
export const KEPT: Goals = { lost: 0, undone: 0, anonymous: 0, stale: 0, wrong: 0 }
/** Nobody notices more than a wait. */
export const UNNOTICED: Goals = { ...KEPT, errors: 0 }

/** Milliseconds before the fault. */
const BEFORE = 2500
export const PROGRAM = new URL('process.ts', import.meta.url)
const SEED = Number(process.env.SEED ?? 1)

interface Trial {
  /** The database as it is reached in the end, for the migration too. */
  migrate: SiteOptions['knex']
  sites: ProcessOptions[]
  /** Of the applications. @default that of this process */
  env?: NodeJS.ProcessEnv
  /** What happens, and how many milliseconds the visitors go on after it. */
  fault(sites: Site[]): Promise<void>
  after: number
  /** Milliseconds before the sessions are read in the end. @default 0 */
  settle?: number
  visitors?: number
}

export async function observe(
  scope: Scope,
  { migrate, sites: options, env, fault, after, settle = 0, visitors: count = 12 }: Trial
): Promise<Verdict> {
  if (migrate !== undefined) {
    const knex = createKnex(migrate)
    await knex.migrate.latest({ migrationSource })
    await knex.destroy()
  }
  const sites = await Promise.all(options.map((each) => startSite(scope.test, each, PROGRAM, env)))
  const visitors = new RecordedVisitors(() => sites.map(({ origin }) => origin), { count, seed: SEED })
  await pause(BEFORE)
  await fault(sites)
  await pause(after)
  await visitors.stop()
  await pause(settle)
  const ends = await visitors.ends()
  for (const site of sites) await site.close()
  return judge(visitors.visits, ends)
}

/** Of each application. */
export const pool = { min: 0, max: 10 }
