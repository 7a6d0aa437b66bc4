/** Removing expired sessions on each database; what the engine `file` does is in its own tests. */
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import createKnex, { type Knex } from 'knex'
import t, { type Test } from 'tap'
import type { ClearExpiredOptions } from '../lib/contract.ts'
import { clearExpired } from '../lib/database/cleanup.ts'
import { tuned } from '../lib/database/dialects.ts'
import { ExpiredSessions } from '../lib/database/expired-sessions.ts'
import type { SessionTable } from '../lib/database/session-table.ts'
import type { SettledTable } from '../lib/database/settled-table.ts'
import { DbEngine } from '../lib/engines/db.ts'
import { createApp } from './fixtures/app.ts'
import { type DatabaseName, databases, lockWaiters, missing, openDatabase, openTransactions, waitsForLock } from './fixtures/databases.ts'
import { createRows, createTable, soon } from './fixtures/tables.ts'

/** That of fixtures/cleaner.ts too. */
const NOW = new Date('2026-01-02T03:04:05.678Z')

/** A moment some seconds before now, or after it. */
const at = (seconds: number) => new Date(NOW.getTime() + seconds * 1000)

interface Store {
  knex: Knex
  table: SessionTable
  expired: ExpiredSessions
  rows: SettledTable
  engine: DbEngine
  /** Makes a session for each end, in seconds from now, and returns the keys. */
  fill(...ends: number[]): Promise<string[]>
  keys(): Promise<string[]>
}

async function openStore(t: Test, name: DatabaseName): Promise<Store> {
  const knex = await openDatabase(t, name)
  const table = createTable(knex, { storeTimeout: 30 })
  const expired = new ExpiredSessions(table)
  const rows = createRows(table)
  return {
    knex,
    table,
    expired,
    rows,
    engine: new DbEngine({ table, rows, expired, clock: () => NOW }),
    fill: (...ends) =>
      Promise.all(
        ends.map(async (end) => {
          const sessionKey = randomBytes(16).toString('hex')
          await rows.insert(sessionKey, { sessionData: 'text', expireDate: at(end) }, {}, soon())
          return sessionKey
        })
      ),
    keys: async () => (await knex('django_session').select('session_key')).map(({ session_key }) => session_key).sort()
  }
}

/** Another process on the same database. */
function openAgain(t: Test, { knex }: Store): Knex {
  const { client, connection, useNullAsDefault } = knex.client.config
  const again = createKnex(tuned({ client, connection, useNullAsDefault }))
  t.teardown(() => again.destroy())
  return again
}

const range = (count: number, end: (index: number) => number) => Array.from({ length: count }, (_, index) => end(index))

/** The expired sessions, before whose batches something happens. */
function before(expired: ExpiredSessions, happens: () => Promise<unknown>): ExpiredSessions {
  return new Proxy(expired, {
    get(_target, name) {
      const value = Reflect.get(expired, name, expired)
      if (name !== 'delete') return typeof value === 'function' ? value.bind(expired) : value
      return async (...args: Parameters<ExpiredSessions['delete']>) => {
        await happens()
        return expired.delete(...args)
      }
    }
  })
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await turn()
}

