/** Errors of the command line, and any error in one line. */
import { InvalidOptions, StoreRefused, StoreUnavailable } from '../errors.js'

/** The command line is wrong: exit code 2. */
export class UsageError extends Error {}

/** An error in words of our own, which are shown as they are: exit code 1. */
export class CommandError extends Error {}

type DriverError = Error & { code?: string; cause?: unknown }

/** One line that holds no SQL and nothing of the URL: in a mistyped one, parts of the password stand where the host belongs. */
export function describe(error: unknown): string {
  const { code, message, cause } = error as DriverError
  if (error instanceof CommandError) return message
  if (error instanceof InvalidOptions) return message.split('\n- ').slice(1).join('; ')
  if (error instanceof StoreUnavailable || error instanceof StoreRefused) return `${message}: ${reasonOf(cause as DriverError)}`
  if (code === undefined || code.startsWith('FST_')) return firstLine(withoutSql(message))
  const text = driverMessage(error as DriverError)
  return text === code ? `the database cannot be reached (${code}): is it running, and are host and port right?` : text
}

/** The reason and the remedy, and in parentheses what the driver said. */
function reasonOf({ message, cause }: DriverError): string {
  return cause === undefined ? message : `${message} (${driverMessage(cause as DriverError)})`
}

/** The database's own message, with its SQLSTATE, or a code of SQLite or MySQL. Others come from the socket and name hosts: then the code. */
function driverMessage({ code, message }: DriverError): string {
  if (code === undefined) return 'no reason given'
  return /^(?:[0-9FHPX][0-9A-Z]{4}|SQLITE_\w+|ER_\w+)$/.test(code) ? firstLine(withoutSql(message)) : code
}

/** Knex puts the SQL before the driver's own message. */
function withoutSql(message: string): string {
  return message.split(' - ').at(-1) as string
}

export function firstLine(message: string): string {
  return message.split('\n')[0] as string
}
