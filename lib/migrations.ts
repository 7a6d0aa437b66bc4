/** The package's migrations, for the Knex configuration of an application. */
import { join } from 'node:path'
import type { Knex } from 'knex'
import { migrationFor } from '../migrations/20261121000000_create_django_session.js'
import { migrationFor as userSessionsMigrationFor } from '../migrations/user-sessions/20261128000000_create_usersessions_usersession.js'

/** The folder with the migrations: `migrations: { directory: ['./migrations', directory] }`. A bundle has no such folder, see `migrationSource`. */
// A CommonJS bundle has no `import.meta`, and must load all the same.
export const directory: string = join(import.meta.dirname ?? '', '../migrations')

/**
 * The folder with the migration for the option `userSessions`, for users whose primary key is a whole number. For other
 * keys see `createUserSessionsMigrationSource`. A Django with django-allauth's `allauth.usersessions` migrates the table itself.
 */
export const userSessionsDirectory: string = join(directory, 'user-sessions')

/** Options of `createMigrationSource`. */
export interface MigrationSourceOptions {
  /** The option `tableName`, with a schema of PostgreSQL or a database of MariaDB and a dot before it if needed. @default 'django_session' */
  tableName?: string
}

/** Creates the migrations for a table of another name: `migrations: { migrationSource: createMigrationSource({ tableName }) }`. */
export function createMigrationSource({ tableName = 'django_session' }: MigrationSourceOptions = {}): Knex.MigrationSource<string> {
  return sourceOf(`20261121000000_create_${tableName}.js`, migrationFor(tableName))
}

/** The migrations without a folder, for bundles: `migrations: { migrationSource }`. */
export const migrationSource: Knex.MigrationSource<string> = createMigrationSource()

/** The kinds of primary keys of users: a whole number, a UUID, or a text of at most 255 characters. */
export const USER_ID_TYPES = ['bigint', 'uuid', 'text'] as const

/** Options of `createUserSessionsMigrationSource`. */
export interface UserSessionsMigrationSourceOptions {
  /** The type of the users' primary key. */
  userId: (typeof USER_ID_TYPES)[number]
}

/**
 * Creates the migration for the option `userSessions`, which makes the table `usersessions_usersession` of django-allauth.
 *
 * @throws TypeError for another type of primary key
 */
export function createUserSessionsMigrationSource({ userId }: UserSessionsMigrationSourceOptions): Knex.MigrationSource<string> {
  if (!USER_ID_TYPES.includes(userId)) throw new TypeError(`Expected userId to be one of ${USER_ID_TYPES.join(', ')}, got ${userId}`)
  return sourceOf('20261128000000_create_usersessions_usersession.js', userSessionsMigrationFor(userId))
}

/** A source with one migration. It has the name of its file, so that Knex recognises it whichever way it was loaded. */
function sourceOf(file: string, migration: Knex.Migration): Knex.MigrationSource<string> {
  return {
    getMigrations: async () => [file],
    getMigrationName: (name) => name,
    getMigration: async () => migration
  }
}
