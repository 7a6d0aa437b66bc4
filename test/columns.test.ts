/** The option `columns`: values that are stored, values that are refused before anything is sent, and those that the database refuses. */
import type { Knex } from 'knex'
import t, { type Test } from 'tap'
import type { SessionOptions } from '../lib/index.ts'
import { createApp } from './fixtures/app.ts'
import { type DatabaseName, databases, missing, openDatabase, recordQueries } from './fixtures/databases.ts'

const rejections: unknown[] = []
process.on('unhandledRejection', (error) => rejections.push(error))

/** Types of the additional columns, and how the tests read them. */
const TYPES: Record<DatabaseName, Record<string, [type: string, read: string]>> = {
  sqlite: {
    note: ['varchar(20) CHECK (length(note) <= 20)', 'note'],
    number: ['integer', 'number'],
    flag: ['bool', 'flag'],
    moment: ['datetime', 'moment'],
    content: ['blob', 'hex(content)']
  },
  postgres: {
    note: ['varchar(20)', 'note'],
    number: ['bigint', 'number::text'],
    flag: ['boolean', 'flag::int'],
    moment: ['timestamptz', "to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"],
    content: ['bytea', "upper(encode(content, 'hex'))"]
  },
  mariadb: {
    note: ['varchar(20)', 'note'],
    number: ['bigint', 'CAST(number AS CHAR)'],
    flag: ['bool', 'flag'],
    moment: ['datetime(6)', 'CAST(moment AS CHAR)'],
    content: ['blob', 'hex(content)']
  }
}

async function openExtended(t: Test, database: DatabaseName): Promise<Knex> {
  const knex = await openDatabase(t, database)
  for (const [name, [type]] of Object.entries(TYPES[database])) await knex.raw(`ALTER TABLE django_session ADD ${name} ${type}`)
  return knex
}

/** An application whose requests write what the test gives to `columns`. */
async function createSite(t: Test, knex: Knex, options: Partial<SessionOptions> = {}) {
  let given: () => unknown = () => ({})
  const columns = (() => given()) as SessionOptions['columns']
  const site = await createApp(t, { knex, columns, ...options } as Partial<SessionOptions>, (app) => {
    app.get('/', async (request) => String(request.session.set('a', 1).modified))
  })
  await site.app.ready()
  const visitWith = async (columns: () => unknown) => {
    given = columns
    return site.app.inject('/')
  }
  const visit = (columns: Record<string, unknown>) => visitWith(() => columns)
  return { ...site, visit, visitWith }
}

