/** Access of the commands to the table of sessions. */
import { createConnections } from '../assembly.js'
import type { Connections } from '../database/connections.js'
import { type Column, readColumns } from '../database/inspection.js'
import type { SessionModel, SessionRow } from '../database/session-model.js'
import { USER_SESSIONS_TABLE } from '../database/user-sessions-table.js'
import { Codec, STORE_SALT } from '../django/codec.js'
import { jsonSerializer, type Members } from '../django/serializer.js'
import { SuspiciousSession } from '../errors.js'
import { Sessions } from '../sessions.js'
import type { SessionOptions } from '../settings/options.js'
import { resolveSettings, type Settings } from '../settings/settings.js'
import type { Task } from './command.js'
import { type Io, print } from './io.js'
import type { Secrets } from './secret.js'

/** The time limit of a statement in seconds. Longer than for a request, for which a visitor waits. */
const STORE_TIMEOUT = 60

/** The most that the option `maxSize` can be. The commands do not know that of the application, and must pass over no session. */
const MAX_SIZE = 2 ** 30

/** The number of the newest sessions that are read to see which secret key signs them. */
const SAMPLE = 20

/** A placeholder for commands that neither sign nor verify. */
const NO_SECRETS: Secrets = { secretKey: 'never used', secretKeyFallbacks: [] }

export function settingsOf({ knex, options, io }: Task, secrets = NO_SECRETS, own: Pick<SessionOptions, 'userSessions'> = {}): Settings {
  return resolveSettings({
    ...secrets,
    ...own,
    knex,
    tableName: options.table,
    storeTimeout: STORE_TIMEOUT,
    maxSize: MAX_SIZE,
    clock: io.clock
  })
}

export function openSessions(settings: Settings, { stderr }: Io): Promise<Sessions> {
  return Sessions.create(settings, { debug() {}, warn: (_details, message) => print(stderr, message) })
}

/** Opens the database to inspect the table itself. */
export function openDatabase({ knex }: Pick<Task, 'knex'>): Connections {
  return createConnections(knex, { storeTimeout: STORE_TIMEOUT, preparedStatements: false })
}

export const noTable = (table: string) => `there is no table ${table}: run migrate, or manage.py migrate sessions`

/** @throws Error if there is no table of sessions */
export async function checkTableExists(task: Task): Promise<void> {
  const { table } = task.options
  if ((await readColumns(openDatabase(task), table)).length > 0) return
  throw new Error(noTable(table))
}

/** The column for ids of users in the table of user sessions. Undefined if there is no such table. @throws StoreUnavailable, StoreRefused */
export async function readUserIdColumn(task: Task): Promise<Column | undefined> {
  return (await readColumns(openDatabase(task), USER_SESSIONS_TABLE)).find(({ name }) => name === 'user_id')
}

/** A row, decoded with a secret key. */
export interface Reading {
  row: SessionRow
  /** Null if the row is not signed with any of the keys. */
  signedAt: Date | null
  /** Whether the row is signed with a former key. */
  byFallback: boolean
  /** Null if the data cannot be read. */
  members: Members | null
}

/** Decodes rows as the engines db and cached_db do. */
export class Reader {
  readonly #current: Codec
  readonly #all: Codec

  constructor(settings: Settings) {
    const codec = (secretKeyFallbacks: readonly string[]) =>
      new Codec({ ...settings, secretKeyFallbacks, salt: STORE_SALT, serializer: jsonSerializer })
    this.#current = codec([])
    this.#all = codec(settings.secretKeyFallbacks)
  }

  read(row: SessionRow): Reading {
    const signedAt = signedAtBy(this.#all, row)
    const byFallback = signedAt !== null && signedAtBy(this.#current, row) === null
    return { row, signedAt, byFallback, members: signedAt === null ? null : membersBy(this.#all, row) }
  }

  /** Reads the sessions with the latest expire_date, which are usually the newest. */
  async readNewest(model: SessionModel): Promise<Reading[]> {
    const keys: string[] = await model.query().orderBy('expire_date', 'desc').limit(SAMPLE).pluck('session_key')
    const rows = await Promise.all(keys.map((key) => model.find(key)))
    return rows.filter((row) => row !== null).map((row) => this.read(row))
  }
}

function signedAtBy(codec: Codec, { sessionData }: SessionRow): Date | null {
  try {
    return codec.signedAt(sessionData)
  } catch {
    return null
  }
}

function membersBy(codec: Codec, { sessionData }: SessionRow): Members | null {
  try {
    return codec.decode(sessionData)
  } catch (error) {
    if (error instanceof SuspiciousSession) return null
    throw error
  }
}
