/**
 * `npm run bench:cleanup`: removes expired sessions while others read and write, in small
 * batches as this package does and by one DELETE as Django does, of equal tables, and
 * prints a table. Ends with status 1 where a session was removed that should not have
 * been, or stayed that should not have.
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import createKnex, { type Knex } from 'knex'
import { tuned } from '../lib/database/dialects.ts'
import { ExpiredSessions } from '../lib/database/expired-sessions.ts'
import type { SessionTable } from '../lib/database/session-table.ts'
import { migrationSource } from '../lib/migrations.ts'
import { PostgresServer } from '../test/fixtures/postgres.ts'
import { createRows, createTable, soon } from '../test/fixtures/tables.ts'
import type { Job, Outcome } from './cleaner.ts'
import { commandLine, count, folder, names, refuse } from './command-line.ts'
import { decimal, table } from './report.ts'

const DATABASES = ['postgres', 'sqlite', 'mariadb'] as const
const program = {
  command: 'npm run bench:cleanup --',
  about: 'Removes expired sessions in batches and by one DELETE, while others read and write.',
  settings: {
    rows: count(100, 10_000_000, 'Expired sessions on PostgreSQL; SQLite and MariaDB have a tenth of them'),
    only: names(DATABASES, 'Databases'),
    out: folder('Where cleanup.txt is written (default: bench/partial)')
  }
}
const values = commandLine(program)
const wanted = DATABASES.filter((name) => values.only.has(name) && (name !== 'mariadb' || process.env.MARIADB_URL !== undefined))
if (wanted.length === 0) refuse(program, '--only: expected MARIADB_URL to be set, since mariadb is all that is wanted')

const NOW = new Date()
const LATER = new Date(NOW.getTime() + 14 * 86_400_000)
const TEXT = 'x'.repeat(300)
const IDLE_SECONDS = 10
const WAYS = ['batches', 'one DELETE'] as const

const keyOf = (kind: string, index: number) => createHash('md5').update(`${kind}${index}`).digest('hex')
const toText = (date: Date) => date.toISOString().replace('T', ' ').replace('Z', '000')

interface Target {
  title: string
  expired: number
  live: number
  /** What a date is in a statement. */
  toDate(date: Date): string
  /** An equal table for each way. */
  prepare(way: string): Promise<Knex.Config>
  stop(): Promise<void>
}

/** Makes Django's table, and fills it by what the database has for that. */
async function fill(config: Knex.Config, statements: (kind: 'expired' | 'live', ends: 'before' | 'after') => string): Promise<void> {
  const afterCreate = (
    connection: { function?(name: string, body: (text: string) => string): void },
    done: (...args: unknown[]) => void
  ) => {
    connection.function?.('md5', (text) => createHash('md5').update(text).digest('hex'))
    done(null, connection)
  }
  const knex = createKnex({ ...tuned(config), pool: { min: 1, max: 1, afterCreate } })
  await knex.migrate.latest({ migrationSource })
  await knex.raw(statements('expired', 'before'))
  await knex.raw(statements('live', 'after'))
  await knex.raw(config.client === 'mysql2' ? 'ANALYZE TABLE django_session' : 'ANALYZE')
  await knex.destroy()
}

/** Seconds from now for each session: in the last year, or in the next two weeks. */
const SPREAD = { before: [-31_536_000, -60], after: [60, 1_209_600] } as const

async function postgres(rows: number): Promise<Target> {
  const server = await PostgresServer.start('max_wal_size=4GB', 'shared_buffers=1GB')
  const admin = createKnex({ client: 'pg', connection: server.urlOf('postgres') })
  const [expired, live] = [rows, Math.floor(rows / 10)]
  const config = (name: string) => ({ client: 'pg', connection: server.urlOf(name) })
  await admin.raw('CREATE DATABASE base')
  await fill(config('base'), (kind, ends) => {
    const [from, to] = SPREAD[ends]
    return `INSERT INTO django_session SELECT md5('${kind}' || n), '${TEXT}', timestamptz '${NOW.toISOString()}' + (${from} + random() * ${to - from}) * interval '1 second' FROM generate_series(1, ${kind === 'live' ? live : expired}) AS n`
  })
  return {
    title: 'PostgreSQL',
    expired,
    live,
    toDate: (date) => date.toISOString(),
    async prepare(way) {
      const name = way.replace(' ', '_')
      await admin.raw('CREATE DATABASE ?? TEMPLATE base STRATEGY file_copy', [name])
      return config(name)
    },
    async stop() {
      await admin.destroy()
      await server.stop()
    }
  }
}

