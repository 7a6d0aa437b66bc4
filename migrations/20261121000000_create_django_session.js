/**
 * Creates the table of django.contrib.sessions with Django's own names (its migration
 * 0001_initial), or leaves alone the one that is there. A historical record: it imports
 * nothing, and does not change when the library does.
 *
 * @typedef {import('knex').Knex} Knex
 */

const TABLE = 'django_session'
const COLUMNS = ['session_key', 'session_data', 'expire_date']

/** Says that the table is ours to drop. SQLite keeps it in the text of the CREATE statement, which Django parses from the bracket on. */
const MARK = 'created by fastify-django-sessions'

const EXPIRE_DATE_INDEX = 'django_session_expire_date_a5c62663'
const MYSQL_MARK = `SELECT 1 AS found FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = '${TABLE}' AND table_comment = '${MARK}'`

/**
 * By Knex's name of the driver. Statements are written out, and of answers only the
 * rows are counted: the Knex instance may map names both ways. PostgreSQL finds the
 * table as every later query will, anywhere on the search path. Django's names of
 * indexes hold a hash of table and column.
 *
 * @type {Record<string, { create: string[], index: string[], columns: string, columnName: string, mark: string, unindexed?: string }>}
 */
const DATABASES = {
  pg: {
    create: [
      `CREATE TABLE "${TABLE}" ("session_key" varchar(40) NOT NULL PRIMARY KEY, "session_data" text NOT NULL, "expire_date" timestamp with time zone NOT NULL)`,
      `COMMENT ON TABLE "${TABLE}" IS '${MARK}'`
    ],
    index: [
      `CREATE INDEX IF NOT EXISTS "django_session_session_key_c0390e0f_like" ON "${TABLE}" ("session_key" varchar_pattern_ops)`,
      `CREATE INDEX IF NOT EXISTS "${EXPIRE_DATE_INDEX}" ON "${TABLE}" ("expire_date")`
    ],
    columns: `SELECT 1 AS found FROM pg_attribute WHERE attrelid = to_regclass('"${TABLE}"') AND attnum > 0 AND NOT attisdropped`,
    columnName: 'attname',
    mark: `SELECT 1 AS found WHERE obj_description(to_regclass('"${TABLE}"'), 'pg_class') = '${MARK}'`
  },
  'better-sqlite3': {
    create: [
      `CREATE TABLE "${TABLE}" /* ${MARK} */ ("session_key" varchar(40) NOT NULL PRIMARY KEY, "session_data" text NOT NULL, "expire_date" datetime NOT NULL)`
    ],
    index: [`CREATE INDEX IF NOT EXISTS "${EXPIRE_DATE_INDEX}" ON "${TABLE}" ("expire_date")`],
    columns: `SELECT 1 AS found FROM pragma_table_info('${TABLE}') WHERE true`,
    columnName: 'name',
    mark: `SELECT 1 AS found FROM sqlite_master WHERE type = 'table' AND name = '${TABLE}' AND sql LIKE '%/* ${MARK} */%'`
  },
  mysql2: {
    create: [
      `CREATE TABLE ${TABLE} (session_key varchar(40) NOT NULL PRIMARY KEY, session_data longtext NOT NULL, expire_date datetime(6) NOT NULL) COMMENT = '${MARK}'`
    ],
    index: [`CREATE INDEX ${EXPIRE_DATE_INDEX} ON ${TABLE} (expire_date)`],
    columns: `SELECT 1 AS found FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = '${TABLE}'`,
    columnName: 'column_name',
    mark: MYSQL_MARK,
    // MySQL has no CREATE INDEX IF NOT EXISTS, and DDL that no transaction takes back.
    unindexed: `${MYSQL_MARK} AND NOT EXISTS (SELECT 1 FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name = '${TABLE}' AND index_name = '${EXPIRE_DATE_INDEX}')`
  }
}

/** @param {Knex} knex */
export async function up(knex) {
  const { create, index, columns, mark, unindexed = mark } = databaseOf(knex)
  const isNew = !(await hasRows(knex, columns))
  if (isNew) await run(knex, create)
  else await checkColumns(knex)
  // A table of ours may have lost its indexes where migrations run without a transaction.
  if (isNew || (await hasRows(knex, unindexed))) await run(knex, index)
}

/** @param {Knex} knex */
export async function down(knex) {
  if (await hasRows(knex, databaseOf(knex).mark)) await run(knex, [`DROP TABLE ${TABLE}`])
}

/** @param {Knex} knex */
function databaseOf(knex) {
  const database = DATABASES[knex.client.driverName]
  if (database !== undefined) return database
  throw new Error(`fastify-django-sessions: expected a Knex client of ${Object.keys(DATABASES).join(', ')}, got ${knex.client.driverName}`)
}

/**
 * A table of that name with other columns is no session table, and would fail later, at each request.
 *
 * @param {Knex} knex
 */
async function checkColumns(knex) {
  const { columns, columnName } = databaseOf(knex)
  for (const column of COLUMNS) {
    if (await hasRows(knex, `${columns} AND ${columnName} = '${column}'`)) continue
    throw new Error(
      `The table ${TABLE} exists, but has no column ${column}: it is no table of Django's sessions. Rename or drop it, then migrate again`
    )
  }
}

/**
 * @param {Knex} knex
 * @param {string} query
 */
async function hasRows(knex, query) {
  const answer = await knex.raw(query)
  // mysql2 answers [rows, fields].
  const rows = Array.isArray(answer[0]) ? answer[0] : (answer.rows ?? answer)
  return rows.length > 0
}

/**
 * @param {Knex} knex
 * @param {string[]} statements
 */
async function run(knex, statements) {
  for (const statement of statements) await knex.raw(statement)
}
