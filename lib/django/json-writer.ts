/**
 * Writes JSON as Python's `json.dumps(value, separators=(',', ':'))` does: ASCII only, bigint as
 * an integer of any size, NaN and ±Infinity as words. Values of which JSON would silently make
 * `{}` or `null` are refused.
 */
import { types } from 'node:util'

/** Levels of nesting. Python before 3.12 reads fewer than 1000, less those of the functions that call it. */
const MAX_DEPTH = 500

/** Values that isPlain looks at: objects that contain each other have no end. */
const MAX_LOOKS = 100_000

/** Digits of an integer: Python reads no more (`sys.set_int_max_str_digits`). */
const MAX_DIGITS = 4300

/** The least integer that a number may stand for without being it. */
const UNSAFE = 2 ** 53

/** From here on Python writes floats with an exponent. */
const EXPONENTIAL = 1e16

/**
 * @param name the key of the session, for the error
 * @throws TypeError for values that JSON cannot carry, at any depth: functions, symbols, promises, cycles, more
 * than 500 levels, undefined in arrays, invalid dates, and instances without toJSON() or enumerable properties
 */
export function stringify(value: unknown, name: string): string {
  if (typeof value === 'string') return quote(value)
  if (isPlainScalar(value)) return String(value)
  const text = attempt(name, () => (isPlain(value) ? escapeNonAscii(JSON.stringify(value)) : new JsonWriter().write(value, '')))
  if (text === undefined) throw unstorable(name, 'undefined, or a toJSON() that returns it, cannot be stored')
  return text
}

/** A JSON string in ASCII. Most strings need no escapes. */
export function quote(string: string): string {
  return /^[ !#-[\]-~]*$/.test(string) ? `"${string}"` : escapeNonAscii(JSON.stringify(string))
}

/** Python's `ensure_ascii`, which escapes U+007F too. JSON.stringify has escaped control characters and lone surrogates. */
function escapeNonAscii(text: string): string {
  // One byte for each character: comparing lengths is faster than a regular expression.
  if (Buffer.byteLength(text) === text.length && !text.includes('\x7f')) return text
  return text.replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

// --- data that JSON.stringify writes as it should be ---------------------------------

/** Whether the value is nothing but plain objects, arrays and plain scalars: much faster to find out than to write it here. */
function isPlain(value: unknown): boolean {
  if (typeof value !== 'object') return false
  // Level by level and not by recursion: a cycle would use up the stack.
  const objects = [value as object]
  let depth = 1
  let endOfLevel = 1
  let looks = 0
  for (let index = 0; index < objects.length; index++) {
    if (index === endOfLevel) {
      endOfLevel = objects.length
      depth++
    }
    const object = objects[index] as object
    if (depth > MAX_DEPTH || 'toJSON' in object || !isPlainContainer(object)) return false
    const items = Array.isArray(object) ? object : Object.values(object)
    looks += items.length
    if (looks > MAX_LOOKS) return false
    for (let at = 0; at < items.length; at++) {
      const item = items[at]
      if (isPlainScalar(item)) continue
      if (typeof item !== 'object') return false
      objects.push(item)
    }
  }
  return true
}

function isPlainScalar(value: unknown): boolean {
  return (
    typeof value === 'string' ||
    (typeof value === 'number' && value > -UNSAFE && value < UNSAFE) ||
    typeof value === 'boolean' ||
    value === null
  )
}

function isPlainContainer(object: object): boolean {
  return Array.isArray(object) || isPlainObject(object)
}

/** Whether the value is an object without a class. Object.prototype of another realm has no prototype either. */
export function isPlainObject(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  const prototype: object | null = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null || Object.getPrototypeOf(prototype) === null
}

// --- everything else ------------------------------------------------------------------

class JsonWriter {
  /** The objects around the current value. */
  readonly #ancestors = new Set<object>()

  /** Undefined for a value that JSON leaves out of objects. */
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
    if (this.#ancestors.has(value)) throw new Unstorable('it contains itself')
    if (this.#ancestors.size >= MAX_DEPTH) throw new Unstorable(`it is nested more than ${MAX_DEPTH} levels deep`)
    this.#ancestors.add(value)
    const text = Array.isArray(value) ? this.#writeItems(value) : this.#writeMembers(value)
    this.#ancestors.delete(value)
    return text
  }

  #writeItems(items: unknown[]): string {
    let text = ''
    for (let index = 0; index < items.length; index++) {
      const item = this.write(items[index], String(index))
      if (item === undefined) throw new Unstorable('an array with undefined in it, or a hole, cannot be stored')
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

/** Numbers beyond ±(2^53−1) get the form of Python's floats, so that they stay numbers when they are read. */
function writeNumber(number: number): string {
  if (!Number.isInteger(number) || Math.abs(number) < UNSAFE) return String(number)
  return Math.abs(number) < EXPONENTIAL ? `${number}.0` : number.toExponential()
}

function writeInteger(integer: bigint): string {
  const text = String(integer)
  if (text.replace('-', '').length > MAX_DIGITS)
    throw new Unstorable(`a bigint of more than ${MAX_DIGITS} digits, which Python does not read, cannot be stored`)
  return text
}

type Convertible = { toJSON?: unknown; then?: unknown }

/** The value that JSON writes for an object: the object itself, or the result of its toJSON(). */
function convert(object: object, key: string): unknown {
  if (Buffer.isBuffer(object)) throw opaque(object)
  if (!isPlainContainer(object) && typeof (object as Convertible).then === 'function') {
    throw new Unstorable('a promise cannot be stored, is an await missing?')
  }
  const { toJSON } = object as Convertible
  const value = typeof toJSON === 'function' ? toJSON.call(object, key) : object
  if (value === null) throw new Unstorable(`${nameOf(object)} of which JSON makes null, such as an invalid date, cannot be stored`)
  if (typeof value === 'object' && !isPlainContainer(value) && isOpaque(value)) throw opaque(value)
  return value
}

/** Objects whose content is not in their properties, also where a subclass adds some. */
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

// --- errors ---------------------------------------------------------------------------

/** A reason that may be shown: it holds no data. */
class Unstorable extends Error {}

function opaque(object: object): Unstorable {
  return new Unstorable(`${nameOf(object)}, whose content JSON does not carry, cannot be stored`)
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
    // The message of a getter or of a toJSON() may hold anything.
    throw unstorable(name, 'reading its content failed', { cause: error })
  }
}

function unstorable(name: string, reason: string, options?: ErrorOptions): TypeError {
  return new TypeError(
    `Cannot store ${JSON.stringify(name)} in the session: ${reason}; convert it to something that JSON can carry, a bigint, NaN or ±Infinity`,
    options
  )
}