async function sqlite(rows: number): Promise<Target> {
  const folder = await mkdtemp(join(tmpdir(), 'bench-cleanup-'))
  const [expired, live] = [Math.floor(rows / 10), Math.floor(rows / 100)]
  return {
    title: 'SQLite',
    expired,
    live,
    toDate: toText,
    async prepare(way) {
      const config = { client: 'better-sqlite3', connection: { filename: join(folder, `${way}.sqlite3`) } }
      await fill(config, (kind, ends) => {
        const [from, to] = SPREAD[ends]
        return `WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ${kind === 'live' ? live : expired})
        INSERT INTO django_session SELECT md5('${kind}' || n), '${TEXT}', strftime('%Y-%m-%d %H:%M:%f000', '${toText(NOW)}', (${from} + abs(random() % ${to - from})) || ' seconds') FROM numbers`
      })
      return config
    },
    stop: () => rm(folder, { recursive: true })
  }
}

async function mariadb(rows: number): Promise<Target> {
  const admin = createKnex({ client: 'mysql2', connection: process.env.MARIADB_URL as string })
  const [expired, live] = [Math.floor(rows / 10), Math.floor(rows / 100)]
  const databases: string[] = []
  return {
    title: 'MariaDB',
    expired,
    live,
    toDate: toText,
    async prepare(way) {
      const name = `bench_cleanup_${process.pid}_${way.replace(' ', '_')}`
      await admin.raw('CREATE DATABASE ??', [name])
      databases.push(name)
      const url = new URL(process.env.MARIADB_URL as string)
      url.pathname = `/${name}`
      const config = { client: 'mysql2', connection: url.href }
      await fill(config, (kind, ends) => {
        const [from, to] = SPREAD[ends]
        return `INSERT INTO django_session SELECT md5(concat('${kind}', seq)), '${TEXT}', '${toText(NOW)}' + INTERVAL ${from} + floor(rand() * ${to - from}) SECOND FROM seq_1_to_${kind === 'live' ? live : expired}`
      })
      return config
    },
    async stop() {
      for (const name of databases) await admin.raw('DROP DATABASE ??', [name])
      await admin.destroy()
    }
  }
}

// --- readers and writers --------------------------------------------------------------

interface Load {
  /** Milliseconds of each operation since the last call, by kind. */
  take(): { reads: number[]; writes: number[] }
  /** Expired sessions that were renewed in time. */
  renewed: Set<string>
  stop(): Promise<void>
}

/** Two readers and a writer; every tenth write renews an expired session, where it is there yet. */
function startLoad(table: SessionTable, { expired, live }: Target): Load {
  const rows = createRows(table)
  let samples = { reads: [] as number[], writes: [] as number[] }
  const renewed = new Set<string>()
  let stopped = false
  const pick = (kind: 'expired' | 'live', count: number) => keyOf(kind, 1 + Math.floor(Math.random() * count))
  const timed = async (kind: 'reads' | 'writes', work: () => Promise<unknown>) => {
    const started = performance.now()
    await work()
    samples[kind].push(performance.now() - started)
  }
  const repeat = async (work: (turn: number) => Promise<unknown>) => {
    for (let turn = 0; !stopped; turn++) {
      await work(turn)
      await pause(2)
    }
  }
  const read = () => timed('reads', () => rows.findLive(pick('live', live), NOW, soon()))
  const write = (turn: number) =>
    timed('writes', async () => {
      const sessionKey = turn % 10 === 0 ? pick('expired', expired) : pick('live', live)
      const saved = await rows.update(sessionKey, { sessionData: `${TEXT}y`, expireDate: LATER }, {}, null, soon())
      if (saved && turn % 10 === 0) renewed.add(sessionKey)
    })
  const workers = [repeat(read), repeat(read), repeat(write)]
  return {
    renewed,
    take() {
      const taken = samples
      samples = { reads: [], writes: [] }
      return taken
    },
    async stop() {
      stopped = true
      await Promise.all(workers)
    }
  }
}

// --- the measurement ------------------------------------------------------------------

type Latencies = ReturnType<Load['take']>

interface Result extends Outcome {
  database: string
  way: string
  rows: number
  renewed: number
  idle: Latencies
  busy: Latencies
  problems: string[]
}