for (const name of databases) {
  t.test(name, { skip: missing(name) }, async (t) => {
    t.test('count() counts what ended before the date, and finds the oldest', async (t) => {
      const { expired, fill } = await openStore(t, name)
      t.strictSame(await expired.count(NOW), { count: 0, oldest: null }, 'an empty table')
      await fill(-10, -86_400.25, -3600, 0, 10)
      t.strictSame(await expired.count(NOW), { count: 3, oldest: at(-86_400.25) })
      t.strictSame(await expired.count(at(-3600)), { count: 1, oldest: at(-86_400.25) }, 'not what ended at it')
      t.strictSame(await expired.count(at(-100_000)), { count: 0, oldest: null })
      t.strictSame(await expired.oldest(NOW), at(-86_400.25))
      t.strictSame(await expired.oldest(NOW, at(-3600)), at(-3600))
      t.equal(await expired.oldest(at(-100_000)), null)
    })

    t.test('the age of the backlog is that of the oldest session to remove', async (t) => {
      const { engine, fill } = await openStore(t, name)
      await fill(-10, -86_400.25, 10)
      t.match(await engine.clearExpired({ grace: 100_000 }), { deleted: 0, backlogAge: null })
      t.match(await engine.clearExpired({ grace: 60 }), { deleted: 1, backlogAge: 86_400 })
      t.match(await engine.clearExpired(), { deleted: 1, backlogAge: 10 })
      t.match(await engine.clearExpired(), { deleted: 0, batches: 0, backlogAge: null })
    })

    t.test('the oldest go first, and each batch starts at what is the oldest then', async (t) => {
      const { knex, engine, fill, keys } = await openStore(t, name)
      const live = await fill(0, 0.001, 10)
      await fill(...range(25, (index) => -1 - index))
      const starts: Date[] = []
      knex.on('query', ({ sql, bindings }) => {
        if (sql.startsWith('DELETE')) starts.push(new Date(String(bindings[0]).replace(' ', 'T').replace(/Z?$/, 'Z')))
      })
      t.match(await engine.clearExpired({ batchSize: 10 }), { deleted: 25, batches: 3, backlogAge: 25 })
      t.strictSame(starts, [at(-25.001), at(-15.001), at(-5.001)])
      t.strictSame(await keys(), live.sort())
    })

    t.test('a session of Django, whose ends have microseconds, goes as well', async (t) => {
      const { knex, engine, keys } = await openStore(t, name)
      const zone = name === 'postgres' ? '+00' : ''
      for (const fraction of ['123400', '123600', '999999']) {
        const row = { session_key: fraction, session_data: 'text', expire_date: `2026-01-02 03:04:04.${fraction}${zone}` }
        await knex('django_session').insert(row)
      }
      t.match(await engine.clearExpired({ batchSize: 1 }), { deleted: 3 })
      t.strictSame(await keys(), [])
    })

    t.test('a session that ends at a whole second, as Django writes it, is read and removed like any other', async (t) => {
      const { knex, expired, rows, engine, keys } = await openStore(t, name)
      const zone = name === 'postgres' ? '+00' : ''
      /** Each row is named by its end. */
      const insert = async (...ends: string[]) => {
        for (const end of ends) {
          await knex('django_session').insert({ session_key: end, session_data: 'text', expire_date: `2026-01-02 ${end}${zone}` })
        }
      }
      const whole = ['03:04:05', '03:04:04', '03:03:00', '00:00:00']
      const mixed = ['03:04:04', '03:04:04.000001', '03:04:03.999999', '03:04:04.500000', '03:04:03']
      for (const ends of [whole, whole.toReversed(), mixed, mixed.toReversed()]) {
        for (const batchSize of [1, 2, 100]) {
          await insert(...ends, '03:04:06', '23:59:59.000001')
          t.match(await engine.clearExpired({ batchSize }), { deleted: ends.length }, `${ends} by ${batchSize}`)
          t.strictSame(await keys(), ['03:04:06', '23:59:59.000001'])
          await knex('django_session').delete()
        }
      }

      await insert('03:03:05', '03:04:04', '03:04:05', '03:04:06')
      t.strictSame(await expired.count(NOW), { count: 3, oldest: new Date('2026-01-02T03:03:05Z') })
      t.match(await engine.clearExpired({ grace: 60 }), { deleted: 1, backlogAge: 61 })
      t.strictSame(await keys(), ['03:04:04', '03:04:05', '03:04:06'])
      const isLive = async (key: string, now: string) => (await rows.findLive(key, new Date(`2026-01-02T${now}Z`), soon())) !== null
      t.equal(await isLive('03:04:06', '03:04:05.999'), true)
      t.equal(await isLive('03:04:06', '03:04:06.000'), false)
      t.equal(await isLive('03:04:06', '03:04:06.001'), false)
    })

    t.test('a session that is renewed before its batch stays', async (t) => {
      const { expired, rows, fill, keys } = await openStore(t, name)
      const [renewed] = (await fill(-20, -30, -10)) as [string, ...string[]]
      const renew = () => rows.update(renewed, { sessionData: 'renewed', expireDate: at(60) }, {}, null, soon())
      t.match(await clearExpired(before(expired, renew), NOW, {}), { deleted: 2 })
      t.strictSame(await keys(), [renewed])
    })

    t.test('a session that somebody is just renewing stays', async (t) => {
      const store = await openStore(t, name)
      const [renewed] = (await store.fill(-20, -30, -10)) as [string, ...string[]]
      const other = openAgain(t, store)
      const rival = await other.transaction()
      const expireDate = name === 'postgres' ? at(60) : '2026-01-02 04:00:00.000000'
      await rival('django_session').where('session_key', renewed).update({ session_data: 'renewed', expire_date: expireDate })
      const cleaner = openAgain(t, store)
      let tries = 0
      cleaner.on('query', ({ sql }) => {
        if (sql.startsWith('BEGIN')) tries++
      })
      const cleaning = clearExpired(new ExpiredSessions(createTable(cleaner, { storeTimeout: 30 })), NOW, {})
      if (name === 'mariadb') await waitsForLock(other)
      // It passes by on PostgreSQL, and is told to come back on SQLite.
      else if (name === 'postgres') t.match(await cleaning, { deleted: 2 })
      else await until(async () => tries > 1)
      await rival.commit()
      t.match(await cleaning, { deleted: 2 })
      t.match(await store.table.find(renewed), { sessionData: 'renewed' })
    })

    t.test('by two at once removes each session once', async (t) => {
      const store = await openStore(t, name)
      const live = await store.fill(...range(5, () => 60))
      await store.fill(...range(100, (index) => -1 - index))
      const cleaners = [store.table, createTable(openAgain(t, store), { storeTimeout: 30 })].map((table) =>
        clearExpired(new ExpiredSessions(table), NOW, { batchSize: 5 })
      )
      const reports = await Promise.all(cleaners)
      t.equal(
        reports.reduce((sum, { deleted }) => sum + deleted, 0),
        100
      )
      t.strictSame(await store.keys(), live.sort())
    })

    t.test('a cleaner that is killed in its batch (-9) loses nothing, and leaves no lock', async (t) => {
      const store = await openStore(t, name)
      const live = await store.fill(5, 5, 5)
      await store.fill(...range(25, (index) => -1 - index))
      const release = await stopInBatch(t, name, store)
      const { client, connection } = store.knex.client.config
      // Knex hides the password.
      const config = { client, connection: { ...connection, password: connection.password } }
      const file = fileURLToPath(new URL('fixtures/cleaner.ts', import.meta.url))
      const args = ['--import', 'tsx', file, JSON.stringify(config)]
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
      const exited = once(child, 'exit')
      if (name !== 'sqlite') {
        await Promise.race([exited, once(child.stdout, 'data')])
        await until(async () => child.exitCode !== null || (await lockWaiters(store.knex)) > 0)
        t.match(await store.engine.clearExpired(), { deleted: 0, skipped: true }, 'another one leaves it to the first')
        child.kill('SIGKILL')
      }
      t.strictSame(await exited, [null, 'SIGKILL'])
      await release()
      t.equal((await store.keys()).length, 28)
      t.match(await store.engine.clearExpired(), { deleted: 25 })
      t.strictSame(await store.keys(), live.sort())
    })

    t.test('an error of onProgress ends the run and is the caller’s, and the batch stays removed', async (t) => {
      const { engine, fill, keys } = await openStore(t, name)
      await fill(...range(20, (index) => -1 - index))
      const refusal = new Error('refused')
      for (const [onProgress, left] of [
        [
          () => {
            throw refusal
          },
          15
        ],
        [async () => Promise.reject(refusal), 10]
      ] as [NonNullable<ClearExpiredOptions['onProgress']>, number][]) {
        await t.rejects(engine.clearExpired({ batchSize: 5, onProgress }), refusal)
        t.equal((await keys()).length, left)
      }
      t.match(await engine.clearExpired(), { deleted: 10 })
    })
  })
}

