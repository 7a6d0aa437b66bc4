/**
 * What one would write by hand: named prepared statements through pg, Django's codec,
 * no features. `--plain` deflates from 1 kB on only, as this package does by default.
 */
import { expireDate, serveByHand } from './by-hand.ts'
import { openPool } from './by-hand-postgres.ts'
import { createCodec } from './django-codec.ts'
import { secret } from './serve.ts'

const SELECT = 'SELECT session_data FROM django_session WHERE session_key = $1 AND expire_date > $2'
const INSERT = 'INSERT INTO django_session (session_key, session_data, expire_date) VALUES ($1, $2, $3)'
const UPDATE = 'UPDATE django_session SET session_data = $2, expire_date = $3 WHERE session_key = $1'
const DELETE = 'DELETE FROM django_session WHERE session_key = $1'

const codec = createCodec(secret, process.argv.includes('--plain') ? 1024 : 0)
const pool = await openPool()

await serveByHand(
  {
    async read(key) {
      const { rows } = await pool.query({ name: 'select', text: SELECT, values: [key, new Date().toISOString()] })
      return rows.length === 0 ? null : rows[0].session_data
    },
    insert: (key, text) => pool.query({ name: 'insert', text: INSERT, values: [key, text, expireDate().toISOString()] }),
    update: (key, text) => pool.query({ name: 'update', text: UPDATE, values: [key, text, expireDate().toISOString()] }),
    remove: (key) => pool.query({ name: 'delete', text: DELETE, values: [key] })
  },
  codec
)
