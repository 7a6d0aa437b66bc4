/** For Knex's own command, which finds the migration in the package's folder. */
import { directory } from 'fastify-django-sessions/migrations'

export default {
  client: 'better-sqlite3',
  connection: { filename: 'knex.sqlite3' },
  useNullAsDefault: true,
  migrations: { directory: [directory] }
}
