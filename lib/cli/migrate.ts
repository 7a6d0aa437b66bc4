/** The commands `migrate` and `rollback`. */
import type { Knex } from 'knex'
import { readColumns } from '../database/inspection.js'
import { userIdTypeOf } from '../database/user-ids.js'
import { USER_SESSIONS_TABLE } from '../database/user-sessions-table.js'
import {
  createMigrationSource,
  createUserSessionsMigrationSource,
  USER_ID_TYPES,
  type UserSessionsMigrationSourceOptions
} from '../migrations.js'
import { type Options, TABLE } from './arguments.js'
import type { Command, Task } from './command.js'
import { CommandError, UsageError } from './errors.js'
import { printSentence } from './io.js'
import { openDatabase, readUserIdColumn } from './store.js'

export const migrate: Command = {
  summary: `Create the table ${TABLE}, unless it exists`,
  description: `Creates the table ${TABLE}, or the one of --table, as Django makes it. A table that exists already is left alone. The migrations that have run are recorded in another table, ${recordOf(TABLE)}.\nWith --user-sessions it does so for the table ${USER_SESSIONS_TABLE} of django-allauth, for the option userSessions.`,
  example: 'migrate',
  options: ['table', 'user-sessions', 'user-id'],
  exitCodes: '0 done, or nothing to do, 1 failed, or the table has users of another type',
  createsFile: true,
  async run(task: Task): Promise<number> {
    const { knex, newFile, io } = task
    const target = targetOf(task.options, true)
    const existed = await exists(task, target)
    if (target.table === USER_SESSIONS_TABLE) await checkUserId(task)
    // One transaction for all steps: otherwise two migrations at once could insert Knex's lock row twice, and the lock would stay taken.
    const [, names] = await knex
      .transaction((transaction) => transaction.migrate.latest(migrationsOf(target)))
      .catch((error) => explainLock(error, target))
    const place = newFile === null ? '' : ` in the new file ${newFile}`
    if (names.length === 0) printSentence(io.stdout, 'Nothing to migrate.')
    else
      printSentence(
        io.stdout,
        existed ? `The table ${target.table} exists already, and is left alone.` : `Created the table ${target.table}${place}.`
      )
    return 0
  }
}

export const rollback: Command = {
  summary: 'Undo the last migrate, but keep a table that Django made',
  description: `Undoes the last migrate, or with --user-sessions the last migrate --user-sessions. If migrate created the table, the table is dropped with all that is in it. A table that Django made, or that Django has adopted since by --fake-initial, stays.`,
  example: 'rollback',
  options: ['table', 'user-sessions'],
  exitCodes: '0 done, or nothing to do, 1 failed, or the table is one that Django has adopted',
  async run(task: Task): Promise<number> {
    const { knex, io } = task
    const target = targetOf(task.options, false)
    const { table } = target
    // Asked first over connections whose errors hold nothing of the URL, unlike those of Knex.
    await exists(task, target)
    const [, names] = await knex.migrate.rollback(migrationsOf(target)).catch((error) => explainLock(error, target))
    if (names.length === 0) printSentence(io.stdout, 'Nothing to roll back.')
    else if (await exists(task, target)) printSentence(io.stdout, `The table ${table} was not created by migrate, and is left alone.`)
    else printSentence(io.stdout, `Dropped the table ${table}.`)
    return 0
  }
}

/** A table and its migrations. */
interface Target {
  table: string
  migrationSource: Knex.MigrationSource<string>
}

/**
 * @param creates whether the table may be created, for which the type of its column user_id must be known
 * @throws UsageError
 */
function targetOf({ table, 'user-sessions': isUserSessions = false, 'user-id': userId }: Options, creates: boolean): Target {
  if (!isUserSessions) {
    if (userId !== undefined) throw new UsageError('--user-id needs --user-sessions')
    return { table, migrationSource: createMigrationSource({ tableName: table }) }
  }
  if (table !== TABLE) throw new UsageError('expected either --table NAME or --user-sessions, got both')
  if (creates && !isUserIdType(userId)) {
    const received = userId === undefined ? 'nothing' : JSON.stringify(userId)
    throw new UsageError(`--user-id: expected the type of the primary key of users, ${USER_ID_TYPES.join(', ')}, got ${received}`)
  }
  return {
    table: USER_SESSIONS_TABLE,
    migrationSource: createUserSessionsMigrationSource({ userId: isUserIdType(userId) ? userId : 'bigint' })
  }
}

function isUserIdType(value: string | undefined): value is UserSessionsMigrationSourceOptions['userId'] {
  return (USER_ID_TYPES as readonly (string | undefined)[]).includes(value)
}

/** The column of a table that exists stays as it is, whatever --user-id says. @throws CommandError where the two differ */
async function checkUserId(task: Task): Promise<void> {
  const asked = task.options['user-id']
  const column = await readUserIdColumn(task)
  if (column === undefined || userIdTypeOf(column) === asked) return
  throw new CommandError(
    `the table ${USER_SESSIONS_TABLE} exists, and its column user_id is ${column.type}, which does not fit --user-id ${asked}: give --user-id ${userIdTypeOf(column)}, or drop the table first`
  )
}

async function exists(task: Task, { table }: Target): Promise<boolean> {
  return (await readColumns(openDatabase(task), table)).length > 0
}

/** The table of applied migrations. Not `knex_migrations`, which is the application's: Knex refuses names there that it does not know. */
function recordOf(table: string): string {
  return `${table}_migrations`
}

function migrationsOf({ table, migrationSource }: Target): Knex.MigratorConfig {
  const [tableName = '', schemaName] = recordOf(table).split('.').reverse()
  return { migrationSource, tableName, ...(schemaName !== undefined && { schemaName }) }
}

function explainLock(error: Error, { table }: Target): never {
  if (error.name !== 'MigrationLocked' || error.message !== 'Migration table is already locked') throw error
  throw new Error(`another migration is running. If none is, an earlier one was interrupted: DROP TABLE ${recordOf(table)}_lock`, {
    cause: error
  })
}
