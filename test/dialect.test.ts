import t from 'tap'
import type { Dialect } from '../lib/database/dialect.ts'
import { dialectOf } from '../lib/database/dialects.ts'

for (const driver of ['better-sqlite3', 'pg', 'mysql2']) {
  t.test(`${driver} binds each date as what it is, also between others`, async (t) => {
    const { bindDate } = dialectOf(driver) as Dialect
    const times = ['2026-11-25T10:00:00.001Z', '2026-11-25T10:00:00.002Z', '2026-11-25T10:00:00.002Z', '2026-11-25T10:00:00.001Z']
    for (const time of times) {
      const expected = driver === 'pg' ? time : time.replace('T', ' ').replace('Z', '000')
      t.equal(bindDate(new Date(time)), expected)
      t.throws(() => bindDate(new Date(Number.NaN)), RangeError, 'no date at all')
    }
  })
}
