/**
 * The stored form of a session's data, and saves that merge with the saves of other requests.
 * Knows the engine, but not the request.
 */
import type { Engine, SaveResult, SessionLog, SessionRecord, StoredSession } from '../contract.js'
import type { Deadline } from '../deadline.js'
import type { Codec } from '../django/codec.js'
import { EXPIRY_NAME, expiryDate } from '../django/expiry.js'
import { type Members, toObject } from '../django/serializer.js'
import { StoreUnavailable } from '../errors.js'
import { events } from '../events.js'
import type { Changes } from './changes.js'
import type { KeyedMutex } from './keyed-mutex.js'
import { interrupted, type ReportSettings, report, type Subject, unlessForged } from './reports.js'
import { started } from './started.js'
import { absoluteEnd, withBeginning } from './timeouts.js'
import type { Watches } from './watches.js'

/** The settings that a session needs, as in `SessionOptions`. Ages and times are in seconds. */
export interface SessionSettings extends ReportSettings {
  readonly cookieAge: number
  readonly expireAtBrowserClose: boolean
  readonly touchAfter: number
  readonly timeouts: { readonly idle?: number; readonly absolute?: number }
  readonly saveNestedChanges: boolean
  readonly onConflict: 'merge' | 'reject' | 'overwrite'
  readonly storeTimeout: number
  readonly clock: () => Date
}

export interface SessionContext {
  readonly engine: Engine
  /** Whether each call of the engine settles soon after its deadline, whatever the storage does. @default false */
  readonly keepsDeadlines?: boolean
  readonly codec: Codec
  readonly mutex: KeyedMutex
  readonly settings: SessionSettings
  readonly log: SessionLog
  readonly watches: Watches
}

/** A row as it was read or written, and its data. */
export class Snapshot implements StoredSession {
  readonly sessionData: string
  readonly members: Members
  readonly #stored: StoredSession

  constructor(stored: StoredSession, members: Members) {
    this.sessionData = stored.sessionData
    this.members = members
    this.#stored = stored
  }

  /** Parsed by the row when something asks for it: most requests do not. */
  get expireDate(): Date {
    return this.#stored.expireDate
  }

  endingAt(expireDate: Date): Snapshot {
    return new Snapshot({ sessionData: this.sessionData, expireDate }, this.members)
  }
}

/** A session after a save: its key, and what is stored. */
export class Saved {
  readonly sessionKey: string
  readonly snapshot: Snapshot

  constructor(sessionKey: string, snapshot: Snapshot) {
    this.sessionKey = sessionKey
    this.snapshot = snapshot
  }
}

/** The members of a session that are to be stored. A class, since V8 allocates long-lived literals in the old generation (see `RequestState`). */
class NewRecord implements SessionRecord {
  readonly sessionData: string
  readonly expireDate: Date
  readonly #members: Members
  readonly #codec: Codec

  constructor(codec: Codec, members: Members, expireDate: Date) {
    this.sessionData = codec.encode(members)
    this.expireDate = expireDate
    this.#members = members
    this.#codec = codec
  }

  data(): Record<string, unknown> {
    return toObject(this.#members, this.#codec.serializer.copy)
  }
}

/** A save of changed data. A class, as `NewRecord` is. */
export class Replacement {
  readonly sessionKey: string
  /** The session as it was loaded, before the changes. */
  readonly snapshot: Snapshot
  /** The snapshot with the changes. */
  readonly members: Members
  readonly record: SessionRecord
  readonly changes: Changes
  /** Whether an earlier save of the session failed that the store may have carried out. */
  readonly isUnsettled: boolean
  /** Whether the end of the session stays as it is, because the request does not count as activity. */
  readonly keepsEnd: boolean
  readonly log: SessionLog
  readonly request: object | null

