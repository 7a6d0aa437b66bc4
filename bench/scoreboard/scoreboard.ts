/** Runs the checks against contenders, and makes the tables of what they answered. */
import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import { type Answer, type Check, checks } from './checks.ts'
import type { Checked } from './contenders.ts'
import { Bench, type Gates, startGates, type Variant } from './rig.ts'

export interface Column {
  contender: Checked
  /** By the names of the checks; nothing where one does not apply. */
  cells: Map<string, Answer>
}

const VARIANTS: readonly Variant[] = ['plain', 'renewing', 'secure', 'cut off']
/** Milliseconds after which a check has not ended, whatever it waits for. */
const CHECK_LIMIT = 60_000

/** @param postgresUrl of a server, on which each contender gets a database of its own */
export async function runChecks(contenders: readonly Checked[], postgresUrl: string): Promise<Column[]> {
  const gates = await startGates()
  try {
    // All at once: most of the time is spent waiting for what does not come.
    return await Promise.all(contenders.map((contender) => checkContender(contender, { postgresUrl, gates })))
  } finally {
    gates.stop()
  }
}

async function checkContender(contender: Checked, { postgresUrl, gates }: { postgresUrl: string; gates: Gates }): Promise<Column> {
  const cells: Column['cells'] = new Map()
  const admin = new pg.Client(postgresUrl)
  await admin.connect()
  const database = `scoreboard_${contender.name.replaceAll(/\W/g, '_')}_${process.pid}`
  await admin.query(`CREATE DATABASE ${database}`)
  const url = new URL(postgresUrl)
  url.pathname = `/${database}`
  try {
    await contender.prepare?.(url.href)
    for (const variant of VARIANTS) {
      const chosen = checks.filter((check) => (check.variant ?? 'plain') === variant && (contender.table !== null || !check.needsTable))
      await checkVariant(chosen, () => Bench.start(contender, { variant, databaseUrl: url.href, gates }), cells)
    }
  } finally {
    await admin.query(`DROP DATABASE ${database} WITH (FORCE)`)
    await admin.end()
  }
  return { contender, cells }
}

async function checkVariant(chosen: Check[], start: () => Promise<Bench>, cells: Column['cells']): Promise<void> {
  let bench: Bench | null = null
  for (const check of chosen) {
    try {
      bench ??= await start()
      const found = await runCheck(check, bench)
      if (found !== null) cells.set(check.name, found)
    } catch (error) {
      cells.set(check.name, { passed: false, fact: (error as Error).message })
      // Whatever it is in the middle of must not fail the checks that follow.
      await bench?.stop()
      bench = null
    }
  }
  await bench?.stop()
}

/** Whatever a check finds good, nothing may happen that ends the process. */
async function runCheck(check: Check, bench: Bench): Promise<Answer | null> {
  const timer = new AbortController()
  const overdue = pause(CHECK_LIMIT, null, { signal: timer.signal }).then(() => Promise.reject(new Error('the check did not end')))
  overdue.catch(() => {})
  const work = async () => ({ found: await check.run(bench), faults: await bench.faults() })
  const { found, faults } = await Promise.race([work(), overdue]).finally(() => timer.abort())
  if (faults.length === 0 || found === null) return found
  const kinds = [...new Set(faults)].map((kind) => {
    const count = faults.filter((fault) => fault === kind).length
    return `${count} ${kind}${count === 1 ? '' : 's'}`
  })
  return { passed: false, fact: [found.fact, ...kinds].join(', ') }
}
