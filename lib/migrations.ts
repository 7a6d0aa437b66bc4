/** The package's migrations, for the Knex configuration of an application. */
import { fileURLToPath } from 'node:url'
import type { Knex } from 'knex'
import * as createDjangoSession from '../migrations/20261121000000_create_django_session.js'

/** The folder with the migrations: `migrations: { directory: ['./migrations', directory] }`. */
export const directory: string = fileURLToPath(new URL('../migrations', import.meta.url))

/** Named as their files are, so that it makes no difference which way they were found. */
const migrations: Record<string, Knex.Migration> = {
  '20261121000000_create_django_session.js': createDjangoSession
}

/** The same migrations without reading a folder: `migrations: { migrationSource }`. */
export const migrationSource: Knex.MigrationSource<string> = {
  getMigrations: async () => Object.keys(migrations),
  getMigrationName: (name) => name,
  getMigration: async (name) => migrations[name] as Knex.Migration
}
