/** The commands `migrate` and `rollback`. */
import { migrationSource } from '../migrations.js'
import { TABLE } from './arguments.js'
import type { Command, Task } from './command.js'
import { print } from './io.js'

/** Not the application's `knex_migrations`: Knex refuses a list with names that it does not find in its folder. */
const MIGRATIONS = { migrationSource, tableName: 'django_session_migrations' }

export const migrate: Command = {
  summary: `Create the table ${TABLE}, unless it is there`,
  description: `Creates the table ${TABLE} as Django makes it, or leaves alone the one that is there. What was done is recorded in the table ${MIGRATIONS.tableName}.`,
  options: [],
  exitCodes: '0 done, or nothing to do, 1 failed',
  createsFile: true,
  async run({ knex, io }: Task): Promise<number> {
    const existed = await knex.schema.hasTable(TABLE)
    const [, names] = await knex.migrate.latest(MIGRATIONS).catch(explainLock)
    if (names.length === 0) print(io.stdout, 'Nothing to migrate.')
    else print(io.stdout, existed ? `The table ${TABLE} was there already, and stays.` : `Created the table ${TABLE}.`)
    return 0
  }
}

export const rollback: Command = {
  summary: 'Undo the last migrate; a table that Django made stays',
  description: `Undoes the last migrate. It drops the table ${TABLE} with all sessions if migrate has created it; a table that Django made stays.`,
  options: [],
  exitCodes: '0 done, or nothing to do, 1 failed',
  async run({ knex, io }: Task): Promise<number> {
    const [, names] = await knex.migrate.rollback(MIGRATIONS).catch(explainLock)
    const remains = await knex.schema.hasTable(TABLE)
    if (names.length === 0) print(io.stdout, 'Nothing to roll back.')
    else print(io.stdout, remains ? `The table ${TABLE} was not made by migrate, and stays.` : `Dropped the table ${TABLE}.`)
    return 0
  }
}

function explainLock(error: Error): never {
  if (error.name !== 'MigrationLocked' || error.message !== 'Migration table is already locked') throw error
  throw new Error(`another migration is under way. If none is, one was cut off: UPDATE ${MIGRATIONS.tableName}_lock SET is_locked = 0`, {
    cause: error
  })
}
