/** The database of the site: that of DATABASE_URL (postgres://…), or a SQLite file in this folder. */
import { fileURLToPath } from 'node:url'
import type { Knex } from 'knex'

const url = process.env.DATABASE_URL

export const database: Knex.Config =
  url === undefined
    ? {
        client: 'better-sqlite3',
        connection: { filename: fileURLToPath(new URL('demo.sqlite3', import.meta.url)) },
        useNullAsDefault: true
      }
    : { client: 'pg', connection: url }
