/** When the plugin cleans up by itself. Time is what the test says; only the last test waits for a real timer. */
import { EventEmitter, on, once } from 'node:events'
import { PassThrough } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import type { ClearExpiredOptions, ClearExpiredReport, Engine } from '../lib/contract.ts'
import { Schedule } from '../lib/http/cleanup-schedule.ts'
import sessions, { errors, type SessionOptions } from '../lib/index.ts'
import { parseDuration } from '../lib/settings/duration.ts'
import { type ClearExpiredSchedule, isCron } from '../lib/settings/schedule.ts'
import { createApp, gate, secretKey } from './fixtures/app.ts'
import { openDatabase } from './fixtures/databases.ts'

const NOTHING: ClearExpiredReport = { deleted: 0, batches: 0, milliseconds: 0, backlogAge: null }

interface Sleep {
  milliseconds: number
  /** The time has passed. */
  end(): void
}

interface Harness {
  schedule: Schedule
  /** Resolves when the schedule waits, with what for. */
  sleeping(): Promise<Sleep>
  runs: ClearExpiredOptions[]
  logs: [level: string, details: object, message: string][]
  setTime(time: string): void
}

/** A schedule whose waits end when the test says so. */
function createSchedule(
  t: Test,
  schedule: ClearExpiredSchedule,
  clear: (options: ClearExpiredOptions) => Promise<ClearExpiredReport> = async () => NOTHING,
  random = () => 0.5
): Harness {
  let now = new Date('2026-03-01T00:00:00')
  const logs: Harness['logs'] = []
  const runs: ClearExpiredOptions[] = []
  const log = (level: string) => (details: object, message: string) => void logs.push([level, details, message])
  const sleeps = new EventEmitter()
  const slept = on(sleeps, 'sleep')
  const subject = new Schedule({
    schedule,
    clock: () => now,
    random,
    log: { debug: log('debug'), info: log('info'), warn: log('warn') },
    clear(options) {
      runs.push(options)
      return clear(options)
    },
    sleep: (milliseconds, signal) =>
      new Promise<void>((resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason), { once: true })
        sleeps.emit('sleep', { milliseconds, end: resolve })
      })
  })
  t.teardown(() => subject.stop())
  return {
    schedule: subject,
    sleeping: async () => (await slept.next()).value[0],
    runs,
    logs,
    setTime: (time) => {
      now = new Date(time)
    }
  }
}

t.test('durations are seconds, or texts with a unit', async (t) => {
  t.strictSame([90, '90s', '30m', '1h', '2 d', '0s'].map(parseDuration), [90, 90, 1800, 3600, 172_800, 0])
  for (const wrong of ['90', '1 hour', '-1h', '1.5h', '', 'h', '1h30m', null, {}]) t.ok(Number.isNaN(parseDuration(wrong)), String(wrong))
})

t.test('cron expressions have five or six fields, and match at some time', async (t) => {
  for (const cron of ['17 3 * * *', '*/10 * * * *', '0 17 3 * * *', '0 3 * * MON-FRI', '@daily']) t.ok(isCron(cron), cron)
  for (const wrong of ['', '* * *', '60 * * * *', '0 0 30 2 *', '2999-01-01T00:00:00', 'hourly']) t.notOk(isCron(wrong), wrong)
})

t.test('runs follow one another, each some time after the one before has ended', async (t) => {
  const run = gate()
  const { schedule, sleeping, runs } = createSchedule(
    t,
    { every: '1h' },
    async () => {
      await run.pass()
      return NOTHING
    },
    () => 0.25
  )
  schedule.start()
  const first = await sleeping()
  t.equal(first.milliseconds, 900_000, 'the first one in the course of the first hour')
  t.equal(runs.length, 0)
  first.end()
  await run.reached
  const next = sleeping()
  t.equal(await Promise.race([next, 'nothing to wait for']), 'nothing to wait for', 'while a run is under way')
  run.open()
  t.equal((await next).milliseconds, 3_600_000 * 0.95, 'the others an hour later, 10 % more or less')
  t.match(runs, [{ grace: 3600, signal: AbortSignal }])
})

t.test('the grace is an option, and numbers are seconds', async (t) => {
  const { schedule, sleeping, runs } = createSchedule(t, { every: 60, grace: 0 })
  schedule.start()
  const first = await sleeping()
  t.equal(first.milliseconds, 30_000)
  first.end()
  await sleeping()
  t.match(runs, [{ grace: 0 }])
})

t.test('a cron expression is in the time zone of the process', async (t) => {
  const { schedule, sleeping, runs, setTime } = createSchedule(t, { cron: '17 3 * * *' })
  setTime('2026-03-01T02:17:00')
  schedule.start()
  const first = await sleeping()
  t.equal(first.milliseconds, 3_600_000 + 30_000, 'up to a minute late')
  setTime('2026-03-01T03:17:30')
  first.end()
  const second = await sleeping()
  t.equal(second.milliseconds, 24 * 3_600_000, 'the next day')
  t.equal(runs.length, 1)
})

t.test('a timer that fires early makes no second run', async (t) => {
  const { schedule, sleeping, setTime } = createSchedule(
    t,
    { cron: '0 3 * * *' },
    async () => NOTHING,
    () => 0
  )
  setTime('2026-03-01T02:00:00')
  schedule.start()
  const first = await sleeping()
  setTime('2026-03-01T02:59:59.990')
  first.end()
  t.equal((await sleeping()).milliseconds, 24 * 3_600_000 + 10)
})