for (const database of databases) {
  t.test(`columns on ${database}`, { skip: missing(database) }, async (t) => {
    const knex = await openExtended(t, database)
    const read = Object.entries(TYPES[database]).map(([name, [, sql]]) => knex.raw(`${sql} AS ${name}`))

    for (const preparedStatements of [true, false]) {
      const { visit } = await createSite(t, knex, { preparedStatements })
      const stored = async (columns: Record<string, unknown>) => {
        await knex('django_session').delete()
        t.equal((await visit(columns)).statusCode, 200)
        return knex('django_session').first(...read)
      }
      t.test(`values are stored, ${preparedStatements ? '' : 'not '}prepared`, async (t) => {
        const nothing = { note: null, number: null, flag: null, moment: null }
        t.match(await stored({ note: undefined, number: undefined, flag: undefined, moment: undefined, content: undefined }), nothing)
        t.match(await stored({ note: null, number: null, flag: null, moment: null, content: null }), nothing)
        t.match(await stored({ note: "it's", number: 42, flag: true }), { note: "it's", number: '42', flag: 1 })
        t.match(await stored({ note: '', number: -1, flag: false }), { note: '', number: '-1', flag: 0 })
        t.match(await stored({ number: 2n ** 53n }), { number: '9007199254740992' })
        t.match(await stored({ moment: new Date('2026-07-02T03:04:05.678Z') }), { moment: '2026-07-02 03:04:05.678000' })
        t.match(await stored({ content: Buffer.from([0, 39, 92, 255]) }), { content: '00275CFF' })
        t.match(await stored({ content: new Uint8Array([1, 2, 3]).subarray(1) }), { content: '0203' })
      })
    }

    t.test('a value that no column can hold is a TypeError that names the column, and nothing is sent', async (t) => {
      const { visit, app } = await createSite(t, knex)
      await visit({})
      const queries = recordQueries(knex)
      const values: [unknown, string][] = [
        [Number.NaN, 'NaN'],
        [Number.POSITIVE_INFINITY, 'Infinity'],
        [2n ** 63n, 'a bigint'],
        [new Date(Number.NaN), 'an invalid Date'],
        [{ toSqlString: () => 'NULL' }, 'a plain object'],
        [{ note: 'confidential', constructor: { name: 'confidential' } }, 'a plain object'],
        [['confidential'], 'an array'],
        [new Map(), 'an instance of Map'],
        [Promise.resolve('confidential'), 'an instance of Promise'],
        [new ArrayBuffer(1), 'an instance of ArrayBuffer'],
        [Symbol('confidential'), 'a symbol'],
        [() => 'confidential', 'a function']
      ]
      for (const [value, got] of values) {
        const expected = 'a string, a finite number, a bigint of 64 bits, a boolean, a valid Date, binary data, null or undefined'
        t.match((await visit({ note: value })).json(), {
          statusCode: 500,
          message: `Cannot store the value of the column "note": expected ${expected}, got ${got}`
        })
      }
      const session = app.sessions.open().set('a', 1)
      await t.rejects(session.save(), TypeError)
      t.strictSame(queries, [])
    })

    t.test('an option that returns no object, as an async function does, is a TypeError that names it', async (t) => {
      const { visitWith } = await createSite(t, knex)
      const queries = recordQueries(knex)
      const fails = async () => {
        throw new Error('of the application')
      }
      const options: [() => unknown, string][] = [
        [async () => ({ note: 'a' }), 'an instance of Promise'],
        [fails, 'an instance of Promise'],
        [() => undefined, 'undefined'],
        [() => null, 'null'],
        [() => 'note', 'a string'],
        [() => ['note'], 'an array'],
        [() => new Map([['note', 'a']]), 'an instance of Map']
      ]
      for (const [columns, got] of options) {
        t.match((await visitWith(columns)).json(), {
          statusCode: 500,
          message: `Expected the option columns to return an object of column values, got ${got}`
        })
      }
      t.strictSame(queries, [])
    })

    t.test('what the database refuses is a 500 without details, and the log has the reason without the values', async (t) => {
      const { visit, logs } = await createSite(t, knex)
      t.equal((await visit({})).statusCode, 200)
      const refused: Record<string, unknown>[] = [{ note: 'not of your concern'.repeat(20) }, { nosuchcolumn: 'not of your concern' }]
      if (database !== 'sqlite')
        refused.push({ number: 'not of your concern' }, { number: 4_111_111_111_111_111_000_000 }, { moment: 4_111_111_111 })
      if (database === 'postgres') refused.push({ number: true }, { moment: 411.5 })
      for (const columns of refused) {
        t.match((await visit(columns)).json(), {
          statusCode: 500,
          code: 'FST_SESSION_STORE_REFUSED',
          message: 'The session store refused an operation'
        })
      }
      await knex.raw('DELETE FROM django_session')
      await knex.raw(`ALTER TABLE django_session ADD needed integer NOT NULL ${database === 'sqlite' ? "DEFAULT ''" : ''}`)
      if (database !== 'sqlite') t.match((await visit({})).json(), { statusCode: 500, code: 'FST_SESSION_STORE_REFUSED' })
      t.match((await visit({ needed: undefined })).json(), { statusCode: 500, code: 'FST_SESSION_STORE_REFUSED' })
      // Without the time and the process, whose digits may be any.
      const errors = JSON.stringify(logs.flatMap(({ err, msg }) => (err === undefined ? [] : [{ err, msg }])))
      t.match(errors, /a column is missing/)
      t.match(errors, /needed/, 'the log names the column')
      t.notMatch(errors, /concern|4111|4\.111|411\.5|"true|\btrue\b/)
    })

    t.test('binary data in a statement that fails does not hide the error', async (t) => {
      const { visit } = await createSite(t, knex)
      t.match((await visit({ nosuchcolumn: Buffer.from('TOPSECRET(') })).json(), {
        statusCode: 500,
        code: 'FST_SESSION_STORE_REFUSED',
        message: 'The session store refused an operation'
      })
    })
  })
}

t.test('nothing was left unhandled', async (t) => t.strictSame(rejections, []))
