import { PassThrough } from 'node:stream'
import type { Knex } from 'knex'
import t, { type Test } from 'tap'
import { startLines } from '../../lib/cli/progress.ts'
import { migrationSource } from '../../lib/migrations.ts'
import { fails, insertRow, openPlace, type Place, prints, run, sessionKeys } from '../fixtures/command.ts'
import { type DatabaseName, databases, missing } from '../fixtures/databases.ts'

const NOW = new Date('2026-11-21T12:00:00Z')
const HOUR = 3600

/** A row that ends so many seconds from now. */
const insert = (knex: Knex, sessionKey: string, seconds: number, table?: string) =>
  insertRow(knex, { sessionKey, expireDate: new Date(NOW.getTime() + seconds * 1000), ...(table && { table }) })

/** A table with sessions that ended two hours, half an hour and a second ago, and one that ends in an hour. */
async function openTable(t: Test, name: DatabaseName): Promise<Place> {
  const place = await openPlace(t, name)
  await place.knex.migrate.latest({ migrationSource })
  for (const [sessionKey, seconds] of Object.entries({ a: -2 * HOUR, b: -HOUR / 2, c: -1, d: HOUR })) {
    await insert(place.knex, sessionKey, seconds)
  }
  return place
}

for (const name of databases) {
  t.test(`on ${name}`, { skip: missing(name) }, async (t) => {
    t.test('removes what has expired and nothing else', async (t) => {
      const { knex, database } = await openTable(t, name)
      const clear = (...args: string[]) => run(['clearsessions', ...args, ...database], { now: NOW })
      prints(t, await clear('--dry-run'), 'Would remove 3 expired sessions, the oldest of which expired 2 hours ago.')
      prints(t, await clear('--dry-run', '--grace', '3600', '--json'), '{"dryRun":true,"expired":1,"backlogAge":7200}')
      t.equal((await sessionKeys(knex)).length, 4, 'a dry run removes none')

      prints(t, await clear('--grace', '3600'), 'Removed 1 expired session, which expired 2 hours ago.')
      t.strictSame(await sessionKeys(knex), ['b', 'c', 'd'])
      const { status, stdout, stderr } = await clear('--json', '--batch-size=1')
      t.strictSame({ status, stderr }, { status: 0, stderr: '' })
      t.match(JSON.parse(stdout), { deleted: 2, batches: 2, milliseconds: Number, backlogAge: 1800, stopped: null })
      t.strictSame(await sessionKeys(knex), ['d'])
      prints(t, await clear(), 'Removed 0 expired sessions.')
      prints(t, await clear('--dry-run'), 'Would remove 0 expired sessions.')
    })

    t.test('breaks its result between words on a narrow terminal', async (t) => {
      const { database } = await openTable(t, name)
      const { stdout } = await run(['clearsessions', '--dry-run', ...database], { now: NOW, terminal: true, columns: 40 })
      t.equal(stdout, 'Would remove 3 expired sessions, the\noldest of which expired 2 hours ago.\n')
    })

    t.test('of another table leaves django_session alone', async (t) => {
      const { knex, database } = await openTable(t, name)
      await knex.raw('CREATE TABLE other AS SELECT * FROM django_session')
      const result = await run(['clearsessions', '--table', 'other', ...database], { now: NOW })
      prints(t, result, 'Removed 3 expired sessions, the oldest of which expired 2 hours ago.')
      t.strictSame([await sessionKeys(knex), await sessionKeys(knex, 'other')], [['a', 'b', 'c', 'd'], ['d']])
    })

    t.test('without a table says to migrate', async (t) => {
      const { knex, database } = await openPlace(t, name)
      await knex.raw('CREATE TABLE something (id integer)')
      for (const args of [[], ['--dry-run']]) {
        fails(t, await run(['clearsessions', ...args, ...database]), 1, /run the migration first \(npx fastify-django-sessions migrate\)/)
      }
      // Not even where it counts first.
      const { status, stderr } = await run(['clearsessions', ...database], { terminal: true })
      t.equal(status, 1)
      t.match(stderr, /run the migration first/)
    })

    t.test('stops by --max-seconds after the batch that took it over, which is no failure', async (t) => {
      const { knex, database } = await openTable(t, name)
      const args = ['clearsessions', '--batch-size=1', '--max-seconds=0', ...database]
      const line = 'Stopped after removing 1 expired session, which expired 2 hours ago: run it again for the rest.'
      prints(t, await run(args, { now: NOW }), line)
      const { status, stdout } = await run([...args, '--json'], { now: NOW })
      t.equal(status, 0)
      t.match(JSON.parse(stdout), { deleted: 1, stopped: 'max-seconds' })
      t.strictSame(await sessionKeys(knex), ['c', 'd'])
      prints(
        t,
        await run(['clearsessions', '--max-seconds=600', ...database], { now: NOW }),
        'Removed 1 expired session, which expired 1 second ago.'
      )
    })

    t.test('shows a bar on a terminal, and removes it before the result', async (t) => {
      const { database } = await openTable(t, name)
      const { status, stdout, stderr } = await run(['clearsessions', '--batch-size=1', ...database], { now: NOW, terminal: true })
      t.strictSame({ status, stdout }, { status: 0, stdout: 'Removed 3 expired sessions, the oldest of which expired 2 hours ago.\n' })
      t.match(stderr, /0% {2}0 of 3 {2}-\/s {2}- left/)
      t.match(stderr, /█{24} 100% {2}3 of 3 {2}[\d,]+\/s {2}0 seconds left/)
      t.ok(stderr.endsWith('\x1b[2K'), 'the line is cleared at the end')
      t.ok(
        // biome-ignore lint/suspicious/noControlCharactersInRegex: what moves the cursor is no text
        stderr.split(/\x1b(?:\[[\d;?]*[A-Za-z]|[78])/).every((text) => text.length < 80),
        'within 80 columns'
      )
    })
  })
}

t.test('a signal is exit code 1, and says so', async (t) => {
  const { knex, database } = await openTable(t, 'sqlite')
  const { status, stdout } = await run(['clearsessions', ...database, '--json'], { now: NOW, signal: AbortSignal.abort() })
  t.equal(status, 1)
  t.match(JSON.parse(stdout), { deleted: 0, stopped: 'signal' })
  t.equal((await sessionKeys(knex)).length, 4)
})

t.test('another cleaner at work is left to it, which is no failure', { skip: missing('postgres') }, async (t) => {
  const { knex, database } = await openTable(t, 'postgres')
  await knex.transaction(async (other) => {
    await other.raw("SELECT pg_advisory_xact_lock(hashtext('clearsessions django_session'))")
    const { status, stdout } = await run(['clearsessions', ...database], { now: NOW })
    t.equal(status, 0)
    t.match(stdout, /^Another clearsessions is running on this table, and does the rest\. Removed 0 expired sessions/)
  })
})

t.test('elsewhere than on a terminal there is a line every ten seconds', async (t) => {
  const stderr = new PassThrough({ encoding: 'utf8' })
  const { update, end } = startLines(stderr)
  for (const seconds of [0, 4, 9.9, 12, 20, 21.9, 22, 31]) {
    update({ deleted: seconds * 1000, batches: 1, milliseconds: seconds * 1000, backlogAge: null })
  }
  end()
  t.equal(
    stderr.read(),
    'Removed 12,000 expired sessions, 1,000 a second\nRemoved 22,000 expired sessions, 1,000 a second\n',
    'none for a cleanup of less'
  )
})
