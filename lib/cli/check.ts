/** The command `check`: finds problems of a database and its secret key, and says how to solve them. */
import type { Knex } from 'knex'
import type { Connections } from '../database/connections.js'
import { inspectionOf, readClock, readColumns, readIndexes } from '../database/inspection.js'
import { readServerFacts } from '../database/server-inspection.js'
import { USER_SESSIONS_TABLE } from '../database/user-sessions-table.js'
import type { Timeouts } from '../settings/timeouts.js'
import { integer, timeoutsOf } from './arguments.js'
import { checkClock, probeClock } from './checks/clock.js'
import { checkExpired } from './checks/expired.js'
import { type Finding, finding } from './checks/finding.js'
import { checkRows } from './checks/rows.js'
import { checkSecret } from './checks/secret.js'
import { checkAgainst, checkServer } from './checks/server.js'
import { checkTable } from './checks/table.js'
import { checkTimeouts } from './checks/timeouts.js'
import { checkUserSessions } from './checks/user-sessions.js'
import type { Command, Task } from './command.js'
import { connectAgainst } from './database.js'
import { describe, UsageError } from './errors.js'
import { type Io, print, styled, widthOf } from './io.js'
import { readSecrets, requireSecrets, type Secrets } from './secret.js'
import { noTable, openDatabase, openSessions, Reader, settingsOf } from './store.js'
import { counted, wrap } from './text.js'

export const check: Command = {
  summary: 'Find problems of the table, the secret key and the clock',
  description:
    'Checks the table and its indexes, and that of the option userSessions where it is there, the clock of the database and the number of expired sessions. If the secret key is given, checks that it is strong and that it reads the newest sessions. Changes nothing. On a server also checks what decides about failovers: whether the server takes writes, its replication, Galera, a pooler, and with --processes whether the pools of all processes fit.\nEach line says ok, warn (it works, at a cost) or fail, and what to do. A database cannot show which settings Django has: a Django that shares the table needs USE_TZ = True, and version 4.1 or newer for sessions that end at a fixed date. With --timeouts and the secret key, the newest sessions are compared with the timeouts of the application.',
  example: 'check --secret-key-file secret.txt',
  options: ['secret-key-file', 'timeouts', 'processes', 'against', 'table', 'json'],
  exitCodes: '0 no check fails, 1 a check fails',
  run
}

async function run(task: Task): Promise<number> {
  const { options, io } = task
  const timeouts = timeoutsOf(options)
  // Without the key no row can be read, and a comparison of nothing would look like one without findings.
  const secrets = await (options.timeouts === undefined ? readSecrets(options, io.env) : requireSecrets(options, io.env, '--timeouts'))
  const surroundings = await surroundingsOf(task)
  const findings: Finding[] = []
  try {
    for await (const found of checkDatabase(task, secrets, timeouts, surroundings)) findings.push(...found)
  } catch (error) {
    findings.push(finding('fail', 'database', describe(error)))
  } finally {
    await surroundings.against?.destroy()
  }
  findings.push(...checkSecret(secrets))
  const failed = findings.some(({ status }) => status === 'fail')
  if (options.json) print(io.stdout, JSON.stringify({ ok: !failed, findings }))
  else printFindings(findings, io)
  return failed ? 1 : 0
}

/** What the options say that is around the server. */
interface Surroundings {
  /** Connections of the pools of all processes together. */
  pools: number | null
  /** Another address. */
  against: Knex | null
}

/** @throws UsageError */
async function surroundingsOf({ knex, options }: Task): Promise<Surroundings> {
  const processes = integer(options, 'processes', 1)
  for (const name of ['processes', 'against'] as const) {
    if (options[name] !== undefined && openDatabase({ knex }).dialect.isInProcess)
      throw new UsageError(`--${name}: expected a database on a server, and this one runs in this process`)
  }
  return {
    pools: processes === undefined ? null : processes * knex.client.pool.max,
    against: options.against === undefined ? null : await connectAgainst(options.against, '--against', knex)
  }
}

/** Stops at the first check without which the further ones make no sense. */
async function* checkDatabase(
  task: Task,
  secrets: Secrets | null,
  timeouts: Timeouts,
  surroundings: Surroundings
): AsyncGenerator<Finding[]> {
  const { options, io } = task
  const { table } = options
  const database = openDatabase(task)
  const server = await checkServers(database, table, surroundings)
  yield server
  // All that follows would wait for a server that takes writes.
  if (server.some(({ status, check }) => status === 'fail' && check === 'server')) return
  yield [checkClock(await probeClock(() => readClock(database), io.clock))]
  const columns = await readColumns(database, table)
  if (columns.length === 0) {
    yield [finding('fail', 'table', noTable(table))]
    return
  }
  const schema = checkTable(table, inspectionOf(database), columns, await readIndexes(database, table))
  yield schema
  yield checkUserSessions(await readColumns(database, USER_SESSIONS_TABLE), await readIndexes(database, USER_SESSIONS_TABLE))
  // Rows cannot be read if a column is missing.
  if (schema.some(({ status, check }) => status === 'fail' && check === 'columns')) return
  yield await checkSessions(task, secrets, inspectionOf(database).hasTimeZones, timeouts)
}

async function checkServers(database: Connections, table: string, { pools, against }: Surroundings): Promise<Finding[]> {
  if (database.dialect.isInProcess) return []
  const facts = await readServerFacts(database, table)
  const findings = checkServer(facts, pools)
  if (against === null) return findings
  try {
    return [...findings, checkAgainst(facts, await readServerFacts(openDatabase({ knex: against }), table))]
  } catch (error) {
    return [...findings, finding('fail', 'against', describe(error))]
  }
}

async function checkSessions(task: Task, secrets: Secrets | null, hasTimeZones: boolean, timeouts: Timeouts): Promise<Finding[]> {
  const { io } = task
  const settings = settingsOf(task, secrets ?? undefined)
  const { model } = await openSessions(settings, io)
  const now = io.clock()
  const expired = checkExpired(await model.countExpired(now), now)
  if (secrets === null) return [expired]
  const newest = await new Reader(settings).readNewest(model)
  return [expired, ...checkRows(newest, hasTimeZones), ...checkTimeouts(newest, timeouts, now)]
}

const STYLES = { ok: 'green', warn: 'yellow', fail: 'red' } as const

/** Prints a line for each finding, wrapped to the width of a terminal. */
function printFindings(findings: readonly Finding[], { stdout }: Io): void {
  const width = Math.max(...findings.map(({ check }) => check.length)) + 2
  for (const { status, check, message } of findings) {
    const label = styled(stdout, STYLES[status], status.padEnd(6))
    print(stdout, `${label}${check.padEnd(width)}${wrap(message, widthOf(stdout), width + 6)}`)
  }
  const count = (status: Finding['status']) => findings.filter((found) => found.status === status).length
  print(stdout, `${counted(count('fail'), 'failure')}, ${counted(count('warn'), 'warning')}`)
}
