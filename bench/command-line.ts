/** The command lines of the benchmarks. */
import { Argument, Command, InvalidArgumentError, Option } from 'commander'

export interface Setting<T> {
  help: string
  fallback: T
  /** The fallback as the usage has it. @default its value */
  shown?: string
  /** Reads the value, and a flag has none. @throws InvalidArgumentError */
  read?: (text: string) => T
  /** Whether the value goes without the name of the option. */
  isOperand?: boolean
}

export interface Program<Settings> {
  /** As it is typed. */
  command: string
  about: string
  settings: Settings
}

type Values<Settings> = { [Name in keyof Settings]: Settings[Name] extends Setting<infer T> ? T : never }

function checked<Name extends string>(known: readonly Name[], text: string): Name {
  const name = known.find((name) => name === text)
  if (name === undefined) throw new InvalidArgumentError(`Expected one of ${known.join(', ')}.`)
  return name
}

/** Several of the names that are known, separated by commas: all of them by default. */
export function names<Name extends string>(known: readonly Name[], help: string): Setting<ReadonlySet<Name>> {
  const read = (text: string) => new Set(text.split(',').map((name) => checked(known, name)))
  return { help: `${help}, separated by commas: ${known.join(', ')}`, fallback: new Set(known), shown: 'all', read }
}

export function oneOf<Name extends string>(known: readonly Name[], fallback: Name, help: string): Setting<Name> {
  return { help: `${help}: ${known.join(', ')}`, fallback, read: (text) => checked(known, text) }
}

export function count<Fallback extends number | undefined>(least: number, fallback: Fallback, help: string): Setting<number | Fallback> {
  return {
    help,
    fallback,
    read(text) {
      if (/^\d{1,9}$/.test(text) && Number(text) >= least) return Number(text)
      throw new InvalidArgumentError(`Expected a whole number from ${least}.`)
    }
  }
}

export function folder(help: string): Setting<string | undefined> {
  return { help, fallback: undefined, read: (text) => text }
}

export function flag(help: string): Setting<boolean> {
  return { help, fallback: false }
}

/** The options of the process. Ends it with the usage where that is asked for, and with status 2 where something is wrong. */
export function commandLine<Settings extends Record<string, Setting<unknown>>>(program: Program<Settings>): Values<Settings> {
  const command = createCommand(program).parse()
  const operands = command.registeredArguments.map((argument, index) => [argument.name(), command.processedArgs[index]])
  return { ...command.opts(), ...Object.fromEntries(operands) } as Values<Settings>
}

/** Ends the process: its options do not go together. */
export function refuse(program: Program<Record<string, Setting<unknown>>>, problem: string): never {
  return createCommand(program).error(`error: ${problem}`)
}

function createCommand({ command: name, about, settings }: Program<Record<string, Setting<unknown>>>): Command {
  const command = new Command(name).description(about).showHelpAfterError()
  command.exitOverride(({ exitCode }) => process.exit(exitCode && 2))
  for (const [name, { help, fallback, shown, read, isOperand }] of Object.entries(settings)) {
    if (read === undefined) command.addOption(new Option(`--${name}`, help).default(fallback, 'off'))
    else if (isOperand) command.addArgument(new Argument(`[${name}]`, help).default(fallback, shown).argParser(read))
    else command.addOption(new Option(`--${name} <value>`, help).default(fallback, shown).argParser(read))
  }
  return command
}
