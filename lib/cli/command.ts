/** The shape of a command, and of what it gets to run. */
import type { Knex } from 'knex'
import type { OptionName, Options } from './arguments.js'
import type { Io } from './io.js'

export interface Task {
  knex: Knex
  options: Options
  /** The arguments after the command's name; empty for a command that takes none. */
  argument: string
  /** The path of a SQLite file that does not exist yet. */
  newFile: string | null
  io: Io
}

export interface Command {
  /** One line in the list of commands. */
  summary: string
  description: string
  /** The command with options, for its help; that of the database follows. */
  example: string
  /** The name of its argument, such as KEY. */
  argument?: string
  /** Options beside those of the database. */
  options: readonly OptionName[]
  exitCodes: string
  /** Whether it may make the file of a SQLite database. */
  createsFile?: boolean
  /** Returns the exit code. */
  run(task: Task): Promise<number>
}
