/** The package's migrations, for the Knex configuration of an application. */
import { join } from 'node:path'
import type { Knex } from 'knex'
import { migrationFor } from '../migrations/20261121000000_create_django_session.js'

/** The folder with the migrations: `migrations: { directory: ['./migrations', directory] }`. A bundle has none, see `migrationSource`. */
// A bundle in CommonJS has no `import.meta`, and must load all the same.
export const directory: string = join(import.meta.dirname ?? '', '../migrations')

/** Options of `createMigrationSource`. */
export interface MigrationSourceOptions {
  /** The option `tableName`; a schema of PostgreSQL or a database of MariaDB may stand before it, with a dot. @default 'django_session' */
  tableName?: string
}

/** The migrations for a table of another name: `migrations: { migrationSource: createMigrationSource({ tableName }) }`. */
export function createMigrationSource({ tableName = 'django_session' }: MigrationSourceOptions = {}): Knex.MigrationSource<string> {
  // Named as their files are, so that it makes no difference which way they were found.
  const migrations = new Map([[`20261121000000_create_${tableName}.js`, migrationFor(tableName)]])
  return {
    getMigrations: async () => Array.from(migrations.keys()),
    getMigrationName: (name) => name,
    getMigration: async (name) => migrations.get(name) as Knex.Migration
  }
}

/** The migrations without reading a folder, also in a bundle: `migrations: { migrationSource }`. */
export const migrationSource: Knex.MigrationSource<string> = createMigrationSource()
