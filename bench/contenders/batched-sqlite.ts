/** Rows of SQLite, with one transaction for all that a turn asks for. */
import Database from 'better-sqlite3'
import { batch } from './batch.ts'
import { expireDate, type Rows } from './by-hand.ts'
import { database } from './serve.ts'

/** Text that SQLite orders as the moments are. */
const textOf = (date: Date) => date.toISOString().slice(0, -1).replace('T', ' ')

export async function openRows(): Promise<Rows> {
  const connection = new Database(database)
  for (const setting of ['journal_mode = WAL', 'synchronous = NORMAL']) connection.pragma(setting)
  connection.exec(
    `CREATE TABLE IF NOT EXISTS django_session (session_key varchar(40) NOT NULL PRIMARY KEY, session_data text NOT NULL, expire_date datetime NOT NULL);
     CREATE INDEX IF NOT EXISTS django_session_expire_date ON django_session (expire_date)`
  )
  const [begin, beginWrite, commit] = ['BEGIN', 'BEGIN IMMEDIATE', 'COMMIT'].map((sql) => connection.prepare(sql)) as [
    Database.Statement,
    Database.Statement,
    Database.Statement
  ]
  const select = connection.prepare('SELECT session_data FROM django_session WHERE session_key = ? AND expire_date > ?').pluck()
  const insert = connection.prepare('INSERT INTO django_session (session_data, expire_date, session_key) VALUES (?, ?, ?)')
  const update = connection.prepare('UPDATE django_session SET session_data = ?, expire_date = ? WHERE session_key = ?')
  const remove = connection.prepare('DELETE FROM django_session WHERE session_key = ?')

  const read = batch((keys: string[]) => {
    const now = textOf(new Date())
    begin.run()
    const texts = keys.map((key) => (select.get(key, now) as string | undefined) ?? null)
    commit.run()
    return texts
  })
  const write = batch((items: { statement: Database.Statement; values: string[] }[]) => {
    beginWrite.run()
    const results = items.map(({ statement, values }) => statement.run(...values).changes)
    commit.run()
    return results
  })
  return {
    read,
    insert: (key, text) => write({ statement: insert, values: [text, textOf(expireDate()), key] }),
    update: (key, text) => write({ statement: update, values: [text, textOf(expireDate()), key] }),
    remove: (key) => write({ statement: remove, values: [key] })
  }
}
