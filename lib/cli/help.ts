/** The help texts, at most 80 columns wide. */
import { DATABASE_OPTIONS, EXAMPLE_URL, OPTIONS, type OptionName } from './arguments.js'
import type { Command } from './command.js'
import { type Io, styled, widthOf } from './io.js'
import { wrap } from './text.js'

const NAME = 'fastify-django-sessions'
const widest = ({ stdout }: Io) => Math.min(80, widthOf(stdout))

/** The help of the whole command line. */
export function overview(commands: Record<string, Command>, io: Io): string {
  const list = Object.entries(commands).map(([name, { argument, summary }]): [string, string] => [withArgument(name, argument), summary])
  return [
    `${heading(io, 'Usage:')} ${NAME} <command> [options]`,
    section(io, 'Commands:', list),
    section(io, 'The database:', DATABASE_OPTIONS.map(optionRow)),
    section(io, 'Other options:', (['help', 'version'] as const).map(optionRow)),
    `The options of a command: ${NAME} help <command>\n\nExit codes: 0 done, 1 failed, 2 wrong usage`
  ].join('\n\n')
}

export function commandHelp(name: string, { argument, description, example, options, exitCodes }: Command, io: Io): string {
  const parts = [
    `${heading(io, 'Usage:')} ${NAME} ${withArgument(name, argument)} [options]`,
    ...description.split('\n').map((paragraph) => wrap(paragraph, widest(io))),
    section(io, 'The database:', DATABASE_OPTIONS.map(optionRow)),
    `${heading(io, 'Example:')}\n  ${NAME} ${example} \\\n    --database-url ${EXAMPLE_URL}`,
    wrap(`Exit codes: ${exitCodes}, 2 wrong usage`, widest(io), 2)
  ]
  if (options.length > 0) parts.splice(-2, 0, section(io, 'Other options:', options.map(optionRow)))
  return parts.join('\n\n')
}

const withArgument = (name: string, argument: string | undefined) => (argument === undefined ? name : `${name} ${argument}`)

function optionRow(name: OptionName): [string, string] {
  const option = OPTIONS[name]
  const short = 'short' in option ? `-${option.short}, ` : ''
  return ['value' in option ? `--${name} ${option.value}` : `${short}--${name}`, option.help]
}

/** A title with a table of two columns. */
function section(io: Io, title: string, rows: readonly [string, string][]): string {
  const width = Math.max(...rows.map(([left]) => left.length)) + 4
  const lines = rows.map(([left, right]) => `  ${left}`.padEnd(width) + wrap(right, widest(io), width))
  return [heading(io, title), ...lines].join('\n')
}

function heading(io: Io, text: string): string {
  return styled(io.stdout, 'bold', text)
}
