/** The command `show`: prints a decoded session. */
import type { SessionModel } from '../database/session-model.js'
import { EXPIRY_NAME, fixedDate } from '../django/expiry.js'
import { joinObject } from '../django/json.js'
import { isSessionKey } from '../django/keys.js'
import type { Command, Task } from './command.js'
import { UsageError } from './errors.js'
import { type Io, print, styled } from './io.js'
import { pretty, strict } from './json-text.js'
import { requireSecrets } from './secret.js'
import { openSessions, Reader, type Reading, settingsOf } from './store.js'
import { duration, utc } from './text.js'

export const show: Command = {
  summary: 'Print the data of a session and the time when it expires',
  argument: 'KEY',
  description:
    'Prints the session of the engine db or cached_db with this key, which is the value of the cookie sessionid. The key of a session gives access to it: with - as KEY, the key is read from the standard input, which other users of the machine cannot see.\nNeeds the secret key of the site, from the environment or a file.',
  example: 'show - --secret-key-file secret.txt',
  options: ['secret-key-file', 'table', 'json'],
  exitCodes: '0 shown, 1 the session does not exist, has expired or cannot be read',
  run: showSession
}

type Readable = Reading & { signedAt: Date; members: NonNullable<Reading['members']> }

async function showSession(task: Task): Promise<number> {
  const { options, argument, io } = task
  const secrets = await requireSecrets(options, io.env, 'show')
  const sessionKey = argument === '-' ? await readKey(io) : argument
  if (!isSessionKey(sessionKey)) throw new UsageError('expected the key of a session, 8 to 40 letters and digits')
  const settings = settingsOf(task, secrets)
  const { model } = await openSessions(settings, io)
  const reading = await read(model, new Reader(settings), sessionKey)
  const now = io.clock()
  print(io.stdout, options.json ? toJson(reading, now) : toText(reading, now, io))
  if (reading.row.expireDate > now) return 0
  print(io.stderr, 'The session has expired. It cannot be used any more, and clearsessions will remove it.')
  return 1
}

async function readKey({ stdin }: Io): Promise<string> {
  let text = ''
  for await (const chunk of stdin) text += chunk
  return text.trim()
}

async function read(model: SessionModel, reader: Reader, sessionKey: string): Promise<Readable> {
  const row = await model.find(sessionKey)
  if (row === null) {
    throw new Error(
      'no session has this key: the session was signed out, was removed after it had expired, or is in another database or table'
    )
  }
  const reading = reader.read(row)
  if (reading.signedAt === null) throw new Error(await explainSignature(reader, model))
  if (reading.members !== null) return reading as Readable
  throw new Error('the session is signed with this secret key, but its data is not JSON: does Django have another SESSION_SERIALIZER?')
}

async function explainSignature(reader: Reader, model: SessionModel): Promise<string> {
  const newest = await reader.readNewest(model)
  const signed = newest.filter(({ signedAt }) => signedAt !== null).length
  if (signed > 0) {
    return `the session is not signed with this secret key, but ${signed} of the newest ${newest.length} are: it was altered, or signed with a former key (SECRET_KEY_FALLBACKS)`
  }
  return 'neither this session nor any newer one is signed with this secret key: set SECRET_KEY to the key of the site, and SECRET_KEY_FALLBACKS to its former keys'
}

function toJson({ row: { sessionKey, expireDate }, signedAt, byFallback, members }: Readable, now: Date): string {
  const fields = JSON.stringify({
    sessionKey,
    expireDate,
    expiresIn: Math.floor((expireDate.getTime() - now.getTime()) / 1000),
    signedAt,
    signedWith: byFallback ? 'SECRET_KEY_FALLBACKS' : 'SECRET_KEY'
  })
  return `${fields.slice(0, -1)},"data":${strict(joinObject(members))}}`
}

function toText({ row, signedAt, byFallback, members }: Readable, now: Date, io: Io): string {
  const label = (text: string) => styled(io.stdout, 'bold', text.padEnd(9))
  const seconds = (row.expireDate.getTime() - now.getTime()) / 1000
  const ends = seconds > 0 ? `in ${duration(seconds)}` : `${duration(seconds)} ago`
  return [
    `${label('Session')}${row.sessionKey}`,
    `${label(seconds > 0 ? 'Expires' : 'Expired')}${utc(row.expireDate)}, ${ends}${expiryNote(members.get(EXPIRY_NAME)?.value)}`,
    `${label('Signed')}${utc(signedAt)}, with ${byFallback ? 'a former key of SECRET_KEY_FALLBACKS' : 'SECRET_KEY'}`,
    `${label('Data')}${pretty(joinObject(members))}`
  ].join('\n')
}

function expiryNote(expiry: unknown): string {
  if (expiry === 0) return ', or when the browser closes'
  return fixedDate(expiry) === null ? '' : ', a fixed date'
}
