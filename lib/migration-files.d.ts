/** The migrations are plain JavaScript, since Knex imports whatever lies in their folder. */
declare module '*_create_django_session.js' {
  import type { Knex } from 'knex'
  export function up(knex: Knex): Promise<void>
  export function down(knex: Knex): Promise<void>
  export function migrationFor(table: string): Knex.Migration
}

declare module '*_create_usersessions_usersession.js' {
  import type { Knex } from 'knex'
  export function up(knex: Knex): Promise<void>
  export function down(knex: Knex): Promise<void>
  export function migrationFor(userId: 'bigint' | 'uuid' | 'text'): Knex.Migration
}
