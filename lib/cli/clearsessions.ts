/** The command `clearsessions`. */
import type { ClearExpiredReport } from '../contract.js'
import type { Sessions } from '../sessions.js'
import { integer } from './arguments.js'
import type { Command, Task } from './command.js'
import { print, printSentence } from './io.js'
import { startProgress } from './progress.js'
import { openSessions, settingsOf } from './store.js'
import { counted, duration } from './text.js'

export const clearSessions: Command = {
  summary: 'Remove expired sessions',
  description:
    'Removes expired sessions in small batches, so that requests do not have to wait for it. It may run at any time and as often as you like; once a day is a good start. Ctrl-C stops it after the current batch.\nProgress goes to the standard error: a bar on a terminal, or else a line every ten seconds.',
  example: 'clearsessions --max-seconds 600',
  options: ['grace', 'batch-size', 'max-seconds', 'dry-run', 'user-sessions', 'table', 'json'],
  exitCodes: '0 done, stopped by --max-seconds, or left to another clearsessions that is running, 1 failed or stopped by Ctrl-C',
  run
}

async function run(task: Task): Promise<number> {
  const { options, io } = task
  const grace = integer(options, 'grace', 0) ?? 0
  const limits = { grace, batchSize: integer(options, 'batch-size', 1), maxSeconds: integer(options, 'max-seconds', 0) }
  const sessions = await openSessions(settingsOf(task, undefined, { userSessions: options['user-sessions'] ?? false }), io)
  return options['dry-run'] ? count(sessions, grace, task) : clear(sessions, limits, task)
}

async function count({ model }: Sessions, grace: number, { options, io }: Task): Promise<number> {
  const now = io.clock().getTime()
  const { count: expired, oldest } = await model.countExpired(new Date(now - grace * 1000))
  const backlogAge = oldest === null ? null : Math.round((now - oldest.getTime()) / 1000)
  if (options.json) print(io.stdout, JSON.stringify({ dryRun: true, expired, backlogAge }))
  else printSentence(io.stdout, `Would remove ${counted(expired, 'expired session')}${oldestOf(expired, backlogAge)}.`)
  return 0
}

interface Limits {
  grace: number
  batchSize: number | undefined
  /** Seconds. */
  maxSeconds: number | undefined
}

/** The reason why a cleanup stopped early. */
type Stop = 'signal' | 'max-seconds' | null

async function clear(
  sessions: Sessions,
  { maxSeconds = Number.POSITIVE_INFINITY, ...limits }: Limits,
  { options, io }: Task
): Promise<number> {
  const signal = io.stopSignal()
  const overtime = new AbortController()
  const progress = await startProgress(io.stderr.isTTY ? await total(sessions, limits.grace, io.clock) : null, io)
  const onProgress = (report: ClearExpiredReport) => {
    if (report.milliseconds >= maxSeconds * 1000) overtime.abort()
    progress.update(report)
  }
  const report = await sessions
    .clearExpired({ ...limits, signal: AbortSignal.any([signal, overtime.signal]), onProgress })
    .finally(() => progress.end())
  const stopped: Stop = signal.aborted ? 'signal' : overtime.signal.aborted ? 'max-seconds' : null
  if (options.json) print(io.stdout, JSON.stringify({ ...report, stopped }))
  else printSentence(io.stdout, toText(report, stopped))
  return stopped === 'signal' ? 1 : 0
}

/** The number of sessions to remove, for the progress bar. Null if it cannot be counted: the cleanup reports that error itself. */
async function total({ model }: Sessions, grace: number, clock: () => Date): Promise<number | null> {
  const before = new Date(clock().getTime() - grace * 1000)
  return model.countExpired(before).then(
    ({ count }) => count,
    () => null
  )
}

function toText({ deleted, backlogAge, skipped }: ClearExpiredReport, stopped: Stop): string {
  const removed = `${counted(deleted, 'expired session')}${oldestOf(deleted, backlogAge)}`
  if (skipped) return `Another clearsessions is running on this table, and does the rest. Removed ${removed}.`
  return stopped === null ? `Removed ${removed}.` : `Stopped after removing ${removed}: run it again for the rest.`
}

function oldestOf(count: number, backlogAge: number | null): string {
  if (count === 0 || backlogAge === null) return ''
  return `, ${count === 1 ? 'which' : 'the oldest of which'} expired ${duration(backlogAge)} ago`
}