/** Makes a cleaner stop in the middle of its batch; on SQLite it dies there. What is returned undoes that, and waits until its connection has ended. */
async function stopInBatch(t: Test, name: DatabaseName, store: Store): Promise<() => Promise<void>> {
  const { knex } = store
  if (name === 'sqlite') {
    await knex.raw(
      `CREATE TRIGGER stop AFTER DELETE ON django_session WHEN (SELECT count(*) FROM django_session) = 23 BEGIN SELECT die(); END`
    )
    return async () => void (await knex.raw('DROP TRIGGER stop'))
  }
  const rival = await openAgain(t, store).transaction()
  if (name === 'postgres') await rival.raw('LOCK TABLE django_session IN SHARE MODE')
  else await rival('django_session').where('expire_date', '<', '2026-01-02 03:04:00').forUpdate().select()
  return async () => {
    await rival.rollback()
    await until(async () => (await openTransactions(knex)).length === 0)
  }
}

/** The pages, from the first on and before the second, and the most rows of each DELETE by pages from now on. */
function recordRanges(knex: Knex): [from: number, to: number, limit: number][] {
  const ranges: [number, number, number][] = []
  knex.on('query', ({ sql, bindings }) => {
    if (!sql.startsWith('DELETE') || !sql.includes('::tid')) return
    const [from, to, , limit] = bindings
    ranges.push([pageOf(from), pageOf(to), Number(limit)])
  })
  return ranges
}

