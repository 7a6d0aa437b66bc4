/**
 * Removes expired sessions in a process of its own, and prints what that took:
 * `node --import tsx bench/cleaner.ts '{"config": …, "how": "batches", "now": …}'`
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import Fastify from 'fastify'
import sessions from 'fastify-django-sessions'
import createKnex, { type Knex } from 'knex'

export interface Job {
  config: Knex.Config
  /** By `clearExpired()`, or as `manage.py clearsessions` does: one DELETE. */
  how: 'batches' | 'one DELETE'
  /** Milliseconds since 1970. */
  now: number
  /** What `now` is in a statement. */
  date: string
}

export interface Outcome {
  deleted: number
  milliseconds: number
  batches: number
  /** Megabytes: after the first tenth of the batches, and at most. */
  rssEarly: number
  rssPeak: number
  /** Milliseconds for which the event loop stood still at most. */
  longestStop: number
}

const { config, how, now, date }: Job = JSON.parse(process.argv[2] as string)

async function inBatches(): Promise<Omit<Outcome, 'rssPeak' | 'longestStop'>> {
  const app = Fastify()
  await app.register(sessions, { secretKey: 'nothing is signed', knex: config, clock: () => new Date(now), storeTimeout: 600 })
  const rss: number[] = []
  const report = await app.sessions.clearExpired({ onProgress: () => rss.push(process.memoryUsage.rss()) })
  await app.close()
  return { ...report, rssEarly: (rss[Math.floor(rss.length / 10)] ?? 0) / 1e6 }
}

async function atOnce(): Promise<Omit<Outcome, 'rssPeak' | 'longestStop'>> {
  const knex = createKnex({ ...config, useNullAsDefault: true })
  const started = performance.now()
  const deleted = await knex('django_session').where('expire_date', '<', date).delete()
  const milliseconds = performance.now() - started
  await knex.destroy()
  return { deleted, milliseconds, batches: 1, rssEarly: Number.NaN }
}

const delay = monitorEventLoopDelay({ resolution: 1 })
delay.enable()
const outcome = how === 'batches' ? await inBatches() : await atOnce()
const rssPeak = (process.resourceUsage().maxRSS * 1024) / 1e6
console.log(JSON.stringify({ ...outcome, rssPeak, longestStop: delay.max / 1e6 }))
