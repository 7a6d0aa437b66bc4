/** The command `check`: finds problems of a database and its secret key, and says how to solve them. */
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
import { connect } from './database.js'
import { describe } from './errors.js'
import { type Io, print, styled, widthOf } from './io.js'
import { readSecrets, type Secrets } from './secret.js'
import { openDatabase, openSessions, Reader, settingsOf } from './store.js'
import { counted, wrap } from './text.js'

/** The number of sessions whose signatures are checked. */
const SAMPLE = 20

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
  const secrets = await readSecrets(options, io.env)
  const processes = integer(options, 'processes', 1)
  const findings = [...(await checkDatabase(task, secrets, timeouts, processes)), ...checkSecret(secrets)]
  const failed = findings.some(({ status }) => status === 'fail')
  if (options.json) print(io.stdout, JSON.stringify({ ok: !failed, findings }))
  else printFindings(findings, io)
  return failed ? 1 : 0
}

/** Stops at the first check without which the further ones make no sense. */
async function checkDatabase(task: Task, secrets: Secrets | null, timeouts: Timeouts, processes: number | undefined): Promise<Finding[]> {
  const { options, io } = task
  const { table } = options
  const database = openDatabase(task)
  try {
    const server = await checkServers(task, database, processes)
    // All that follows would wait for a server that takes writes.
    if (server.some(({ status, check }) => status === 'fail' && check === 'server')) return server
    const clock = checkClock(await probeClock(() => readClock(database), io.clock))
    const columns = await readColumns(database, table)
    if (columns.length === 0) {
      return [...server, clock, finding('fail', 'table', `there is no table ${table}: run migrate, or manage.py migrate sessions`)]
    }
    const beside = checkUserSessions(await readColumns(database, USER_SESSIONS_TABLE), await readIndexes(database, USER_SESSIONS_TABLE))
    const schema = [...checkTable(table, inspectionOf(database), columns, await readIndexes(database, table)), ...beside]
    // Rows cannot be read if a column is missing.
    if (schema.some(({ status, check }) => status === 'fail' && check === 'columns')) return [...server, clock, ...schema]
    return [...server, clock, ...schema, ...(await checkSessions(task, secrets, inspectionOf(database).hasTimeZones, timeouts))]
  } catch (error) {
    return [finding('fail', 'database', describe(error))]
  }
}

async function checkServers(task: Task, database: Connections, processes: number | undefined): Promise<Finding[]> {
  const { options, io } = task
  const facts = await readServerFacts(database, options.table)
  const findings = checkServer(facts, processes === undefined ? null : processes * database.knex.client.pool.max)
  if (options.against === undefined || facts === null) return findings
  const { knex } = await connect({ ...options, 'database-url': options.against, knexfile: undefined }, io.env)
  try {
    const there = await readServerFacts(openDatabase({ ...task, knex }), options.table)
    return there === null ? findings : [...findings, checkAgainst(facts, there)]
  } catch (error) {
    return [...findings, finding('fail', 'against', describe(error))]
  } finally {
    await knex.destroy()
  }
}

async function checkSessions(task: Task, secrets: Secrets | null, hasTimeZones: boolean, timeouts: Timeouts): Promise<Finding[]> {
  const { io } = task
  const settings = settingsOf(task, secrets ?? undefined)
  const { model } = await openSessions(settings, io)
  const now = io.clock()
  const expired = checkExpired(await model.countExpired(now), now)
  if (secrets === null) return [expired]
  const newest = await new Reader(settings).readNewest(model, SAMPLE)
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
