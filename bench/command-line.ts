/** The command lines of the benchmarks: their options, what is wrong with those, and how they are used. */
import { parseArgs } from 'node:util'
import { wrap } from '../lib/cli/text.ts'

export interface Option<T> {
  /** What stands for its value in the usage; a flag has none. */
  value?: string
  help: string
  /** Its value goes without the option's name. */
  operand?: true
  /** @param texts its values, in their order @throws UsageError */
  read(texts: readonly string[]): T
}

export interface Program<Options extends Record<string, Option<unknown>>> {
  /** As it is typed. */
  command: string
  about: string
  options: Options
}

type Values<Options extends Record<string, Option<unknown>>> = { [Name in keyof Options]: ReturnType<Options[Name]['read']> }

class UsageError extends Error {}

const expected = (what: string, text: string) => new UsageError(`expected ${what}, got ${JSON.stringify(text)}`)

function checkNames(texts: readonly string[], known: readonly string[]): void {
  const unknown = texts.find((text) => !known.includes(text))
  if (unknown !== undefined) throw expected(`one of ${known.join(', ')}`, unknown)
}

/** Several of the names that are known, separated by commas: all of them by default. */
export function names<Name extends string>(known: readonly Name[], help: string): Option<ReadonlySet<Name>> {
  return {
    value: 'NAMES',
    help: `${help}, separated by commas: ${known.join(', ')} (default: all)`,
    read(texts) {
      const given = texts.flatMap((text) => text.split(','))
      checkNames(given, known)
      return new Set(given.length === 0 ? known : (given as Name[]))
    }
  }
}

export function oneOf<Name extends string>(known: readonly Name[], fallback: Name, help: string): Option<Name> {
  return {
    value: 'NAME',
    help: `${help}: ${known.join(', ')} (default: ${fallback})`,
    read(texts) {
      checkNames(texts, known)
      return (texts.at(-1) as Name | undefined) ?? fallback
    }
  }
}

export function count<Fallback extends number | undefined>(least: number, fallback: Fallback, help: string): Option<number | Fallback> {
  return {
    value: 'N',
    help: fallback === undefined ? help : `${help} (default: ${fallback})`,
    read(texts) {
      const wrong = texts.find((text) => !/^\d{1,9}$/.test(text) || Number(text) < least)
      if (wrong !== undefined) throw expected(`a whole number from ${least}`, wrong)
      const text = texts.at(-1)
      return text === undefined ? fallback : Number(text)
    }
  }
}

export function folder(help: string): Option<string | undefined> {
  return { value: 'FOLDER', help, read: (texts) => texts.at(-1) }
}

export function flag(help: string): Option<boolean> {
  return { help, read: (texts) => texts.length > 0 }
}

/** The options of the process. Ends it with the usage where that is asked for, and with status 2 where something is wrong. */
export function commandLine<Options extends Record<string, Option<unknown>>>(program: Program<Options>): Values<Options> {
  try {
    return parse(program, process.argv.slice(2))
  } catch (error) {
    if (error instanceof UsageError) return refuse(program, error.message)
    throw error
  }
}

/** Ends the process: its options do not go together. */
export function refuse(program: Program<Record<string, Option<unknown>>>, problem: string): never {
  console.error(`${problem}\n\n${usage(program)}`)
  process.exit(2)
}

function parse<Options extends Record<string, Option<unknown>>>(program: Program<Options>, args: string[]): Values<Options> {
  const entries = Object.entries(program.options)
  const named = Object.fromEntries(entries.filter(([, { operand }]) => !operand))
  const { tokens } = parseArgs({ args, options: parserOptions(named), strict: false, tokens: true })
  const operand = entries.find(([, option]) => option.operand)?.[0]
  const texts = new Map<string, string[]>(entries.map(([name]) => [name, []]))
  for (const token of tokens) {
    if (token.kind === 'option-terminator') continue
    if (token.kind === 'option' && token.name === 'help') {
      console.log(usage(program))
      process.exit()
    }
    const name = token.kind === 'option' ? checkOption(named, token) : operand
    if (name === undefined) throw expected('options only', token.value as string)
    texts.get(name)?.push(token.value ?? '')
  }
  return Object.fromEntries(
    entries.map(([name, option]) => [name, readOption(name, option, texts.get(name) as string[])])
  ) as Values<Options>
}

const parserOptions = (options: Record<string, Option<unknown>>) => ({
  ...Object.fromEntries(
    Object.entries(options).map(([name, { value }]) => [name, { type: value === undefined ? ('boolean' as const) : ('string' as const) }])
  ),
  help: { type: 'boolean' as const, short: 'h' }
})

function checkOption(
  options: Record<string, Option<unknown>>,
  token: { name: string; rawName: string; value?: string | undefined }
): string {
  const option = options[token.name]
  const known = ['help', ...Object.keys(options)].map((name) => `--${name}`)
  if (option === undefined) throw expected(known.length === 1 ? 'no option but --help' : `one of ${known.join(', ')}`, token.rawName)
  if (option.value === undefined && token.value !== undefined)
    throw new UsageError(`${token.rawName}: expected no value, got ${JSON.stringify(token.value)}`)
  if (option.value !== undefined && token.value === undefined) throw new UsageError(`${token.rawName}: expected a value, got none`)
  return token.name
}

function readOption(name: string, option: Option<unknown>, texts: readonly string[]): unknown {
  try {
    return option.read(texts)
  } catch (error) {
    throw error instanceof UsageError ? new UsageError(`${option.operand ? name : `--${name}`}: ${error.message}`) : error
  }
}

/** At most 80 columns wide. */
function usage({ command, about, options }: Program<Record<string, Option<unknown>>>): string {
  const labels = Object.entries(options).map(([name, { value, operand }]) =>
    operand ? `[${name}]` : `--${name}${value === undefined ? '' : ` ${value}`}`
  )
  const rows = [
    ...labels.map((label, index) => [label, Object.values(options)[index]?.help ?? ''] as const),
    ['--help', 'Show this'] as const
  ]
  const width = Math.max(...rows.map(([label]) => label.length)) + 4
  return [
    `Usage: ${command}`,
    '',
    wrap(about, 80),
    '',
    ...rows.map(([label, help]) => `  ${label}`.padEnd(width) + wrap(help, 80, width))
  ].join('\n')
}
