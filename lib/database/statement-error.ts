/** The errors that a failed statement ends in, without SQL and without the values that were bound. */
import { StoreRefused, StoreUnavailable } from '../errors.js'
import type { DriverError, ErrorKind } from './driver-errors.js'

/** `unreachable`: there was no connection. `notSent`: it was too late to send the statement. `overdue`: it was cut off, and may have been carried out. */
type FailureKind = ErrorKind | 'unreachable' | 'notSent' | 'overdue'

/** The driver's words on a failed statement. */
class StatementError extends Error {
  override name = 'StatementError'
  readonly code: string | undefined
  readonly kind: FailureKind
  readonly keyTaken: boolean

  constructor(error: DriverError, message: string, kind: FailureKind, keyTaken: boolean) {
    super(message)
    this.code = error.code
    this.kind = kind
    this.keyTaken = keyTaken
    // The frames say where it failed; the first lines repeat the driver's message.
    const frames = error.stack?.match(/^ {4}at .*$/gm) ?? []
    this.stack = [`${this.name}: ${message}`, ...frames].join('\n')
  }
}

export interface Failure {
  kind: FailureKind
  /** For the log. */
  reason: string
  error: DriverError
  /** The driver's words, without data. */
  message: string
  keyTaken?: boolean
}

/** StoreRefused for what the database refuses for good, StoreUnavailable for everything else. */
export function failure({ kind, reason, error, message, keyTaken = false }: Failure): Error {
  const cause = new StatementError(error, message, kind, keyTaken)
  return kind === 'refused' || kind === 'tooLarge' ? new StoreRefused(reason, { cause }) : new StoreUnavailable(reason, { cause })
}

export function notSent(reason: string): Error {
  return failure({ kind: 'notSent', reason, error: new Error(), message: 'it was not sent' })
}

export function overdue(reason: string): Error {
  return failure({ kind: 'overdue', reason, error: new Error(), message: 'it was cut off' })
}

/** A bound value in a driver's message is replaced by a question mark. */
export function masked(message: string, bindings: readonly unknown[]): string {
  // Binary data does not appear in messages as it was bound.
  const values = bindings.flat().filter((value) => typeof value !== 'object' && value !== '')
  // The longest first, since one may be a part of another.
  values.sort((a, b) => String(b).length - String(a).length)
  return values.reduce<string>((text, value) => text.replaceAll(patternOf(value), '?'), message)
}

/** A number is not looked for inside of names and other numbers. */
function patternOf(value: unknown): string | RegExp {
  return typeof value === 'string' ? value : new RegExp(`(?<!\\w)${String(value).replace(/[.+]/g, '\\$&')}(?!\\w)`, 'g')
}

function statementErrorOf(error: unknown): StatementError | null {
  const { cause } = ((error as Error | null)?.cause ?? {}) as Error
  return cause instanceof StatementError ? cause : null
}

/** The outcome of a statement; null for an error that no statement ended in. */
export function kindOfFailure(error: unknown): FailureKind | null {
  return statementErrorOf(error)?.kind ?? null
}

/** Whether a failed write may have been carried out all the same. */
export function isOutcomeUnknown(error: unknown): boolean {
  return kindOfFailure(error) === 'lost'
}

/** Whether nothing was done, and another statement on the same connection may be accepted. */
export function isRefused(error: unknown): boolean {
  const kind = kindOfFailure(error)
  return kind !== null && !['lost', 'outdated', 'unreachable', 'overdue'].includes(kind)
}

/** Whether a statement was cut off at its deadline. */
export function isOverdue(error: unknown): boolean {
  return kindOfFailure(error) === 'overdue'
}

/** Whether an INSERT failed because its key is that of another row. */
export function isKeyTaken(error: unknown): boolean {
  return statementErrorOf(error)?.keyTaken === true
}
