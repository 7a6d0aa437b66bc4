/** The package's migrations, for the Knex configuration of an application. */
import { join } from 'node:path'
import type { Knex } from 'knex'
import * as createDjangoSession from '../migrations/20261121000000_create_django_session.js'

/** The folder with the migrations: `migrations: { directory: ['./migrations', directory] }`. A bundle has none, see `migrationSource`. */
// A bundle in CommonJS has no `import.meta`, and must load all the same.
export const directory: string = join(import.meta.dirname ?? '', '../migrations')

/** Named as their files are, so that it makes no difference which way they were found. */
const migrations: Record<string, Knex.Migration> = {
  '20261121000000_create_django_session.js': createDjangoSession
}

/** The same migrations without reading a folder, also in a bundle: `migrations: { migrationSource }`. */
export const migrationSource: Knex.MigrationSource<string> = {
  getMigrations: async () => Object.keys(migrations),
  getMigrationName: (name) => name,
  getMigration: async (name) => migrations[name] as Knex.Migration
}
