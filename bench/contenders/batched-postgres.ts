/** Rows of PostgreSQL, with one prepared statement for all that a turn asks for. */
import { batch } from './batch.ts'
import { expireDate, type Rows } from './by-hand.ts'
import { openPool } from './by-hand-postgres.ts'

interface Stored {
  key: string
  text: string
}

const SELECT = 'SELECT session_key, session_data FROM django_session WHERE session_key = ANY($1) AND expire_date > $2'
const INSERT =
  'INSERT INTO django_session (session_key, session_data, expire_date) SELECT *, $3::timestamptz FROM unnest($1::text[], $2::text[])'
const UPDATE = `UPDATE django_session AS stored SET session_data = given.text, expire_date = $3::timestamptz
  FROM unnest($1::text[], $2::text[]) AS given (key, text) WHERE stored.session_key = given.key RETURNING stored.session_key`
const DELETE = 'DELETE FROM django_session WHERE session_key = ANY($1)'

export async function openRows(): Promise<Rows> {
  const pool = await openPool()
  const columns = (items: readonly Stored[]) => [items.map(({ key }) => key), items.map(({ text }) => text), expireDate().toISOString()]

  const read = batch(async (keys: string[]) => {
    const { rows } = await pool.query({ name: 'select', text: SELECT, values: [keys, new Date().toISOString()] })
    const texts = new Map<string, string>(rows.map((row) => [row.session_key, row.session_data]))
    return keys.map((key) => texts.get(key) ?? null)
  })
  const insert = batch(async (items: Stored[]) => {
    await pool.query({ name: 'insert', text: INSERT, values: columns(items) })
    return items
  })
  const update = batch(async (items: Stored[]) => {
    const { rows } = await pool.query({ name: 'update', text: UPDATE, values: columns(items) })
    const written = new Set(rows.map((row) => row.session_key))
    return items.map(({ key }) => written.has(key))
  })
  const remove = batch(async (keys: string[]) => {
    await pool.query({ name: 'delete', text: DELETE, values: [keys] })
    return keys
  })
  return { read, insert: (key, text) => insert({ key, text }), update: (key, text) => update({ key, text }), remove }
}
