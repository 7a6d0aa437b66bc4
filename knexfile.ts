/** The database that `npm run migrate` and the example site use. */
import { fileURLToPath } from 'node:url'
import type { Knex } from 'knex'
import { database } from './examples/site/database.ts'

const config: Knex.Config = {
  ...database,
  migrations: { directory: fileURLToPath(new URL('./migrations', import.meta.url)) }
}

export default config
