/** The tables of the site: that of the sessions, that which says whose they are, and one of its own. */
import { setTimeout as pause } from 'node:timers/promises'
import { createUserSessionsMigrationSource, migrationSource } from 'fastify-django-sessions/migrations'
import createKnex, { type Knex } from 'knex'

/**
 * Several sites may start on a new database at the same time: one migrates, the others are refused and try again.
 * One transaction holds it all, since Knex's lock could otherwise be created twice, and would then never be free.
 */
export async function migrate(database: Knex.Config): Promise<Knex> {
  const knex = createKnex(database)
  try {
    // Only a refused migration is worth another attempt: a database that cannot be reached fails here.
    await knex.raw('SELECT 1')
    for (let refusals = 1; ; refusals++) {
      try {
        await knex.transaction(createTables)
        return knex
      } catch (error) {
        if (refusals === 20) throw error
        await pause(250)
      }
    }
  } catch (error) {
    await knex.destroy()
    throw error
  }
}

async function createTables(knex: Knex.Transaction): Promise<void> {
  await knex.migrate.latest({ migrationSource })
  const userSessions = createUserSessionsMigrationSource({ userId: 'bigint' })
  await knex.migrate.latest({ migrationSource: userSessions, tableName: 'usersessions_usersession_migrations' })
  if (await knex.schema.hasTable('site_comments')) return
  await knex.schema.createTable('site_comments', (table) => {
    table.increments('id')
    table.text('text').notNullable()
  })
}
