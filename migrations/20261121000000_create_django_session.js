/**
 * Creates the table of django.contrib.sessions with Django's own names (its migration
 * 0001_initial), or leaves alone the one that is there. A historical record: it imports
 * nothing, and does not change when the library does.
 *
 * @typedef {import('knex').Knex} Knex
 */

const TABLE = 'django_session'

/** Says that the table is ours to drop. SQLite keeps it in the text of the CREATE statement. */
const MARK = 'created by fastify-django-sessions'

/** Django's names of the indexes: a hash of table and column is part of them. */
const EXPIRE_DATE_INDEX = 'django_session_expire_date_a5c62663'
const LIKE_INDEX = 'django_session_session_key_c0390e0f_like'

/** @type {Record<string, string[]>} */
const CREATE = {
  pg: [
    `CREATE TABLE "${TABLE}" ("session_key" varchar(40) NOT NULL PRIMARY KEY, "session_data" text NOT NULL, "expire_date" timestamp with time zone NOT NULL)`,
    `CREATE INDEX "${LIKE_INDEX}" ON "${TABLE}" ("session_key" varchar_pattern_ops)`,
    `CREATE INDEX "${EXPIRE_DATE_INDEX}" ON "${TABLE}" ("expire_date")`,
    `COMMENT ON TABLE "${TABLE}" IS '${MARK}'`
  ],
  'better-sqlite3': [
    `CREATE TABLE "${TABLE}" (/* ${MARK} */ "session_key" varchar(40) NOT NULL PRIMARY KEY, "session_data" text NOT NULL, "expire_date" datetime NOT NULL)`,
    `CREATE INDEX "${EXPIRE_DATE_INDEX}" ON "${TABLE}" ("expire_date")`
  ]
}

/** @type {Record<string, string>} */
const FIND_MARK = {
  pg: `SELECT 1 AS marked WHERE obj_description(to_regclass('"${TABLE}"'), 'pg_class') = '${MARK}'`,
  'better-sqlite3': `SELECT 1 AS marked FROM sqlite_master WHERE type = 'table' AND name = '${TABLE}' AND sql LIKE '%${MARK}%'`
}

/** @param {Knex} knex */
export async function up(knex) {
  const create = CREATE[knex.client.driverName]
  if (create === undefined) throw new Error(`Expected a database of ${Object.keys(CREATE).join(', ')}, got ${knex.client.driverName}`)
  if (await knex.schema.hasTable(TABLE)) return checkColumns(knex)
  for (const statement of create) await knex.raw(statement)
}

/** @param {Knex} knex */
export async function down(knex) {
  const marked = await knex.raw(FIND_MARK[knex.client.driverName] ?? '')
  if ((marked.rows ?? marked).length > 0) await knex.schema.dropTable(TABLE)
}

/**
 * A table of that name with other columns is no session table, and would fail later, at each request.
 *
 * @param {Knex} knex
 */
async function checkColumns(knex) {
  for (const column of ['session_key', 'session_data', 'expire_date']) {
    if (await knex.schema.hasColumn(TABLE, column)) continue
    throw new Error(
      `The table ${TABLE} exists, but has no column ${column}: it is no table of Django's sessions. Drop or rename it, then migrate again`
    )
  }
}
