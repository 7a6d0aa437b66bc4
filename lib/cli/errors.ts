/** Errors of the command line, and the text that is printed for an error. */
import { kindOfFailure } from '../database/statement-error.js'
import { InvalidOptions, StoreRefused, StoreUnavailable } from '../errors.js'

/** A wrong command line: exit code 2. */
export class UsageError extends Error {}

/** An error whose message is printed unchanged: exit code 1. */
export class CommandError extends Error {}

type DriverError = Error & { code?: string; cause?: unknown }

/**
 * Describes an error in one line, without SQL and without any part of the URL: in a
 * mistyped URL, a part of the password may stand in the place of the host.
 */
export function describe(error: unknown): string {
  const { code, message, cause } = error as DriverError
  if (error instanceof CommandError) return message
  if (error instanceof InvalidOptions) return message.split('\n- ').slice(1).join('; ')
  if (kindOfFailure(error) === 'unreachable') return unreachable((cause as Error).cause as DriverError)
  if (error instanceof StoreUnavailable || error instanceof StoreRefused) return `${message}: ${reasonOf(cause as DriverError)}`
  if (code === undefined || code.startsWith('FST_')) return firstLine(withoutSql(message))
  const text = driverMessage(error as DriverError)
  return text === code ? unreachable(error as DriverError) : text
}

function unreachable(error: DriverError): string {
  const text = driverMessage(error)
  const hint = text === error.code ? ': is it running, and are host and port right?' : ''
  return `the database cannot be reached (${text})${hint}`
}

/** The reason and the remedy, with the driver's message in parentheses. */
function reasonOf({ message, cause }: DriverError): string {
  return cause === undefined ? message : `${message} (${driverMessage(cause as DriverError)})`
}

/** Messages of drivers that have no code, and nothing of the URL in them. */
const FIXED_MESSAGES: readonly RegExp[] = [
  /^The server does not support SSL connections$/,
  /^There was an error establishing an SSL connection$/,
  /^SASL: [\w-]+: client password must be a (?:non-empty )?string$/,
  /^timeout expired$/
]

/** The message of the database. An error without a code of a database comes from the socket, and its message names hosts: then the code. */
function driverMessage({ code, message }: DriverError): string {
  if (code === undefined) {
    const isFixed = FIXED_MESSAGES.some((fixed) => fixed.test(message))
    return isFixed ? message : "the driver's message is not shown, since it may repeat the URL"
  }
  return /^(?:[0-9FHPX][0-9A-Z]{4}|SQLITE_\w+|ER_\w+)$/.test(code) ? firstLine(withoutSql(message)) : code
}

/** Removes the SQL, which Knex puts before the driver's message. */
function withoutSql(message: string): string {
  return message.split(' - ').at(-1) as string
}

export function firstLine(message: string): string {
  return message.split('\n')[0] as string
}
