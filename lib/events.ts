/**
 * Channels of `node:diagnostics_channel`: what happens to sessions, and the operations of the store. Nothing is made
 * for a channel without subscribers. A session is named by a keyed hash of its key, never by the key.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { createHmac } from 'node:crypto'
import { type Channel, channel, type TracingChannel, tracingChannel } from 'node:diagnostics_channel'
import type { ClearExpiredReport } from './contract.js'
import { monotonicNow } from './timers.js'

/** What happened to a session. */
export interface SessionEvent {
  /** The name of the engine; that of its class for an engine of your own. */
  readonly engine: string
  /** The session: 12 hexadecimal digits of a keyed hash of its key. */
  readonly sessionRef: string
  /** The user who is signed in, as far as the session was loaded. Null for nobody. */
  readonly userId: string | null
  /** The request of Fastify in which it happened. Not enumerable, since it has the cookie: loggers leave it out. Null outside requests. */
  readonly request: object | null
}

/** The payloads by the last part of the channel's name: that of `fastify-django-sessions:created` is `created`. */
export interface SessionEvents {
  /** A new session was stored. */
  created: SessionEvent
  /** A session has another key. `sessionRef` is that of the new key. */
  rotated: SessionEvent & { readonly previousRef: string }
  /** A session was deleted, as at a logout. */
  ended: SessionEvent & { readonly reason: 'flush' }
  /** A session was found to be at its end: its absolute timeout, or the date of `setExpiry`. One that ends by inactivity is `unknown`. */
  expired: SessionEvent & { readonly reason: 'absolute' | 'date' }
  /** A cookie names no session: it ended, never existed, or cannot be a key. */
  unknown: SessionEvent & { readonly reason: 'absent' | 'malformed' }
  /** What is stored, or a signed cookie, was forged or damaged. */
  suspicious: SessionEvent
  /** A save went on top of those of other requests: so many. */
  merged: SessionEvent & { readonly misses: number }
  /** A request was interrupted: its session was deleted, signed in or out, or changed with `onConflict: 'reject'`. */
  interrupted: SessionEvent & { readonly reason: 'deleted' | 'login' | 'conflict' }
  /** A change came after the reply, and is lost. */
  tooLate: SessionEvent
  /** Expired sessions were removed. */
  cleaned: ClearExpiredReport & { readonly engine: string }
}

/** An operation of the store, as the tracing channels have it. What is not `readonly` is known when it ends. */
export interface SessionOperation {
  /** What is done. */
  readonly operation: OperationName
  /** See `SessionEvent`. */
  readonly engine: string
  /** See `SessionEvent`. Null for `create` until it ends. */
  sessionRef: string | null
  /** How it ended. Null until then. */
  outcome: 'found' | 'unknown' | 'created' | 'saved' | 'changed' | 'gone' | 'renewed' | 'rotated' | 'deleted' | 'failed' | null
  /** Statements that were sent to a database for it. 0 for other stores. */
  attempts: number
  /** Operations in the statement. */
  batchSize: number
  /** Milliseconds until the last statement was sent: for a batch, a connection, or a locked row. */
  waited: number
  /** Milliseconds from its beginning to its end. */
  milliseconds: number
}

/** The operations of a store that are traced. */
export type OperationName = 'load' | 'create' | 'save' | 'touch' | 'rotate' | 'delete'

/** The payload of an operation, which counts what is sent for it. */
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

  /** A statement is sent, by itself or in a batch. */
  countAttempt(): void {
    this.attempts++
    this.waited = monotonicNow() - this.#began
  }

  end(result: Partial<Pick<SessionOperation, 'outcome' | 'sessionRef'>>): void {
    Object.assign(this, result)
    this.milliseconds = monotonicNow() - this.#began
  }
}

/** A statement for several operations, of which each may belong to another request. */
export interface SessionBatch {
  /** Those that the statement carries out. */
  readonly operations: readonly SessionOperation[]
}

type EventChannel<Payload> = Omit<Channel<unknown, Payload>, 'publish'> & { publish(payload: Payload): void }
type EventChannels = { readonly [Name in keyof SessionEvents]: EventChannel<SessionEvents[Name]> }

/** The types of Node.js lack the member. */
type Traced<Payload extends object> = TracingChannel<unknown, Payload> & { readonly hasSubscribers: boolean }

const PREFIX = 'fastify-django-sessions:'

export const EVENT_NAMES = [
  'created',
  'rotated',
  'ended',
  'expired',
  'unknown',
  'suspicious',
  'merged',
  'interrupted',
  'tooLate',
  'cleaned'
] as const satisfies (keyof SessionEvents)[]

export const events = Object.fromEntries(EVENT_NAMES.map((name) => [name, channel(PREFIX + name)])) as unknown as EventChannels

const OPERATIONS = ['load', 'create', 'save', 'touch', 'rotate', 'delete'] as const satisfies OperationName[]

export const operations = Object.fromEntries(OPERATIONS.map((name) => [name, tracingChannel(PREFIX + name)])) as unknown as {
  readonly [Name in OperationName]: Traced<SessionOperation>
}

export const batches = tracingChannel(`${PREFIX}batch`) as unknown as Traced<SessionBatch>

/** The operations that a statement is sent for. Only where a tracing channel has subscribers. */
export const served = new AsyncLocalStorage<readonly TracedOperation[]>()

/** The name of a session in payloads. It changes with the secret key. */
export function sessionRef(secretKey: string, sessionKey: string): string {
  return createHmac('sha256', secretKey).update(`${PREFIX}${sessionKey}`).digest('hex').slice(0, 12)
}

/** The name of an engine in payloads. */
export function engineName(engine: unknown): string {
  if (typeof engine === 'string') return engine
  return typeof engine === 'function' ? engine.name : String((engine as object).constructor?.name)
}
