/** The database that `npm run migrate` and the example site use: DATABASE_URL (postgres://…), or a SQLite file here. */
import { fileURLToPath } from 'node:url'
import type { Knex } from 'knex'

const url = process.env.DATABASE_URL
const inProject = (path: string) => fileURLToPath(new URL(path, import.meta.url))

const config: Knex.Config = {
  ...(url === undefined
    ? { client: 'better-sqlite3', connection: { filename: inProject('./example.sqlite3') }, useNullAsDefault: true }
    : { client: 'pg', connection: url }),
  migrations: { directory: inProject('./migrations') }
}

export default config
