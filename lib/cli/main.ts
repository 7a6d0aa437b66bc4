/** The command line: chooses a command, connects to the database and runs the command. */
import { readFile } from 'node:fs/promises'
import { parse } from './arguments.js'
import { check } from './check.js'
import { clearSessions } from './clearsessions.js'
import { argumentOf, type Command, checkOptions } from './command.js'
import { connect } from './database.js'
import { describe, UsageError } from './errors.js'
import { commandHelp, overview } from './help.js'
import { type Io, print, styled, widthOf } from './io.js'
import { migrate, rollback } from './migrate.js'
import { sessions } from './sessions.js'
import { show } from './show.js'
import { nearest, wrap } from './text.js'

const COMMANDS: Record<string, Command> = { migrate, rollback, clearsessions: clearSessions, show, sessions, check }

/** The beginning of every error. */
const PREFIX = 'fastify-django-sessions:'

/** Runs a command line and returns the exit code: 0 done, 1 failed, 2 wrong usage. */
export async function main(args: string[], io: Io): Promise<number> {
  try {
    return await dispatch(args, io)
  } catch (error) {
    const isUsage = error instanceof UsageError
    const message = isUsage ? `${error.message}${error.message.endsWith('?') ? '' : '.'} See --help` : describe(error)
    const text = wrap(`${PREFIX} ${message}`, widthOf(io.stderr))
    print(io.stderr, styled(io.stderr, 'red', PREFIX) + text.slice(PREFIX.length))
    return isUsage ? 2 : 1
  }
}

async function dispatch(args: string[], io: Io): Promise<number> {
  const { values: options, positionals } = parse(args)
  const [name, ...rest] = positionals
  if (options.version) return answer(io, await version())
  if (name === undefined) {
    answer(io, overview(COMMANDS, io))
    // As in git and npm: a script whose variable is empty must not succeed.
    return options.help ? 0 : 2
  }
  if (name === 'help') return answer(io, helpOn(rest[0], io))
  const command = commandOf(name)
  if (options.help) return answer(io, helpOn(name, io))
  const argument = argumentOf(name, command, rest)
  checkOptions(name, COMMANDS, options)
  const { knex, newFile } = await connect(options, io.env, command.createsFile)
  try {
    return await command.run({ knex, options, argument, newFile, io })
  } finally {
    await knex.destroy()
  }
}

function helpOn(name: string | undefined, io: Io): string {
  return name === undefined ? overview(COMMANDS, io) : commandHelp(name, commandOf(name), io)
}

function commandOf(name: string): Command {
  if (Object.hasOwn(COMMANDS, name)) return COMMANDS[name] as Command
  const near = nearest(name, Object.keys(COMMANDS))
  // The message must not repeat the argument, which may be a URL with a password.
  if (near !== undefined) throw new UsageError(`there is no such command, did you mean ${near}?`)
  throw new UsageError(`expected one of the commands ${Object.keys(COMMANDS).join(', ')}`)
}

async function version(): Promise<string> {
  return JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8')).version
}

function answer(io: Io, text: string): number {
  print(io.stdout, text)
  return 0
}
