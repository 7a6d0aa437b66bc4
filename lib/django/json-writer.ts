/**
 * Serializer for JSON as Python's `json.dumps(value, separators=(',', ':'))` writes it: ASCII
 * only, a bigint as an integer, NaN and ±Infinity as words. It refuses values that JSON.stringify
 * would silently turn into `{}` or `null`.
 */
import { types } from 'node:util'

/** The maximum depth of nesting. Before Python 3.12 the limit is 1000, less the depth of the call stack. */
const MAX_DEPTH = 500

/** The maximum number of digits of an integer that Python reads (`sys.set_int_max_str_digits`). */
const MAX_DIGITS = 4300

/** The least integer that may be the result of rounding. */
const UNSAFE = 2 ** 53

/** The least float that Python writes with an exponent. */
const EXPONENTIAL = 1e16

/**
 * Serializes a value.
 *
 * @param name the key of the value in the session, for the error
 * @throws TypeError for values that JSON cannot represent, at any depth: functions, symbols, promises, cycles, more
 * than 500 levels, undefined in arrays, invalid dates, and instances without toJSON() or enumerable properties
 */
export function stringify(value: unknown, name: string): string {
  const text = attempt(name, () => new JsonWriter().write(value, ''))
  if (text === undefined) throw unstorable(name, 'undefined, or an object whose toJSON() returns undefined, cannot be stored')
  return text
}

/** Serializes a string, in ASCII. Most strings need no escapes. */
export function quote(string: string): string {
  return /^[ !#-[\]-~]*$/.test(string) ? `"${string}"` : escapeNonAscii(JSON.stringify(string))
}

/** Python's `ensure_ascii`, which also escapes U+007F. JSON.stringify has escaped control characters and lone surrogates already. */
function escapeNonAscii(text: string): string {
  return text.replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

function isPlainContainer(object: object): boolean {
  return Array.isArray(object) || isPlainObject(object)
}

/** Whether a value is a plain object, also one of another realm, whose Object.prototype has no prototype either. */
export function isPlainObject(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  const prototype: object | null = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null || Object.getPrototypeOf(prototype) === null
}

class JsonWriter {
  /** The objects that contain the current value. */
  readonly #ancestors: object[] = []

  /** Serializes a value. Undefined for one that JSON omits from objects. */
  write(value: unknown, key: string): string | undefined {
    if (typeof value === 'string') return quote(value)
    if (typeof value === 'number') return writeNumber(value)
    if (typeof value === 'bigint') return writeInteger(value)
    if (typeof value === 'function' || typeof value === 'symbol') throw new Unstorable(`a ${typeof value} cannot be stored`)
    if (typeof value === 'object' && value !== null) return this.#writeObject(value, key)
    return value === undefined ? undefined : String(value)
  }

  #writeObject(object: object, key: string): string | undefined {
    const value = convert(object, key)
    if (typeof value !== 'object' || value === null) return this.write(value, key)
    if (this.#ancestors.length === MAX_DEPTH) throw this.#tooDeep()
    this.#ancestors.push(value)
    const text = Array.isArray(value) ? this.#writeItems(value) : this.#writeMembers(value)
    this.#ancestors.pop()
    return text
  }

  /** A cycle reaches the limit too. Looking for cycles only here makes all other values a third faster to write. */
  #tooDeep(): Unstorable {
    const isCycle = new Set(this.#ancestors).size < MAX_DEPTH
    return new Unstorable(isCycle ? 'it contains itself' : `it is nested more than ${MAX_DEPTH} levels deep`)
  }

  #writeItems(items: unknown[]): string {
    let text = ''
    for (let index = 0; index < items.length; index++) {
      const item = this.write(items[index], String(index))
      if (item === undefined) throw new Unstorable('an array with undefined or a hole in it cannot be stored')
      text += text === '' ? item : `,${item}`
    }
    return `[${text}]`
  }

  #writeMembers(object: object): string {
    let text = ''
    for (const name of Object.keys(object)) {
      const value = this.write((object as Record<string, unknown>)[name], name)
      if (value !== undefined) text += `${text === '' ? '' : ','}${quote(name)}:${value}`
    }
    return `{${text}}`
  }
}

/** Numbers beyond ±(2^53−1) are written as floats of Python, so that they do not become bigint when they are read. */
function writeNumber(number: number): string {
  if (!Number.isInteger(number) || Math.abs(number) < UNSAFE) return String(number)
  return Math.abs(number) < EXPONENTIAL ? `${number}.0` : number.toExponential()
}

function writeInteger(integer: bigint): string {
  const text = String(integer)
  if (text.replace('-', '').length > MAX_DIGITS)
    throw new Unstorable(`a bigint of more than ${MAX_DIGITS} digits, which Python cannot read, cannot be stored`)
  return text
}

type Convertible = { toJSON?: unknown; then?: unknown }

/** The value to write for an object: the object itself, or the result of its toJSON(). */
function convert(object: object, key: string): unknown {
  const { toJSON, then } = object as Convertible
  if (typeof toJSON !== 'function' && isPlainContainer(object)) return object
  if (Buffer.isBuffer(object)) throw opaque(object)
  if (typeof then === 'function' && !isPlainContainer(object)) throw new Unstorable('a promise cannot be stored, is an await missing?')
  const value = typeof toJSON === 'function' ? toJSON.call(object, key) : object
  if (value === null) throw new Unstorable(`${nameOf(object)} that becomes null in JSON, such as an invalid date, cannot be stored`)
  if (typeof value === 'object' && !isPlainContainer(value) && isOpaque(value)) throw opaque(value)
  return value
}

/** Objects whose content is not in their properties, even if a subclass adds properties. */
const OPAQUE: readonly ((value: unknown) => boolean)[] = [
  types.isMap,
  types.isSet,
  types.isWeakMap,
  types.isWeakSet,
  types.isRegExp,
  types.isAnyArrayBuffer,
  types.isBoxedPrimitive,
  ArrayBuffer.isView,
  (value) => value instanceof Error
]

function isOpaque(value: object): boolean {
  return OPAQUE.some((isKind) => isKind(value)) || Object.keys(value).length === 0
}

/** A reason without any data, which may be shown. */
class Unstorable extends Error {}

function opaque(object: object): Unstorable {
  return new Unstorable(`${nameOf(object)}, whose content is lost in JSON, cannot be stored`)
}

function nameOf(object: object): string {
  const type: unknown = object.constructor
  return typeof type === 'function' && type.name !== '' ? `an instance of ${type.name}` : 'an instance of a class'
}

function attempt(name: string, write: () => string | undefined): string | undefined {
  try {
    return write()
  } catch (error) {
    if (error instanceof Unstorable) throw unstorable(name, error.message)
    // The message of an error in a getter or a toJSON() may contain data.
    throw unstorable(name, 'reading its content failed', { cause: error })
  }
}

function unstorable(name: string, reason: string, options?: ErrorOptions): TypeError {
  return new TypeError(
    `Cannot store ${JSON.stringify(name)} in the session: ${reason}; convert it to a JSON value, a bigint, NaN or ±Infinity`,
    options
  )
}
