/**
 * Channels of `node:diagnostics_channel`: events of sessions, and operations of the store. No payload is built for a
 * channel without subscribers. A keyed hash of the session key identifies a session, never the key itself.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { createHmac } from 'node:crypto'
import { type Channel, channel, type TracingChannel, tracingChannel } from 'node:diagnostics_channel'
import type { ClearExpiredReport } from './contract.js'
import { monotonicNow } from './timers.js'

/** What happened to a session. */
export interface SessionEvent {
  /** The name of the engine. For an engine of your own, the name of its class. */
  readonly engine: string
  /** Identifies the session: 12 hexadecimal digits of a keyed hash of its key. */
  readonly sessionRef: string
  /** The id of the user who is logged in. Null if there is none, or the session was not loaded. */
  readonly userId: string | null
  /** The Fastify request in which it happened. Null outside requests. Not enumerable, so that loggers leave out the request and its cookie. */
  readonly request: object | null
}

/** The payloads by the last part of the channel's name: that of `fastify-django-sessions:created` is `created`. */
export interface SessionEvents {
  /** A new session was stored. */
  created: SessionEvent
  /** A session has a new key. `sessionRef` is that of the new key, and at a login `userId` that of the new user. */
  rotated: SessionEvent & { readonly previousRef: string }
  /** A session was deleted: by `flush()`, as at a logout, or from another session of its user or by an administrator. */
  ended: SessionEvent & { readonly reason: 'flush' | 'revoked' }
  /** A session was deleted by a login, since its user had too many (`maxSessions`). */
  evicted: SessionEvent
  /**
   * The absolute timeout of a session had passed when it was read, or a reply deleted a session whose end had passed, as
   * after `setExpiry` with a past date. A session that ended by inactivity, or at a date set earlier, is `unknown`.
   */
  expired: SessionEvent & { readonly reason: 'absolute' | 'date' }
  /** No session has the key in a cookie: it ended, never existed, or cannot be a key. */
  unknown: SessionEvent & { readonly reason: 'absent' | 'malformed' }
  /** A stored session or a signed cookie is forged or damaged. */
  suspicious: SessionEvent
  /** A save was merged with the saves of other requests. `misses` is their number. */
  merged: SessionEvent & { readonly misses: number }
  /** A request was interrupted: another one deleted its session, logged it in or out, or changed it with `onConflict: 'reject'`. */
  interrupted: SessionEvent & { readonly reason: 'deleted' | 'login' | 'conflict' }
  /** The session was changed after the reply and the change is lost, or it got a new key too late to tell the browser. */
  tooLate: SessionEvent
  /** Expired sessions were removed. */
  cleaned: ClearExpiredReport & { readonly engine: string }
  /** The database takes no writes, or no connections, as after a failover. Published once per outage. */
  failover: { readonly error: Error }
}

/** An operation of the store, the payload of the tracing channels. Properties that are not `readonly` are set when it ends. */
export interface SessionOperation {
  /** What is done. */
  readonly operation: OperationName
  /** See `SessionEvent`. */
  readonly engine: string
  /** See `SessionEvent`. Null for `create` until it ends. */
  sessionRef: string | null
  /** How it ended. Null until then. */
  outcome: 'found' | 'unknown' | 'created' | 'saved' | 'changed' | 'gone' | 'renewed' | 'rotated' | 'deleted' | 'failed' | null
  /** The number of statements that were sent to a database. 0 for other stores. */
  attempts: number
  /** The number of operations in the statement. */
  batchSize: number
  /** The time until the last statement was sent, in milliseconds: waiting for a batch, a connection, or a locked row. */
  waited: number
  /** The duration of the operation, in milliseconds. */
  milliseconds: number
}

/** The operations of a store that are traced. */
export type OperationName = 'load' | 'create' | 'save' | 'touch' | 'rotate' | 'delete'

/** The payload of an operation, which counts its statements. */
export class TracedOperation implements SessionOperation {
  readonly operation: OperationName
  readonly engine: string
  sessionRef: string | null
  outcome: SessionOperation['outcome'] = null
  attempts = 0
  batchSize = 1
  waited = 0
  milliseconds = 0
  readonly #began = monotonicNow()

  constructor(operation: OperationName, engine: string, ref: string | null) {
    this.operation = operation
    this.engine = engine
    this.sessionRef = ref
  }

  /** Called when a statement is sent, alone or in a batch. */
  countAttempt(): void {
    this.attempts++
    this.waited = monotonicNow() - this.#began
  }

  end(result: Partial<Pick<SessionOperation, 'outcome' | 'sessionRef'>>): void {
    Object.assign(this, result)
    this.milliseconds = monotonicNow() - this.#began
  }
}

/** A statement for several operations, which may belong to different requests. */
export interface SessionBatch {
  /** Those that the statement carries out. */
  readonly operations: readonly SessionOperation[]
}

// Newer types of Node.js have both parameters of a channel in the other order: they are the same here.
type EventChannel<Payload> = Omit<Channel<Payload, Payload>, 'publish'> & { publish(payload: Payload): void }
type EventChannels = { readonly [Name in keyof SessionEvents]: EventChannel<SessionEvents[Name]> }

/** Adds a member that older types of Node.js lack. */
type Traced<Payload extends object> = TracingChannel<Payload, Payload> & { readonly hasSubscribers: boolean }

const PREFIX = 'fastify-django-sessions:'

export const EVENT_NAMES = [
  'created',
  'rotated',
  'ended',
  'evicted',
  'expired',
  'unknown',
  'suspicious',
  'merged',
  'interrupted',
  'tooLate',
  'cleaned',
  'failover'
] as const satisfies (keyof SessionEvents)[]

export const events = Object.fromEntries(EVENT_NAMES.map((name) => [name, channel(PREFIX + name)])) as unknown as EventChannels

const OPERATIONS = ['load', 'create', 'save', 'touch', 'rotate', 'delete'] as const satisfies OperationName[]

export const operations = Object.fromEntries(OPERATIONS.map((name) => [name, tracingChannel(PREFIX + name)])) as unknown as {
  readonly [Name in OperationName]: Traced<SessionOperation>
}

export const batches = tracingChannel(`${PREFIX}batch`) as unknown as Traced<SessionBatch>

/** The operations that a statement serves. Set only if a tracing channel has subscribers. */
export const served = new AsyncLocalStorage<readonly TracedOperation[]>()

/** Runs `work` outside the operation that is traced. */
export function untraced<T>(work: () => T): T {
  return served.getStore() === undefined ? work() : served.run([], work)
}

/** The identifier of a session in payloads. It depends on the secret key. */
export function sessionRef(secretKey: string, sessionKey: string): string {
  return createHmac('sha256', secretKey).update(`${PREFIX}${sessionKey}`).digest('hex').slice(0, 12)
}

/** The name of an engine in payloads. */
export function engineName(engine: unknown): string {
  if (typeof engine === 'string') return engine
  return typeof engine === 'function' ? engine.name : String((engine as object).constructor?.name)
}
