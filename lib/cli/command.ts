/** The interface of a command, and the checks of a command line against it. */
import type { Knex } from 'knex'
import { DATABASE_OPTIONS, type OptionName, type Options } from './arguments.js'
import { UsageError } from './errors.js'
import type { Io } from './io.js'
import { listed } from './text.js'

/** The input of a command. */
export interface Task {
  knex: Knex
  options: Options
  /** The argument after the command's name. Empty for a command without one. */
  argument: string
  /** The path of a SQLite file that does not exist yet. */
  newFile: string | null
  io: Io
}

export interface Command {
  /** One line in the list of commands. */
  summary: string
  description: string
  /** A command line for the help, which adds the options of the database. */
  example: string
  /** The name of its argument, such as KEY. */
  argument?: string
  /** The options other than those of the database. */
  options: readonly OptionName[]
  exitCodes: string
  /** Whether it may create the file of a SQLite database. */
  createsFile?: boolean
  /** Runs the command and returns its exit code. */
  run(task: Task): Promise<number>
}

/**
 * Checks that a command has the options that it is given, and that they go together.
 *
 * @throws UsageError
 */
export function checkOptions(name: string, commands: Record<string, Command>, options: Options): void {
  const { options: own } = commands[name] as Command
  const known: readonly string[] = [...DATABASE_OPTIONS, ...own, 'help', 'version']
  const stray = Object.keys(options).find((option) => !known.includes(option)) as OptionName | undefined
  if (stray !== undefined) {
    const owners = Object.keys(commands).filter((other) => commands[other]?.options.includes(stray))
    throw new UsageError(`--${stray} is an option of ${listed(owners)}, not of ${name}`)
  }
  if (options['database-url'] !== undefined && options.knexfile !== undefined) {
    throw new UsageError('expected the database as either --database-url URL or --knexfile FILE, got both')
  }
  if (options.env !== undefined && options.knexfile === undefined) throw new UsageError('--env needs --knexfile FILE')
  if (options.table === '') throw new UsageError('--table: expected the name of a table, got nothing')
}

/**
 * The argument of a command. Empty for a command without one.
 *
 * @throws UsageError
 */
export function argumentOf(name: string, { argument }: Command, rest: string[]): string {
  if (argument === undefined) {
    if (rest.length > 0) throw new UsageError(`expected only options after ${name}, which start with --`)
    return ''
  }
  if (rest.length === 1) return rest[0] as string
  throw new UsageError(`expected one ${argument} after ${name}, got ${rest.length === 0 ? 'none' : rest.length}`)
}
