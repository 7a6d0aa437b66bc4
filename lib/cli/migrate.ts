/** The commands `migrate` and `rollback`. */
import type { Knex } from 'knex'
import { readColumns } from '../database/inspection.js'
import { createMigrationSource } from '../migrations.js'
import { TABLE } from './arguments.js'
import type { Command, Task } from './command.js'
import { printSentence } from './io.js'
import { openDatabase } from './store.js'

export const migrate: Command = {
  summary: `Create the table ${TABLE}, unless it exists`,
  description: `Creates the table ${TABLE}, or the one of --table, as Django makes it. A table that exists already is left alone. The migrations that have run are recorded in another table, ${recordOf(TABLE)}.`,
  example: 'migrate',
  options: ['table'],
  exitCodes: '0 done, or nothing to do, 1 failed',
  createsFile: true,
  async run(task: Task): Promise<number> {
    const { knex, newFile, io } = task
    const { table } = task.options
    const existed = await exists(task)
    // One transaction for all steps: otherwise two migrations at once could insert Knex's lock row twice, and the lock would stay taken.
    const [, names] = await knex
      .transaction((transaction) => transaction.migrate.latest(migrationsOf(table)))
      .catch((error) => explainLock(error, table))
    const place = newFile === null ? '' : ` in the new file ${newFile}`
    if (names.length === 0) printSentence(io.stdout, 'Nothing to migrate.')
    else printSentence(io.stdout, existed ? `The table ${table} exists already, and is left alone.` : `Created the table ${table}${place}.`)
    return 0
  }
}

export const rollback: Command = {
  summary: 'Undo the last migrate, but keep a table that Django made',
  description: `Undoes the last migrate. If migrate created the table, the table is dropped with all sessions. A table that Django made, or that Django has adopted since by --fake-initial, stays.`,
  example: 'rollback',
  options: ['table'],
  exitCodes: '0 done, or nothing to do, 1 failed, or the table is one that Django has adopted',
  async run(task: Task): Promise<number> {
    const { knex, io } = task
    const { table } = task.options
    const [, names] = await knex.migrate.rollback(migrationsOf(table)).catch((error) => explainLock(error, table))
    if (names.length === 0) printSentence(io.stdout, 'Nothing to roll back.')
    else if (await exists(task)) printSentence(io.stdout, `The table ${table} was not created by migrate, and is left alone.`)
    else printSentence(io.stdout, `Dropped the table ${table}.`)
    return 0
  }
}

async function exists(task: Task): Promise<boolean> {
  return (await readColumns(openDatabase(task), task.options.table)).length > 0
}

/** The table of applied migrations. `knex_migrations` is the application's, where Knex would not accept the names of ours. */
function recordOf(table: string): string {
  return `${table}_migrations`
}

function migrationsOf(table: string): Knex.MigratorConfig {
  const [tableName = '', schemaName] = recordOf(table).split('.').reverse()
  return { migrationSource: createMigrationSource({ tableName: table }), tableName, ...(schemaName !== undefined && { schemaName }) }
}

function explainLock(error: Error, table: string): never {
  if (error.name !== 'MigrationLocked' || error.message !== 'Migration table is already locked') throw error
  throw new Error(`another migration is running. If none is, an earlier one was interrupted: DROP TABLE ${recordOf(table)}_lock`, {
    cause: error
  })
}
