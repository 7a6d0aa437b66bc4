/** Rows as a real Django wrote them, read from each database. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { Sessions } from '../lib/sessions.ts'
import { resolveSettings } from '../lib/settings/settings.ts'
import { databases, missing, openDatabase } from './fixtures/databases.ts'
import { createCodec } from './fixtures/engines.ts'

interface Vector {
  secret: string
  timestamp: number
  json: string
  session_data: string
}

const vectors: Vector[] = JSON.parse(readFileSync(new URL('fixtures/vectors/django-sessions.json', import.meta.url), 'utf8')).sessions
const log = { debug: () => {}, warn: () => {} }

for (const name of databases) {
  t.test(`rows of Django on ${name}`, { skip: missing(name) }, async (t) => {
    const knex = await openDatabase(t, name)
    for (const [index, { secret, timestamp, json, session_data }] of vectors.entries()) {
      const session_key = `vector${index}x`.padEnd(32, 'x')
      await knex('django_session').insert({ session_key, session_data, expire_date: '2999-01-02 03:04:05.678901' })
      const clock = () => new Date(timestamp * 1000)
      const sessions = await Sessions.create(resolveSettings({ secretKey: secret, knex, clock, compressAbove: 0 }), log)
      const session = await sessions.open(session_key).load()
      session.set('added by another stack', 1)
      await session.save()
      const row = await sessions.model.find(session_key)
      const codec = createCodec(clock, secret)
      const added = '"added by another stack":1}'
      const expected = json === '{}' ? `{${added}` : `${json.slice(0, -1)},${added}`
      t.equal(codec.serializer.join(codec.decode(row?.sessionData as string)), expected, json.slice(0, 60))
    }
  })
}
