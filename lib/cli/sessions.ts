/** The command `sessions`: lists and ends the sessions of a user. */
import { userIdColumn } from '../database/user-ids.js'
import { USER_SESSIONS_TABLE } from '../database/user-sessions-table.js'
import type { Sessions } from '../sessions.js'
import type { Settings } from '../settings/settings.js'
import type { UserSession } from '../user-sessions/finder.js'
import { idOf } from '../user-sessions/sessions-of-user.js'
import type { Command, Task } from './command.js'
import { UsageError } from './errors.js'
import { print, printSentence, styled } from './io.js'
import { requireSecrets } from './secret.js'
import { checkTableExists, openDatabase, openSessions, Reader, readUserIdColumn, settingsOf } from './store.js'
import { counted, utc } from './text.js'

export const sessions: Command = {
  summary: 'List or end the sessions of a user',
  argument: 'ACTION',
  description:
    'ACTION is list or end. Of the sessions of the user with this primary key, end ends the one with --id, or all of them. They are found in the table of the option userSessions.\nNeeds the secret key of the site, from the environment or a file. It reaches the tables and no cache: where sessions are read through one (cached_db, here or in Django), call app.sessions.ofUser() in the application.',
  example: 'sessions list --user 1',
  options: ['user', 'id', 'secret-key-file', 'table', 'json'],
  exitCodes: '0 done, 1 failed, or the user has no session with this id',
  run
}

async function run(task: Task): Promise<number> {
  const { options, argument, io } = task
  if (argument !== 'list' && argument !== 'end') throw new UsageError('expected sessions list or sessions end')
  const { user, id } = options
  if (!user) throw new UsageError('--user: expected the primary key of a user, got nothing')
  if (id !== undefined && argument === 'list') throw new UsageError('--id is an option of sessions end')
  if (id !== undefined && idOf(id) === null) throw new UsageError(`--id: expected a whole number, got ${JSON.stringify(id)}`)
  const secrets = await requireSecrets(options, io.env, 'sessions')
  await checkTableExists(task)
  await checkUser(task, user)
  const settings = settingsOf(task, secrets, { userSessions: true })
  const opened = await openSessions(settings, io)
  await refuseWrongSecret(settings, opened)
  const ofUser = opened.ofUser(user)
  if (argument === 'list') return list(await ofUser.list(), task)
  if (id === undefined) return ended(await ofUser.endAll(), task)
  return ended(Number(await ofUser.end(id)), task)
}

/** No user has an id of another type than the column's: their sessions would not be found, whoever they are. */
async function checkUser(task: Task, user: string): Promise<void> {
  const column = await readUserIdColumn(task)
  if (column === undefined || userIdColumn(column, openDatabase(task).dialect).bind(user) !== null) return
  throw new UsageError(
    `--user: expected a value for the column user_id of ${USER_SESSIONS_TABLE}, which is ${column.type}, got ${JSON.stringify(user)}`
  )
}

/** With another key no session can be read, and a user would seem to have none. */
async function refuseWrongSecret(settings: Settings, { model }: Sessions): Promise<void> {
  const newest = await new Reader(settings).readNewest(model)
  if (newest.length === 0 || newest.some(({ signedAt }) => signedAt !== null)) return
  throw new Error(
    `none of the newest ${counted(newest.length, 'session')} is signed with this secret key: set SECRET_KEY to the key of the site, and SECRET_KEY_FALLBACKS to its former keys`
  )
}

function list(found: readonly UserSession[], { options, io }: Task): number {
  if (options.json) print(io.stdout, JSON.stringify({ sessions: found }))
  else {
    for (const { id, createdAt, lastSeenAt, endsAt, ip, userAgent } of found) {
      print(io.stdout, styled(io.stdout, 'bold', `${id}  ${userAgent ?? 'unknown device'}, ${ip ?? 'unknown address'}`))
      print(io.stdout, `    signed in ${utc(createdAt)}, last seen ${utc(lastSeenAt)}, ends ${utc(endsAt)}`)
    }
    print(io.stdout, counted(found.length, 'session'))
  }
  return 0
}

function ended(count: number, { options, io }: Task): number {
  if (options.json) print(io.stdout, JSON.stringify({ ended: count }))
  else
    printSentence(
      io.stdout,
      options.id !== undefined && count === 0 ? 'The user has no session with this id.' : `Ended ${counted(count, 'session')}.`
    )
  return options.id !== undefined && count === 0 ? 1 : 0
}
