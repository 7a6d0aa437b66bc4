/**
 * Migrations that make a table as Django makes it, with Django's own names, or leave alone the one that is there. A
 * historical record, as the migrations themselves: it imports nothing of the library, and does not change when the
 * library does.
 *
 * @typedef {import('knex').Knex} Knex
 */
import { createHash } from 'node:crypto'

/** Says that the table is ours to drop. SQLite keeps it in the text of the CREATE statement, which Django parses from the bracket on. */
const MARK = 'created by fastify-django-sessions'

/**
 * @typedef {object} Definition
 * @property {string} pg the columns of the CREATE statement, as Django writes them
 * @property {string} better-sqlite3
 * @property {string} mysql2
 */

/**
 * @typedef {object} DjangoTable
 * @property {string} table which may have its schema before a dot
 * @property {string} model the table of Django's model, which alone Django can adopt
 * @property {string} app of Django that migrates it
 * @property {string} purpose for messages: `Django's sessions`
 * @property {readonly string[]} columns without which a table of that name is another one
 * @property {Definition} definition
 * @property {readonly string[]} texts columns with an index for LIKE, which Django makes on PostgreSQL
 * @property {readonly string[]} indexed columns with an index
 */

/**
 * @typedef {object} Database
 * @property {string} name of the table, quoted
 * @property {string[]} create
 * @property {{ create: string, missing?: string }[]} indexes `missing` gives a row when the index is not there
 * @property {string} columns gives a row for each column of the table
 * @property {string} columnName
 * @property {string} mark gives a row when the table is ours to drop
 */

/**
 * By Knex's name of the driver. Statements are written out, and of answers only the
 * rows are counted: the Knex instance may map names both ways. PostgreSQL finds the
 * table as every later query will, anywhere on the search path.
 *
 * @type {Record<string, (table: DjangoTable) => Database>}
 */
const DATABASES = {
  pg({ table, definition, texts, indexed }) {
    const name = quote(table, '"')
    const oid = `to_regclass(${literal(name)})`
    /** @param {string} column @param {string} [suffix] @param {string} [operators] */
    const index = (column, suffix = '', operators = '') => ({
      create: `CREATE INDEX IF NOT EXISTS ${quote(indexName(table, column, 63, suffix), '"')} ON ${name} ("${column}"${operators})`
    })
    return {
      name,
      create: [`CREATE TABLE ${name} (${definition.pg})`, `COMMENT ON TABLE ${name} IS '${MARK}'`],
      indexes: [...texts.map((column) => index(column, '_like', ' varchar_pattern_ops')), ...indexed.map((column) => index(column))],
      columns: `SELECT 1 AS found FROM pg_attribute WHERE attrelid = ${oid} AND attnum > 0 AND NOT attisdropped`,
      columnName: 'attname',
      mark: `SELECT 1 AS found WHERE obj_description(${oid}, 'pg_class') = '${MARK}'`
    }
  },
  'better-sqlite3'({ table, definition, indexed }) {
    if (table.includes('.')) throw new Error(`fastify-django-sessions: expected the name of a table without a dot on SQLite, got ${table}`)
    const name = quote(table, '"')
    return {
      name,
      create: [`CREATE TABLE ${name} /* ${MARK} */ (${definition['better-sqlite3']})`],
      indexes: indexed.map((column) => ({
        create: `CREATE INDEX IF NOT EXISTS ${quote(indexName(table, column, 200), '"')} ON ${name} ("${column}")`
      })),
      columns: `SELECT 1 AS found FROM pragma_table_info(${literal(table)}) WHERE true`,
      columnName: 'name',
      mark: `SELECT 1 AS found FROM sqlite_master WHERE type = 'table' AND name = ${literal(table)} AND sql LIKE '%/* ${MARK} */%'`
    }
  },
  mysql2({ table, definition, indexed }) {
    const name = quote(table, '`')
    const [bare = '', schema] = table.split('.').reverse()
    const isTable = `table_schema = ${schema === undefined ? 'DATABASE()' : literal(schema)} AND table_name = ${literal(bare)}`
    return {
      name,
      create: [`CREATE TABLE ${name} (${definition.mysql2}) COMMENT = '${MARK}'`],
      // MySQL has no CREATE INDEX IF NOT EXISTS, and DDL that no transaction takes back.
      indexes: indexed.map((column) => {
        const index = indexName(table, column, 64)
        return {
          create: `CREATE INDEX ${quote(index, '`')} ON ${name} (${column})`,
          missing: `SELECT 1 AS found FROM DUAL WHERE NOT EXISTS (SELECT 1 FROM information_schema.statistics WHERE ${isTable} AND index_name = ${literal(index)})`
        }
      }),
      columns: `SELECT 1 AS found FROM information_schema.columns WHERE ${isTable}`,
      columnName: 'column_name',
      mark: `SELECT 1 AS found FROM information_schema.tables WHERE ${isTable} AND table_comment = '${MARK}'`
    }
  }
}

/** @param {DjangoTable} table */
export function migrationOf(table) {
  return {
    /** @param {Knex} knex */
    async up(knex) {
      const { create, indexes, columns, mark } = databaseOf(knex, table)
      const isNew = !(await hasRows(knex, columns))
      if (isNew) await run(knex, create)
      else await checkColumns(knex, table)
      // A table of ours may have lost its indexes where migrations run without a transaction.
      if (!isNew && !(await hasRows(knex, mark))) return
      for (const { create, missing } of indexes) {
        if (missing === undefined || (await hasRows(knex, missing))) await run(knex, [create])
      }
    },

    /** @param {Knex} knex */
    async down(knex) {
      const { name, mark } = databaseOf(knex, table)
      if (!(await hasRows(knex, mark))) return
      if (await isDjangos(knex, table)) {
        throw new Error(
          `The table ${table.table} stays: Django has adopted it, since its table django_migrations lists the app ${table.app}. To drop it, run manage.py migrate ${table.app} zero`
        )
      }
      await run(knex, [`DROP TABLE ${name}`])
    }
  }
}

/**
 * @param {Knex} knex
 * @param {DjangoTable} table
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
 * @param {DjangoTable} table
 */
async function isDjangos(knex, { table, model, app, ...rest }) {
  const [bare, ...schema] = table.split('.').reverse()
  if (bare !== model) return false
  const record = [...schema, 'django_migrations'].join('.')
  const { name, columns } = databaseOf(knex, { table: record, model, app, ...rest })
  return (await hasRows(knex, columns)) && (await hasRows(knex, `SELECT 1 AS found FROM ${name} WHERE app = ${literal(app)}`))
}

/**
 * A table of that name with other columns is another one, and would fail later, at each request.
 *
 * @param {Knex} knex
 * @param {DjangoTable} table
 */
async function checkColumns(knex, table) {
  const { columns, columnName } = databaseOf(knex, table)
  for (const column of table.columns) {
    if (await hasRows(knex, `${columns} AND ${columnName} = '${column}'`)) continue
    throw new Error(
      `The table ${table.table} exists, but has no column ${column}: it is no table of ${table.purpose}. Rename or drop it, then migrate again`
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
