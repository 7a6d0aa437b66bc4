import t from 'tap'
import { expiryAge, expiryDate, fixedDate, toStoredExpiry } from '../lib/expiry.ts'
import vectors from './fixtures/vectors/django-sessions.json' with { type: 'json' }

const now = new Date('2026-11-21T04:34:00.123Z')
const cookieAge = 1_209_600

t.test('ages and dates are those that Django computes', async (t) => {
  t.not(vectors.expiry.length, 0)
  for (const { name, stored, cookie_age, modification, expiry_age, expiry_date } of vectors.expiry) {
    // Absent in the session's data.
    const expiry = stored ?? undefined
    t.equal(expiryAge(expiry, cookie_age, new Date(modification)), expiry_age, name)
    t.equal(expiryDate(expiry, cookie_age, new Date(modification)).getTime(), new Date(expiry_date).getTime(), name)
  }
})

t.test('what is no expiry means the setting cookieAge', async (t) => {
  for (const expiry of [undefined, null, 0, -0, Number.NaN, Number.POSITIVE_INFINITY, true, '', 'soon', '2026-11-21', {}, 10n ** 20n]) {
    t.equal(expiryAge(expiry, cookieAge, now), cookieAge, String(expiry))
    t.equal(expiryDate(expiry, cookieAge, now).getTime(), now.getTime() + cookieAge * 1000, String(expiry))
    t.equal(fixedDate(expiry), null, String(expiry))
  }
})

t.test("every form of Python's isoformat() is read, without an offset as UTC", async (t) => {
  for (const [text, moment] of [
    ['2026-11-21T05:34:00+00:00', '2026-11-21T05:34:00.000Z'],
    ['2026-11-21T05:34:00.123456+00:00', '2026-11-21T05:34:00.123Z'],
    ['2026-11-21T05:34:00.120+00:00', '2026-11-21T05:34:00.120Z'],
    ['2026-11-21 05:34:00', '2026-11-21T05:34:00.000Z'],
    ['2026-11-21T05:34:00.5', '2026-11-21T05:34:00.500Z'],
    ['2026-11-21T05:34:00Z', '2026-11-21T05:34:00.000Z'],
    ['2026-11-21T05:34:00-03:30', '2026-11-21T09:04:00.000Z']
  ] as const) {
    t.equal(fixedDate(text)?.toISOString(), moment, text)
    t.equal(expiryDate(text, cookieAge, now).toISOString(), moment, text)
  }
  for (const text of [
    '2026-13-01T00:00:00',
    '2026-11-21T05:34',
    '2026-11-21T05:34:00 UTC',
    'x2026-11-21T05:34:00',
    '2026-11-21T05:34:00\n'
  ]) {
    t.equal(fixedDate(text), null, JSON.stringify(text))
  }
})

t.test('a date is not beyond what Python can read', async (t) => {
  for (const seconds of [1e12, Number.MAX_SAFE_INTEGER, 1e300]) {
    t.equal(expiryDate(seconds, cookieAge, now).toISOString(), '9999-12-31T23:59:59.000Z')
    t.equal(expiryDate(-seconds, cookieAge, now).toISOString(), '0001-01-01T00:00:00.000Z')
  }
})

t.test('seconds are stored as they are, dates as Python writes them, null as nothing', async (t) => {
  for (const seconds of [0, 1, 300, 0.5, -1]) t.equal(toStoredExpiry(seconds, now), seconds)
  t.equal(toStoredExpiry(null, now), undefined)
  t.equal(toStoredExpiry(new Date('2030-01-02T03:04:05.678Z'), now), '2030-01-02T03:04:05.678+00:00')
  t.equal(toStoredExpiry(new Date('2030-01-02T03:04:05Z'), now), '2030-01-02T03:04:05.000+00:00')
  const stored = toStoredExpiry(now, now)
  t.equal(fixedDate(stored)?.getTime(), now.getTime(), 'and read again')
})

t.test('what is no expiry is refused', async (t) => {
  const values = [
    Number.NaN,
    Number.POSITIVE_INFINITY,
    1e12,
    -1e12,
    new Date(Number.NaN),
    new Date('0000-12-31T23:59:59Z'),
    new Date('+010000-01-01T00:00:00Z'),
    '300',
    '2030-01-02T03:04:05+00:00',
    300n,
    true,
    undefined,
    {},
    Symbol('x')
  ]
  for (const value of values) t.throws(() => toStoredExpiry(value as number, now), { name: 'TypeError' }, String(value))
  const most = (Date.UTC(9999, 11, 31, 23, 59, 59) - now.getTime()) / 1000
  t.equal(toStoredExpiry(most, now), most)
  t.throws(() => toStoredExpiry(most + 1, now), { name: 'TypeError' })
})