  constructor(fields: Replacement) {
    this.sessionKey = fields.sessionKey
    this.snapshot = fields.snapshot
    this.members = fields.members
    this.record = fields.record
    this.changes = fields.changes
    this.isUnsettled = fields.isUnsettled
    this.keepsEnd = fields.keepsEnd
    this.log = fields.log
    this.request = fields.request
  }
}

/** If another request changed one of these, merging would let this request act as the wrong user. */
export const LOGIN_NAMES = ['_auth_user_id', '_auth_user_backend']
/** Any request may renew the user's hash after a change of the secret key, so that this is not a conflict. */
const HASH_NAME = '_auth_user_hash'

/** Failed attempts to save, each overtaken by another writer, before the merge is made under the row's lock. */
const MAX_MISSES = 3

/** Decodes stored data. Corrupt or forged data counts as empty, and stays in the store until the next save. */
export function decode({ codec }: SessionContext, { sessionData }: StoredSession, log: SessionLog, subject: Subject): Members {
  try {
    return codec.decode(sessionData)
  } catch (error) {
    unlessForged(error, subject, log)
    return new Map()
  }
}

/** The end of a session that is saved now. */
export function expireDateOf({ cookieAge, timeouts, clock }: SessionSettings, members: Members, now = clock()): Date {
  const date = expiryDate(members.get(EXPIRY_NAME)?.value, cookieAge, now, timeouts.idle)
  if (timeouts.absolute === undefined) return date
  return earlier(date, absoluteEnd(members, timeouts.absolute, now))
}

/** The earlier one of two dates, of which one may be missing. */
export function earlier(date: Date, other: Date | null): Date {
  return other !== null && other < date ? other : date
}

/** @param latest the latest end that the record may have; null for no limit */
export function recordOf({ codec, settings }: SessionContext, members: Members, latest: Date | null = null): SessionRecord {
  return new NewRecord(codec, members, earlier(expireDateOf(settings, members), latest))
}

/** Adds the time at which the session began to the members, if the absolute timeout needs it. */
export function withBeginningIfTimed({ codec, settings }: SessionContext, members: Members, before: Members | null): Members {
  return settings.timeouts.absolute === undefined ? members : withBeginning(codec.serializer, members, before, settings.clock())
}

/**
 * Saves the changes, merged with those that other writers saved in the meantime.
 *
 * @throws SessionInterrupted if the session was deleted in the meantime, or the changes must not be merged
 * @throws StoreUnavailable, SessionTooLarge
 */
export function replace(context: SessionContext, replacement: Replacement, deadline: Deadline): Promise<Saved> {
  const { engine, settings } = context
  const { sessionKey, snapshot, members, record } = replacement
  const replaced = settings.onConflict === 'overwrite' ? null : snapshot.sessionData
  return started(() => engine.save(sessionKey, record, replaced, deadline)).then((result) =>
    result.outcome === 'saved'
      ? saved(context, sessionKey, result.sessionKey, new Snapshot(record, members))
      : merge(context, replacement, result, deadline)
  )
}

/** Tells the watches of a save, also after its caller has given up. */
function saved({ watches }: SessionContext, previousKey: string, sessionKey: string, snapshot: Snapshot): Saved {
  watches.changed(previousKey, snapshot.members)
  return new Saved(sessionKey, snapshot)
}

/** @param missed the outcome of the first attempt to save */
async function merge(
  context: SessionContext,
  { sessionKey, snapshot, members: ours, record: ourRecord, changes, isUnsettled, keepsEnd, log, request }: Replacement,
  missed: SaveResult,
  deadline: Deadline
): Promise<Saved> {
  const { engine, settings } = context
  let result = missed
  let members = ours
  let record = ourRecord
  let misses = 0
  const subject: Subject = { settings, sessionKey, members: snapshot.members, request }
  const mergeWith = (stored: StoredSession): SessionRecord => {
    // The other writer may be our own earlier save, whose changes must not be applied twice.
    if (isUnsettled) throw new StoreUnavailable('an earlier save of the session failed, and may have been carried out')
    const fresh = decode(context, stored, log, subject)
    const conflict = conflictOf(context, snapshot, fresh, changes)
    if (conflict !== null) throw interrupted(subject, conflict)
    members = withBeginningIfTimed(context, changes.applyTo(fresh), fresh)
    record = recordOf(context, members, keepsEnd ? stored.expireDate : null)
    return record
  }
  while (result.outcome === 'changed' && ++misses < MAX_MISSES) {
    log.debug({ misses }, 'the session was saved by another request meanwhile: merging')
    result = await engine.save(sessionKey, mergeWith(result.stored), result.stored.sessionData, deadline)
  }
  if (result.outcome === 'changed') result = await engine.saveLocked(sessionKey, mergeWith, deadline)
  if (result.outcome === 'gone') throw interrupted(subject, 'deleted')
  if (result.outcome !== 'saved') {
    const { outcome } = result as { outcome: unknown }
    throw new TypeError(`Expected saveLocked() of the engine to answer with the outcome saved or gone, got ${JSON.stringify(outcome)}`)
  }
  if (misses > 0 && events.merged.hasSubscribers) report('merged', subject, { misses })
  return saved(context, sessionKey, result.sessionKey, new Snapshot(record, members))
}

/** Why a request's changes must not be made on top of what another writer stored; null where they may. */
function conflictOf(
  { codec, settings }: SessionContext,
  snapshot: Snapshot,
  fresh: Members,
  changes: Changes
): 'login' | 'conflict' | null {
  const differs = (name: string) => !codec.serializer.same(snapshot.members.get(name), fresh.get(name))
  if (LOGIN_NAMES.some(differs)) return 'login'
  if (settings.onConflict === 'reject') {
    const rivals = changes.cleared ? [...snapshot.members.keys(), ...fresh.keys()] : [...changes.steps.keys()]
    if (rivals.some((name) => name !== HASH_NAME && differs(name))) return 'conflict'
  }
  return null
}
