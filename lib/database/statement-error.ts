/** The errors of failed statements, without SQL and bound values. */
import { StoreRefused, StoreUnavailable } from '../errors.js'
import type { DriverError, ErrorKind } from './driver-errors.js'

/** `unreachable`: there was no connection. `notSent`: it was too late to send the statement. `overdue`: it was cut off, and may have been carried out. */
export type FailureKind = ErrorKind | 'unreachable' | 'notSent' | 'overdue'

/** The driver's error for a failed statement. */
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
    // Keeps the frames only: the first lines of a stack repeat the driver's message.
    const frames = error.stack?.match(/^ {4}at .*$/gm) ?? []
    this.stack = [`${this.name}: ${message}`, ...frames].join('\n')
  }
}

export interface Failure {
  kind: FailureKind
  /** The reason, for the log. */
  reason: string
  error: DriverError
  /** The driver's message, without data. */
  message: string
  keyTaken?: boolean
}

/** StoreRefused if another try would fail too, otherwise StoreUnavailable. */
export function failure({ kind, reason, error, message, keyTaken = false }: Failure): Error {
  const cause = new StatementError(error, message, kind, keyTaken)
  return kind === 'refused' || kind === 'tooLarge' ? new StoreRefused(reason, { cause }) : new StoreUnavailable(reason, { cause })
}

export function notSent(reason: string): Error {
  return failure({ kind: 'notSent', reason, error: new Error(), message: 'it was not sent' })
}

/** The error of a statement whose deadline passed before it was sent. */
export const tooLate = () => notSent('it was not sent before its deadline')

/** The error of a call whose deadline has passed. @param wasSent whether it may have been carried out */
export function timedOut(wasSent: boolean): Error {
  if (!wasSent) return tooLate()
  return failure({ kind: 'overdue', reason: 'the database gave no answer in time', error: new Error(), message: 'it was cut off' })
}

/** Replaces bound values in a driver's message by question marks. */
export function masked(message: string, bindings: readonly unknown[]): string {
  // Messages do not show binary data in the form in which it was bound.
  const values = bindings.flat().filter((value) => typeof value !== 'object' && value !== '')
  // The longest first, because one may be part of another.
  values.sort((a, b) => String(b).length - String(a).length)
  return values.reduce<string>((text, value) => text.replaceAll(patternOf(value), '?'), message)
}

/** Finds a value. A number is not found inside names and other numbers. */
function patternOf(value: unknown): string | RegExp {
  return typeof value === 'string' ? value : new RegExp(`(?<!\\w)${String(value).replace(/[.+]/g, '\\$&')}(?!\\w)`, 'g')
}

function statementErrorOf(error: unknown): StatementError | null {
  const { cause } = ((error as Error | null)?.cause ?? {}) as Error
  return cause instanceof StatementError ? cause : null
}

/** The kind of a statement's failure. Null for any other error. */
export function kindOfFailure(error: unknown): FailureKind | null {
  return statementErrorOf(error)?.kind ?? null
}

/** Whether a failed write may have been carried out. */
export function isOutcomeUnknown(error: unknown): boolean {
  return kindOfFailure(error) === 'lost'
}

/** Whether nothing was done, and another statement on the same connection may be accepted. */
export function isRefused(error: unknown): boolean {
  const kind = kindOfFailure(error)
  return kind !== null && !['lost', 'outdated', 'demoted', 'closed', 'unreachable', 'overdue'].includes(kind)
}

/** Whether a statement was cut off at its deadline. */
export function isOverdue(error: unknown): boolean {
  return kindOfFailure(error) === 'overdue'
}

/** Whether an INSERT failed because its key is taken. */
export function isKeyTaken(error: unknown): boolean {
  return statementErrorOf(error)?.keyTaken === true
}