const pageOf = (ctid: string) => Number(/\d+/.exec(ctid)?.[0])

t.test('a table that is full of expired sessions is cleaned up page by page', { skip: missing('postgres') }, async (t) => {
  const store = await openStore(t, 'postgres')
  const { knex, rows, engine, keys } = store
  const ends = "CASE WHEN n % 10 = 0 THEN 3600 ELSE -1 - n * 7919 % 30000 END * interval '1 second'"
  const fill = () =>
    knex.raw(
      `INSERT INTO django_session SELECT lpad(n::text, 32, '0'), repeat('x', 300), timestamptz '${NOW.toISOString()}' + ${ends} FROM generate_series(1, 26000) AS n`
    )
  const keyOf = (index: number) => String(index).padStart(32, '0')
  const live = Array.from({ length: 2600 }, (_, index) => keyOf(10 * (index + 1)))
  const ranges = recordRanges(knex)

  await fill()
  const rival = await openAgain(t, store).transaction()
  await rival('django_session')
    .where({ session_key: keyOf(25_999) })
    .forUpdate()
    .select()
  const renewed = keyOf(25_998)
  let renewals = 0
  const onProgress = async () => {
    if (renewals++ === 0) await rows.update(renewed, { sessionData: 'text', expireDate: at(60) }, {}, null, soon())
  }
  const report = await engine.clearExpired({ onProgress })
  await rival.rollback()
  t.match(report, { deleted: 23_398, backlogAge: 30_000 })
  const firsts = ranges.map(([from]) => from).filter((from, index, all) => from !== all[index - 1])
  t.strictSame(firsts, [0, 400, 800, 1200, 0, 400, 800, 1200], 'twice over all pages, in their order')
  t.strictSame(await keys(), [...live, renewed, keyOf(25_999)].sort(), 'but for those that are live, were renewed, or are locked')
  t.match(await engine.clearExpired(), { deleted: 1, batches: 1 }, 'a few are found by their ends')

  await knex('django_session').truncate()
  await fill()
  ranges.length = 0
  const stop = new AbortController()
  const stopped = await engine.clearExpired({ signal: stop.signal, onProgress: () => stop.abort() })
  t.match(stopped, { batches: 1 })
  t.equal((await keys()).length, 26_000 - stopped.deleted, 'the signal stops it after a batch')
  t.match(await engine.clearExpired({ batchSize: 10_000 }), { deleted: 23_400 - stopped.deleted }, 'batches of a given size')
  t.equal(ranges.length, 1, 'go by the ends again')
})

t.test('no statement of a sweep is large, whatever the pages before it were like', { skip: missing('postgres') }, async (t) => {
  const { knex, engine, keys } = await openStore(t, 'postgres')
  const fill = (kind: string, count: number, size: number, end: number) =>
    knex.raw(
      `INSERT INTO django_session SELECT '${kind}' || n, repeat('x', ${size}), timestamptz '${at(end).toISOString()}' FROM generate_series(1, ${count}) AS n`
    )
  // Four rows a page, and then about eighty.
  await fill('old', 8000, 1900, -7200)
  await fill('new', 60_000, 10, -3600)
  await fill('live', 10, 10, 3600)
  await knex('django_session').where('expire_date', '<', at(-7000)).delete()
  await knex.raw('VACUUM ANALYZE django_session')
  const ranges = recordRanges(knex)
  const deleted = [0]
  await engine.clearExpired({ onProgress: (progress) => deleted.push(progress.deleted) })
  t.equal((await keys()).length, 10)
  for (const [from, to, limit] of ranges) t.ok(to - from <= 400 && limit <= 10_000, `${limit} rows of the pages from ${from} to ${to}`)
  const batches = deleted.slice(1).map((sum, index) => sum - (deleted[index] as number))
  t.ok(Math.max(...batches) <= 10_000, String(batches))
})

