/** The commands `migrate` and `rollback`. */
import type { Knex } from 'knex'
import { readColumns } from '../database/inspection.js'
import { createMigrationSource } from '../migrations.js'
import { TABLE } from './arguments.js'
import type { Command, Task } from './command.js'
import { printSentence } from './io.js'
import { openDatabase } from './store.js'

export const migrate: Command = {
  summary: `Create the table ${TABLE}, unless it is there`,
  description: `Creates the table ${TABLE}, or the one of --table, as Django makes it, or leaves alone the one that is there. What was done is recorded in a table beside it, ${recordOf(TABLE)}.`,
  example: 'migrate',
  options: ['table'],
  exitCodes: '0 done, or nothing to do, 1 failed',
  createsFile: true,
  async run(task: Task): Promise<number> {
    const { knex, newFile, io } = task
    const table = tableOf(task)
    const existed = await exists(task)
    // In one transaction, or two that run at once could create Knex's lock twice: it would then never be free.
    const [, names] = await knex
      .transaction((transaction) => transaction.migrate.latest(migrationsOf(table)))
      .catch((error) => explainLock(error, table))
    const place = newFile === null ? '' : ` in the new file ${newFile}`
    if (names.length === 0) printSentence(io.stdout, 'Nothing to migrate.')
    else printSentence(io.stdout, existed ? `The table ${table} was there already, and stays.` : `Created the table ${table}${place}.`)
    return 0
  }
}

export const rollback: Command = {
  summary: 'Undo the last migrate; a table that Django made stays',
  description: `Undoes the last migrate. It drops the table with all sessions if migrate has created it; a table that Django made, or has adopted since by --fake-initial, stays.`,
  example: 'rollback',
  options: ['table'],
  exitCodes: '0 done, or nothing to do, 1 failed, or the table is one that Django has adopted',
  async run(task: Task): Promise<number> {
    const { knex, io } = task
    const table = tableOf(task)
    const [, names] = await knex.migrate.rollback(migrationsOf(table)).catch((error) => explainLock(error, table))
    if (names.length === 0) printSentence(io.stdout, 'Nothing to roll back.')
    else if (await exists(task)) printSentence(io.stdout, `The table ${table} was not made by migrate, and stays.`)
    else printSentence(io.stdout, `Dropped the table ${table}.`)
    return 0
  }
}

const tableOf = ({ options }: Task) => options.table ?? TABLE

async function exists(task: Task): Promise<boolean> {
  return (await readColumns(openDatabase(task), tableOf(task))).length > 0
}

/** Not the application's `knex_migrations`: Knex refuses a list with names that it does not find in its folder. */
function recordOf(table: string): string {
  return `${table}_migrations`
}

function migrationsOf(table: string): Knex.MigratorConfig {
  const [tableName = '', schemaName] = recordOf(table).split('.').reverse()
  return { migrationSource: createMigrationSource({ tableName: table }), tableName, ...(schemaName !== undefined && { schemaName }) }
}

function explainLock(error: Error, table: string): never {
  if (error.name !== 'MigrationLocked' || error.message !== 'Migration table is already locked') throw error
  throw new Error(`another migration is under way. If none is, one was cut off: DROP TABLE ${recordOf(table)}_lock`, {
    cause: error
  })
}