t.test('a wait that is too long for one timer is split', async (t) => {
  const { schedule, sleeping, runs } = createSchedule(
    t,
    { cron: '0 0 1 6 *' },
    async () => NOTHING,
    () => 0
  )
  schedule.start()
  const total = new Date('2026-06-01T00:00:00').getTime() - new Date('2026-03-01T00:00:00').getTime()
  for (let left = total; left > 0; left -= 2 ** 31 - 1) {
    t.equal(runs.length, 0)
    const part = await sleeping()
    t.equal(part.milliseconds, Math.min(left, 2 ** 31 - 1))
    part.end()
  }
  await sleeping()
  t.equal(runs.length, 1)
})

t.test('each run is logged, and a failed one does not stop the schedule', async (t) => {
  const failure = new errors.StoreUnavailable('the connection was lost')
  const report = { deleted: 7, batches: 1, milliseconds: 3, backlogAge: 86_400 }
  const answers = [report, NOTHING, { ...NOTHING, skipped: true as const }, failure, report]
  const { schedule, sleeping, logs } = createSchedule(t, { every: '1m' }, async () => {
    const answer = answers.shift() as ClearExpiredReport | Error
    if (answer instanceof Error) throw answer
    return answer
  })
  schedule.start()
  for (let run = answers.length; run > 0; run--) (await sleeping()).end()
  await sleeping()
  t.strictSame(logs, [
    ['info', report, 'Expired sessions were removed'],
    ['debug', NOTHING, 'There were no expired sessions to remove'],
    ['debug', { ...NOTHING, skipped: true }, 'Another process is removing expired sessions'],
    ['warn', { err: failure }, 'Expired sessions could not be removed: the next run will try again'],
    ['info', report, 'Expired sessions were removed']
  ])
})

t.test('stop() ends the wait at once, and waits for a run', async (t) => {
  const waiting = createSchedule(t, { every: '1h' })
  waiting.schedule.start()
  await waiting.sleeping()
  await waiting.schedule.stop()
  t.equal(waiting.runs.length, 0)

  const batch = gate()
  let ended = false
  const running = createSchedule(t, { every: '1h' }, async ({ signal }) => {
    await batch.pass()
    t.equal(signal?.aborted, true, 'no batch after this one')
    ended = true
    return NOTHING
  })
  running.schedule.start()
  const first = await running.sleeping()
  first.end()
  await batch.reached
  const stopped = running.schedule.stop()
  batch.open()
  await stopped
  t.ok(ended)
  t.equal(running.runs.length, 1)
})

t.test('the plugin', async (t) => {
  const expired = (index: number) => ({ session_key: `key${index}`, session_data: 'text', expire_date: '2025-01-01 00:00:00.000000' })

  await t.test('cleans up while it is ready', async (t) => {
    const knex = await openDatabase(t, 'sqlite')
    await knex('django_session').insert(Array.from({ length: 25 }, (_, index) => expired(index)))
    const lines = new PassThrough({ objectMode: true })
    const app = Fastify({ logger: { level: 'info', stream: { write: (line: string) => void lines.write(JSON.parse(line)) } } })
    t.teardown(() => app.close())
    await app.register(sessions, { secretKey, knex, clearExpired: { every: 1 } })
    await app.ready()
    const [line] = await once(lines, 'data')
    t.match(line, { msg: 'Expired sessions were removed', deleted: 25, batches: 1, milliseconds: Number, backlogAge: Number })
    t.strictSame(await knex('django_session').select(), [])
  })

  await t.test('close() waits for the running batch, before anybody ends connections', async (t) => {
    const batch = gate()
    const events: string[] = []
    const unused = async () => Promise.reject(new Error('unused'))
    const engine: Engine = {
      ...{
        load: unused,
        create: unused,
        save: unused,
        saveLocked: unused,
        touch: unused,
        cycleKey: unused,
        delete: unused,
        exists: unused
      },
      async clearExpired() {
        await batch.pass()
        events.push('batch')
        return NOTHING
      }
    }
    const app = Fastify()
    await app.register(sessions, { secretKey, engine, clearExpired: { every: 1 } })
    // What is registered last is closed first.
    app.addHook('onClose', async () => void events.push('connections'))
    await app.ready()
    // The schedule does not.
    const keepsAlive = setTimeout(() => {}, 60_000)
    t.teardown(() => clearTimeout(keepsAlive))
    await batch.reached
    const closed = app.close()
    await turn()
    t.strictSame(events, [])
    batch.open()
    await closed
    t.strictSame(events, ['batch', 'connections'])
  })

  await t.test('keeps no process alive', async (t) => {
    const before = process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
    const { app } = await createApp(t, { engine: 'signed_cookies', clearExpired: { every: '1h' } })
    await app.ready()
    t.equal(process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length, before)
  })

  await t.test('wants a schedule that it understands', async (t) => {
    const refused = async (clearExpired: unknown, message: RegExp) => {
      const app = Fastify()
      const options = { secretKey, engine: 'signed_cookies', clearExpired } as SessionOptions
      await t.rejects(async () => app.register(sessions, options), { code: 'FST_SESSION_INVALID_OPTIONS', message })
    }
    await refused('1h', /- clearExpired: expected an object with either every or cron, got a string/)
    await refused({}, /- clearExpired: expected either every or cron, got neither/)
    await refused({ every: '1h', cron: '* * * * *' }, /- clearExpired: expected either every or cron, got both/)
    await refused({ every: '1 hour' }, /- clearExpired.every: expected seconds from 1, or a string such as .*, got "1 hour"/)
    await refused({ every: 0.5 }, /- clearExpired.every: .* got 0.5/)
    await refused(
      { cron: 'hourly', grace: -1 },
      /- clearExpired.cron: expected .*, got "hourly"\n- clearExpired.grace: expected seconds from 0, got -1/
    )
    await refused({ interval: 5, every: 5 }, /- clearExpired.interval: unknown option; there are every, cron, grace/)
  })
})