t.test('a sweep comes back for expired sessions that moved or came in behind it', { skip: missing('postgres') }, async (t) => {
  const { knex, engine, rows, keys } = await openStore(t, 'postgres')
  const end = `timestamptz '${at(-60).toISOString()}'`
  await knex.raw(`INSERT INTO django_session SELECT 'key' || n, repeat('x', 300), ${end} FROM generate_series(1, 26000) AS n`)
  const ranges = recordRanges(knex)
  let behind: number[] = []
  const onProgress = async () => {
    const [from] = ranges.at(-1) as [number, number, number]
    if (from === 0 || behind.length > 0) return
    // Makes room in the first pages, where the database puts what is written next.
    await knex.raw('VACUUM django_session')
    await knex.raw(`UPDATE django_session SET session_data = session_data || 'x' WHERE session_key IN ('key25000', 'key25001')`)
    await knex.raw(`INSERT INTO django_session VALUES ('late', 'text', ${end}), ('renewed', 'text', ${end})`)
    const found = await knex('django_session').whereIn('session_key', ['key25000', 'late', 'renewed']).select(knex.raw('ctid::text'))
    behind = found.map(({ ctid }) => pageOf(ctid)).filter((page) => page < from)
    for (const key of ['key25001', 'renewed']) await rows.update(key, { sessionData: 'text', expireDate: at(60) }, {}, null, soon())
  }
  t.match(await engine.clearExpired({ onProgress }), { deleted: 26_000 })
  t.equal(behind.length, 3)
  t.strictSame(await keys(), ['key25001', 'renewed'])
})

/** Expired sessions whose batches take as long as the test says. */
function timed(milliseconds: number[]): { expired: ExpiredSessions; limits: number[] } {
  const limits: number[] = []
  const expired = {
    pagesToSweep: async () => 0,
    cleanup: { initialBatchSize: 100, adapts: true },
    oldest: async () => (limits.length < milliseconds.length ? at(-1) : null),
    delete: async (_from: Date, _before: Date, limit: number) => {
      limits.push(limit)
      return { deleted: limit, milliseconds: milliseconds[limits.length - 1] }
    }
  }
  return { expired: expired as unknown as ExpiredSessions, limits }
}

t.test('batches on SQLite are fitted to five milliseconds', async (t) => {
  const { expired, limits } = timed([1, 2.5, 4, 10, 500, 5])
  await clearExpired(expired, NOW, {})
  t.strictSame(limits, [100, 200, 400, 500, 250, 10])
  const given = timed([1, 50])
  await clearExpired(given.expired, NOW, { batchSize: 7 })
  t.strictSame(given.limits, [7, 7], 'unless their size is given')
})

t.test('the signal ends the pause between two batches at once', async (t) => {
  const { expired, limits } = timed([2 ** 30, 1])
  const stop = new AbortController()
  const cleaning = clearExpired(expired, NOW, { signal: stop.signal })
  await turn()
  t.equal(limits.length, 1)
  stop.abort()
  t.match(await cleaning, { deleted: 100, batches: 1 })
})

t.test('options that would remove live sessions, or none, are refused', async (t) => {
  const { app } = await createApp(t, { engine: 'signed_cookies' })
  await t.rejects(app.sessions.clearExpired({ grace: -1, batchSize: 0 }), {
    code: 'FST_SESSION_INVALID_OPTIONS',
    message: /- grace: expected seconds from 0, got -1\n- batchSize: expected a whole number from 1, got 0$/
  })
  await t.rejects(app.sessions.clearExpired({ grace: Number.NaN }), /- grace: expected seconds from 0, got NaN$/)
})

t.test('batches that the database cannot remove in time become smaller', { skip: missing('postgres') }, async (t) => {
  const { knex, fill, keys } = await openStore(t, 'postgres')
  await fill(...range(30, (index) => -1 - index))
  await knex.raw(`CREATE FUNCTION hang() RETURNS trigger AS $$ BEGIN
    IF (SELECT count(*) FROM deleted) > 10 THEN PERFORM pg_sleep(3600); END IF; RETURN NULL; END $$ LANGUAGE plpgsql`)
  await knex.raw(
    'CREATE TRIGGER hang AFTER DELETE ON django_session REFERENCING OLD TABLE AS deleted FOR EACH STATEMENT EXECUTE FUNCTION hang()'
  )
  t.match(await clearExpired(new ExpiredSessions(createTable(knex, { storeTimeout: 1.5 })), NOW, {}), { deleted: 30 })
  t.strictSame(await keys(), [])
})
