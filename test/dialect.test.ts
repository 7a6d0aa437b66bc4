import t from 'tap'
import type { Dialect } from '../lib/database/dialect.ts'
import { dialectOf } from '../lib/database/dialects.ts'

const dialect = (driver: string) => dialectOf(driver) as Dialect
const DATE = new Date('2026-11-25T10:00:00.123Z')

t.test('a date is bound to the microsecond', async (t) => {
  for (const driver of ['better-sqlite3', 'mysql2']) {
    const { bindDate } = dialect(driver)
    t.equal(bindDate(DATE), '2026-11-25 10:00:00.123000', driver)
    t.equal(bindDate(DATE, 1), '2026-11-25 10:00:00.122999', driver)
    t.equal(bindDate(DATE, 999), '2026-11-25 10:00:00.122001', driver)
    t.throws(() => bindDate(new Date(Number.NaN)), RangeError)
  }
  t.equal(dialect('pg').bindDate(DATE), '2026-11-25T10:00:00.123000Z')
  t.equal(dialect('pg').bindDate(new Date('2027-01-01T00:00:00Z'), 1), '2026-12-31T23:59:59.999999Z')
})

t.test('a date is read rounded up to the millisecond, and its microseconds apart', async (t) => {
  for (const driver of ['better-sqlite3', 'mysql2']) {
    const { readDate, readMicroseconds } = dialect(driver)
    for (const [text, date, microseconds] of [
      ['2026-11-25 10:00:00.123000', DATE, 0],
      ['2026-11-25 10:00:00.122001', DATE, 1],
      ['2026-11-25 10:00:00.122999', DATE, 999],
      ['2026-11-25 10:00:00', new Date('2026-11-25T10:00:00Z'), 0],
      ['2026-11-25 10:00:00.5', new Date('2026-11-25T10:00:00.500Z'), 0]
    ] as const) {
      t.strictSame(readDate(text), date, text)
      t.equal(readMicroseconds(text), microseconds, text)
    }
  }
  const { readDate, readMicroseconds } = dialect('pg')
  for (const [text, time, microseconds] of [
    ['1764064800123.000000', 1764064800123, 0],
    ['1764064800122.001000', 1764064800123, 1],
    ['1764064800122.999000', 1764064800123, 999],
    ['1764064800123', 1764064800123, 0]
  ] as const) {
    t.equal(readDate(text).getTime(), time, text)
    t.equal(readMicroseconds(text), microseconds, text)
  }
})