const run = promisify(execFile)
async function measure(target: Target, way: (typeof WAYS)[number]): Promise<Result> {
  const config = await target.prepare(way)
  const knex = createKnex({ ...tuned(config), useNullAsDefault: true })
  const table = createTable(knex, { storeTimeout: 600 })
  const load = startLoad(table, target)
  await pause(IDLE_SECONDS * 100)
  load.take()
  await pause(IDLE_SECONDS * 1000)
  const idle = load.take()
  const job: Job = { config, how: way, now: NOW.getTime(), date: target.toDate(NOW) }
  const { stdout } = await run(process.execPath, ['--import', 'tsx', join(import.meta.dirname, 'cleaner.ts'), JSON.stringify(job)])
  const busy = load.take()
  await load.stop()
  const outcome: Outcome = JSON.parse(stdout)
  const problems = await check(table, target, load.renewed, outcome)
  await knex.destroy()
  return { database: target.title, way, rows: target.expired, renewed: load.renewed.size, ...outcome, idle, busy, problems }
}

/** What is wrong with what is left. */
async function check(table: SessionTable, { expired, live }: Target, renewed: Set<string>, { deleted }: Outcome): Promise<string[]> {
  const count = async (query: Knex.QueryBuilder) => Number((await query.count({ total: '*' }))[0].total)
  let missing = 0
  for (const sessionKey of renewed) if (!(await table.exists(sessionKey, soon()))) missing++
  const { count: stayed } = await new ExpiredSessions(table).count(NOW)
  const total = await count(table.connections.knex(table.tableName))
  return [
    ...(missing > 0 ? [`${missing} of ${renewed.size} renewed sessions are gone`] : []),
    ...(stayed > 0 ? [`${stayed} expired sessions stayed`] : []),
    ...(total !== live + renewed.size ? [`expected ${live + renewed.size} sessions to be left, there are ${total}`] : []),
    ...(deleted !== expired - renewed.size ? [`expected ${expired - renewed.size} sessions to be removed, it says ${deleted}`] : [])
  ]
}

function percentile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((left, right) => left - right)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN
}

function row({ database, way, rows, deleted, batches, milliseconds, rssEarly, rssPeak, longestStop, idle, busy }: Result): string[] {
  const p99 = (kind: 'reads' | 'writes') => `${decimal(percentile(idle[kind], 0.99), 1)} > ${decimal(percentile(busy[kind], 0.99), 1)}`
  return [
    `${database}, ${rows} rows: ${way === 'batches' ? 'clearExpired()' : "Django's one DELETE"}`,
    decimal((deleted / milliseconds) * 1000, 0),
    decimal(milliseconds / 1000, 1),
    String(batches),
    p99('reads'),
    p99('writes'),
    decimal(percentile(busy.writes, 1), 0),
    `${decimal(rssEarly, 0)} > ${decimal(rssPeak, 0)}`,
    decimal(longestStop, 0)
  ]
}

const HEADER = [
  '',
  'rows/s',
  's',
  'batches',
  'read p99 ms, idle > then',
  'write p99 ms',
  'longest write',
  'RSS MB, early > peak',
  'loop stop ms'
]

const makers = { postgres, sqlite, mariadb }
const results: Result[] = []
const [loadBefore = 0] = loadavg()
if (loadBefore > 0.5) console.error(`Others keep ${loadBefore.toFixed(1)} processors busy: the figures will be wide of the mark.`)
if (values.only.has('mariadb') && !wanted.includes('mariadb')) console.error('MariaDB is skipped: MARIADB_URL is not set')
for (const name of wanted) {
  const target = await makers[name](values.rows)
  try {
    for (const way of WAYS) {
      const result = await measure(target, way)
      console.error(row(result).join('  '))
      results.push(result)
    }
  } finally {
    await target.stop()
  }
}

const machine = `${cpus().length} x ${cpus()[0]?.model}, Node.js ${process.version}, load before ${loadBefore.toFixed(1)}`
const text = `${machine}\n\n${table(HEADER, results.map(row))}\n`
console.log(`\n${text}`)
const out = values.out ?? join(import.meta.dirname, 'partial')
await mkdir(out, { recursive: true })
await writeFile(join(out, 'cleanup.txt'), text)
console.log(`Written: cleanup.txt in ${out}`)
for (const { database, way, problems } of results) {
  for (const problem of problems) {
    console.error(`${database}, ${way}: ${problem}`)
    process.exitCode = 1
  }
}
