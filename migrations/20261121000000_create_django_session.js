/**
 * Creates the table of django.contrib.sessions with Django's own names (its migration
 * 0001_initial), or leaves alone the one that is there. A historical record: it imports
 * nothing of the library, and does not change when the library does.
 *
 * @typedef {import('knex').Knex} Knex
 */
import { createHash } from 'node:crypto'

const TABLE = 'django_session'
const COLUMNS = ['session_key', 'session_data', 'expire_date']

/** Says that the table is ours to drop. SQLite keeps it in the text of the CREATE statement, which Django parses from the bracket on. */
const MARK = 'created by fastify-django-sessions'

/**
 * @typedef {object} Database
 * @property {string} name of the table, quoted
 * @property {string[]} create
 * @property {string[]} index
 * @property {string} columns gives a row for each column of the table
 * @property {string} columnName
 * @property {string} mark gives a row when the table is ours to drop
 * @property {string} [unindexed] gives a row when the table is ours and lacks its index
 */

/**
 * By Knex's name of the driver. Statements are written out, and of answers only the
 * rows are counted: the Knex instance may map names both ways. PostgreSQL finds the
 * table as every later query will, anywhere on the search path.
 *
 * @type {Record<string, (table: string) => Database>}
 */
const DATABASES = {
  pg(table) {
    const name = quote(table, '"')
    const oid = `to_regclass(${literal(name)})`
    const like = quote(indexName(table, 'session_key', 63, '_like'), '"')
    return {
      name,
      create: [
        `CREATE TABLE ${name} ("session_key" varchar(40) NOT NULL PRIMARY KEY, "session_data" text NOT NULL, "expire_date" timestamp with time zone NOT NULL)`,
        `COMMENT ON TABLE ${name} IS '${MARK}'`
      ],
      index: [
        `CREATE INDEX IF NOT EXISTS ${like} ON ${name} ("session_key" varchar_pattern_ops)`,
        `CREATE INDEX IF NOT EXISTS ${quote(indexName(table, 'expire_date', 63), '"')} ON ${name} ("expire_date")`
      ],
      columns: `SELECT 1 AS found FROM pg_attribute WHERE attrelid = ${oid} AND attnum > 0 AND NOT attisdropped`,
      columnName: 'attname',
      mark: `SELECT 1 AS found WHERE obj_description(${oid}, 'pg_class') = '${MARK}'`
    }
  },
  'better-sqlite3'(table) {
    if (table.includes('.')) throw new Error(`fastify-django-sessions: expected the name of a table without a dot on SQLite, got ${table}`)
    const name = quote(table, '"')
    return {
      name,
      create: [
        `CREATE TABLE ${name} /* ${MARK} */ ("session_key" varchar(40) NOT NULL PRIMARY KEY, "session_data" text NOT NULL, "expire_date" datetime NOT NULL)`
      ],
      index: [`CREATE INDEX IF NOT EXISTS ${quote(indexName(table, 'expire_date', 200), '"')} ON ${name} ("expire_date")`],
      columns: `SELECT 1 AS found FROM pragma_table_info(${literal(table)}) WHERE true`,
      columnName: 'name',
      mark: `SELECT 1 AS found FROM sqlite_master WHERE type = 'table' AND name = ${literal(table)} AND sql LIKE '%/* ${MARK} */%'`
    }
  },
  mysql2(table) {
    const name = quote(table, '`')
    const index = indexName(table, 'expire_date', 64)
    const [bare = '', schema] = table.split('.').reverse()
    const isTable = `table_schema = ${schema === undefined ? 'DATABASE()' : literal(schema)} AND table_name = ${literal(bare)}`
    const mark = `SELECT 1 AS found FROM information_schema.tables WHERE ${isTable} AND table_comment = '${MARK}'`
    return {
      name,
      create: [
        `CREATE TABLE ${name} (session_key varchar(40) NOT NULL PRIMARY KEY, session_data longtext NOT NULL, expire_date datetime(6) NOT NULL) COMMENT = '${MARK}'`
      ],
      index: [`CREATE INDEX ${quote(index, '`')} ON ${name} (expire_date)`],
      columns: `SELECT 1 AS found FROM information_schema.columns WHERE ${isTable}`,
      columnName: 'column_name',
      mark,
      // MySQL has no CREATE INDEX IF NOT EXISTS, and DDL that no transaction takes back.
      unindexed: `${mark} AND NOT EXISTS (SELECT 1 FROM information_schema.statistics WHERE ${isTable} AND index_name = ${literal(index)})`
    }
  }
}

/**
 * The migration for a table of another name, which may have its schema before a dot.
 *
 * @param {string} table
 */
export function migrationFor(table) {
  return {
    /** @param {Knex} knex */
    async up(knex) {
      const { create, index, columns, mark, unindexed = mark } = databaseOf(knex, table)
      const isNew = !(await hasRows(knex, columns))
      if (isNew) await run(knex, create)
      else await checkColumns(knex, table)
      // A table of ours may have lost its indexes where migrations run without a transaction.
      if (isNew || (await hasRows(knex, unindexed))) await run(knex, index)
    },

    /** @param {Knex} knex */
    async down(knex) {
      const { name, mark } = databaseOf(knex, table)
      if (!(await hasRows(knex, mark))) return
      if (await isDjangos(knex, table)) {
        throw new Error(
          `The table ${table} stays: Django has adopted it, since its table django_migrations lists the app sessions. To drop it, run manage.py migrate sessions zero`
        )
      }
      await run(knex, [`DROP TABLE ${name}`])
    }
  }
}

export const { up, down } = migrationFor(TABLE)

/**
 * @param {Knex} knex
 * @param {string} table
 */
function databaseOf(knex, table) {
  const database = DATABASES[knex.client.driverName]
  if (database !== undefined) return database(table)
  throw new Error(`fastify-django-sessions: expected a Knex client of ${Object.keys(DATABASES).join(', ')}, got ${knex.client.driverName}`)
}

/**
 * Django's name of an index (django/db/backends/base/schema.py, _create_index_name).
 *
 * @param {string} table
 * @param {string} column
 * @param {number} longest characters of a name on the database, as Django has it
 */
function indexName(table, column, longest, suffix = '') {
  const bare = table.split('.').at(-1) ?? ''
  const end =
    createHash('md5')
      .update(bare + column)
      .digest('hex')
      .slice(0, 8) + suffix
  const name = `${bare}_${column}_${end}`
  if (name.length <= longest) return name
  const length = Math.floor((longest - end.length) / 2) - 1
  const short = `${bare.slice(0, length)}_${column.slice(0, length)}_${end}`
  return /^[_\d]/.test(short) ? `D${short.slice(0, -1)}` : short
}

/**
 * @param {string} name
 * @param {string} mark
 */
function quote(name, mark) {
  return name
    .split('.')
    .map((part) => mark + part.replaceAll(mark, mark + mark) + mark)
    .join('.')
}

/** @param {string} text */
function literal(text) {
  return `'${text.replaceAll("'", "''")}'`
}

/**
 * Whether Django's own migrations manage the table, as after `manage.py migrate --fake-initial`.
 *
 * @param {Knex} knex
 * @param {string} table
 */
async function isDjangos(knex, table) {
  const [bare, ...schema] = table.split('.').reverse()
  if (bare !== TABLE) return false
  const { name, columns } = databaseOf(knex, [...schema, 'django_migrations'].join('.'))
  return (await hasRows(knex, columns)) && (await hasRows(knex, `SELECT 1 AS found FROM ${name} WHERE app = 'sessions'`))
}

/**
 * A table of that name with other columns is no session table, and would fail later, at each request.
 *
 * @param {Knex} knex
 * @param {string} table
 */
async function checkColumns(knex, table) {
  const { columns, columnName } = databaseOf(knex, table)
  for (const column of COLUMNS) {
    if (await hasRows(knex, `${columns} AND ${columnName} = '${column}'`)) continue
    throw new Error(
      `The table ${table} exists, but has no column ${column}: it is no table of Django's sessions. Rename or drop it, then migrate again`
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
