/** Building blocks for checks of options. Every problem is a sentence that shows no value which may be secret. */
import { InvalidOptions } from '../errors.js'
import { kindOf } from '../kind-of.js'
import { suggestion } from './suggestions.js'

export type Check = readonly [expected: string, holds: (value: unknown) => boolean]

export const isText = (value: unknown): value is string => typeof value === 'string' && value !== ''

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

export const isNumberFrom =
  (least: number, most = Number.MAX_VALUE) =>
  (value: unknown): boolean =>
    typeof value === 'number' && value >= least && value <= most

export const oneOf = (...values: unknown[]): Check => [
  values.map((value) => JSON.stringify(value)).join(' or '),
  (value) => values.includes(value)
]

export const BOOLEAN: Check = ['true or false', (value) => typeof value === 'boolean']
export const FUNCTION: Check = ['a function', (value) => typeof value === 'function']
export const ABORT_SIGNAL: Check = ['an AbortSignal', (value) => value instanceof AbortSignal]

/** @throws InvalidOptions with all problems, if there are any */
export function refuse(problems: readonly string[]): void {
  if (problems.length > 0) throw new InvalidOptions(problems.map((problem) => `- ${problem}`).join('\n'))
}

/** Checks every member of an object, each of which must have a check. */
export function checkAll(options: object, checks: Record<string, Check>, prefix = ''): string[] {
  return Object.entries(options).flatMap(([name, value]) => {
    if (!Object.hasOwn(checks, name)) return [`${prefix}${name}: unknown option${suggestion(name, Object.keys(checks), prefix)}`]
    const [expected, holds] = checks[name] as Check
    return value === undefined || holds(value) ? [] : [`${prefix}${name}: expected ${expected}, got ${received(value, prefix + name)}`]
  })
}

/** Checks the named members of an object that may have others. */
export function checkSome(value: unknown, checks: Record<string, Check>, prefix: string): string[] {
  if (!isObject(value)) return []
  return checkAll(Object.fromEntries(Object.keys(checks).map((name) => [name, value[name]])), checks, prefix)
}

/** The options whose strings may be shown. The others may contain a secret by mistake, or a URL with a password. */
const SHOWN = /^(?:cookie\..*|clearExpired\..*|timeouts.*|userSessions\..*|tableName|filePath|load|onConflict|grace)$/

/** Describes a wrong value for an error, without showing what may be secret. */
export function received(value: unknown, option = ''): string {
  if (Array.isArray(value)) return `an array of ${value.length}`
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  if (!isText(value)) return kindOf(value)
  return SHOWN.test(option) ? JSON.stringify(value) : 'a string'
}
