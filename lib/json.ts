/**
 * JSON as Python's `json` module writes and reads it: ASCII only, integers of any
 * size (as bigint beyond ±(2^53−1)), NaN and ±Infinity. An object can be taken
 * apart into members that keep the exact text of each value, so that what a
 * request leaves alone is written back as it was found.
 */

/** Digits from which on a number may be beyond 2^53−1. */
const LONG = 16
const SPECIAL_NUMBER = /(?:(?<![\d.eE+-])-?[1-9]\d{15,}(?![\d.eE])|NaN|-?Infinity)(?!\s*:)/g

/** @throws SyntaxError */
export function parse(text: string): unknown {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    if (text.includes('NaN') || text.includes('Infinity')) return parseSpecial(text)
    throw error
  }
  return mayBeRounded(value, text) ? parseSpecial(text) : value
}

/** Whether JSON.parse may have found integers that a number does not hold: most data is known not to have any without another search. */
function mayBeRounded(value: unknown, text: string): boolean {
  if (typeof value === 'number') return Number.isInteger(value) && !Number.isSafeInteger(value)
  if (typeof value !== 'object' || value === null) return false
  if (Array.isArray(value)) return hasLongNumber(text)
  for (const name in value) {
    const member = (value as Record<string, unknown>)[name]
    if (typeof member === 'object' && member !== null) return hasLongNumber(text)
    if (typeof member === 'number' && mayBeRounded(member, text)) return true
  }
  return false
}

/** Whether so many digits follow each other: then one of them is at a multiple of LONG, and only there they are looked for. */
function hasLongNumber(text: string): boolean {
  for (let at = 0; at < text.length; at += LONG) {
    let start = at
    let end = at
    while (isDigit(text.charCodeAt(start - 1))) start--
    while (isDigit(text.charCodeAt(end))) end++
    if (end - start >= LONG) return true
  }
  return false
}

const isDigit = (code: number) => code >= 0x30 && code <= 0x39

/** Hides special numbers from JSON.parse in strings: `n12…` is a number, `s…` was a string before. */
function parseSpecial(text: string): unknown {
  const hidden = replaceParts(
    text,
    (string) => `"s${string.slice(1)}`,
    (rest) => rest.replace(SPECIAL_NUMBER, '"n$&"')
  )
  return JSON.parse(hidden, (_name, value) => {
    if (typeof value !== 'string') return value
    return value[0] === 's' ? value.slice(1) : toNumber(value.slice(1))
  })
}

/** Replaces the strings that are values, and what lies between strings. No regular expression: V8's run out of stack on long strings. */
function replaceParts(text: string, onString: (string: string) => string, onRest: (rest: string) => string): string {
  let replaced = ''
  let at = 0
  for (let quote = text.indexOf('"'); quote !== -1; quote = text.indexOf('"', at)) {
    const end = endOfString(text, quote + 1)
    const string = text.slice(quote, end)
    const isName = text[skipSpace(text, end)] === ':'
    replaced += onRest(text.slice(at, quote)) + (isName ? string : onString(string))
    at = end
  }
  return replaced + onRest(text.slice(at))
}

function toNumber(text: string): number | bigint {
  const number = Number(text)
  return /\d/.test(text) && !Number.isSafeInteger(number) ? BigInt(text) : number
}

/**
 * `json.dumps(value, separators=(',', ':'))`: what JSON.stringify gives, with the
 * escapes of Python, and with bigint, NaN and ±Infinity as Python's JSON has them.
 *
 * @throws TypeError on functions, symbols and cycles, naming `name`
 */
export function stringify(value: unknown, name: string): string {
  if (typeof value === 'string') return quote(value)
  if (isPlainScalar(value)) return String(value)
  let special = false
  const replacer = (_key: string, item: unknown) => {
    if (typeof item === 'function' || typeof item === 'symbol') throw new TypeError(`a ${typeof item} cannot be stored`)
    if (item instanceof Promise) throw new TypeError('a promise cannot be stored, is an await missing?')
    if (typeof item === 'bigint' || (typeof item === 'number' && !Number.isFinite(item))) {
      special = true
      return `n${item}`
    }
    return item
  }
  let text: string | undefined
  try {
    text = isPlain(value) ? JSON.stringify(value) : JSON.stringify(value, replacer)
  } catch (error) {
    throw unserializable(name, (error as Error).message)
  }
  if (text === undefined) throw unserializable(name, `${typeof value} cannot be stored`)
  return escapeNonAscii(special ? stringifySpecial(value) : text)
}

/** Values that are looked at: in a circle there is no end of them. */
const MAX_LOOKS = 100_000

/** Whether JSON.stringify does right with it by itself: a function that it calls for each value makes it slow. */
function isPlain(value: unknown): boolean {
  if (typeof value !== 'object') return false
  // Not by recursion: a circle would use up the stack.
  const objects = [value as object]
  let looks = 0
  for (const object of objects) {
    if (object instanceof Promise || 'toJSON' in object) return false
    for (const item of Array.isArray(object) ? object : Object.values(object)) {
      if (++looks > MAX_LOOKS) return false
      if (isPlainScalar(item)) continue
      if (typeof item !== 'object') return false
      objects.push(item)
    }
  }
  return true
}

function isPlainScalar(value: unknown): boolean {
  return typeof value === 'string' || Number.isFinite(value) || typeof value === 'boolean' || value === null
}

/** The mirror of parseSpecial: every string gets the prefix `s`, every special number the prefix `n`. */
function stringifySpecial(value: unknown): string {
  const hidden = JSON.stringify(value, (_key, item) => {
    if (typeof item === 'string' || item instanceof String) return `s${item}`
    return typeof item === 'bigint' || (typeof item === 'number' && !Number.isFinite(item)) ? `n${item}` : item
  })
  return replaceParts(
    hidden,
    (string) => (string[1] === 'n' ? string.slice(2, -1) : `"${string.slice(2)}`),
    (rest) => rest
  )
}

function unserializable(name: string, reason: string): TypeError {
  return new TypeError(
    `Cannot store ${JSON.stringify(name)} in the session: ${reason}; expected what JSON can carry, a bigint, NaN or ±Infinity`
  )
}

/** Python's `ensure_ascii`, which escapes U+007F too. JSON.stringify has escaped control characters and lone surrogates. */
function escapeNonAscii(text: string): string {
  // A byte for each character: found out faster than by an expression.
  if (Buffer.byteLength(text) === text.length && !text.includes('\x7f')) return text
  return text.replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** One value of an object, and its exact text. */
export interface JsonMember {
  readonly text: string
  readonly value: unknown
}

/**
 * Takes a JSON object apart into its members in their order, each with its exact
 * text. Of a name that comes twice the last value counts, as in Python.
 *
 * @throws SyntaxError when the text is not one JSON object
 */
export function splitObject(text: string): Map<string, JsonMember> {
  const values = parse(text)
  if (typeof values !== 'object' || values === null || Array.isArray(values)) throw new SyntaxError('Expected a JSON object')
  // Who only reads values needs no texts.
  let found: Map<string, string> | undefined
  const texts = () => {
    found ??= textsOf(text)
    return found
  }
  const names = Object.keys(values)
  const members = new Map<string, JsonMember>()
  // Objects have names that could be an array's indexes first: then the order is that of the texts.
  for (const name of names.some(isIndex) ? texts().keys() : names) {
    members.set(name, new ParsedMember(name, (values as Record<string, unknown>)[name], texts))
  }
  return members
}

/** Whether it may be an index: what begins with a digit. */
const isIndex = (name: string) => name >= '0' && name < ':'

/** A member that was read: its text is looked for when somebody wants it. */
class ParsedMember implements JsonMember {
  readonly value: unknown
  readonly #name: string
  readonly #texts: () => Map<string, string>

  constructor(name: string, value: unknown, texts: () => Map<string, string>) {
    this.value = value
    this.#name = name
    this.#texts = texts
  }

  get text(): string {
    return this.#texts().get(this.#name) as string
  }
}

/** The text of each member of an object that is known to be well formed. */
function textsOf(text: string): Map<string, string> {
  const texts = new Map<string, string>()
  for (let quote = text.indexOf('"'), end: number; quote !== -1; quote = text.indexOf('"', end)) {
    const nameEnd = endOfString(text, quote + 1)
    const start = skipSpace(text, skipSpace(text, nameEnd) + 1)
    end = endOfValue(text, start)
    texts.set(unquote(text.slice(quote, nameEnd)), text.slice(start, end))
  }
  return texts
}

/** The inverse of splitObject, written as Python writes it. */
export function joinObject(members: Iterable<readonly [string, JsonMember]>): string {
  let text = ''
  for (const [name, member] of members) {
    text += `${text === '' ? '{' : ','}${quote(name)}:${member.text}`
  }
  return text === '' ? '{}' : `${text}}`
}

/** Most strings need no escapes, and then no help. */
function quote(string: string): string {
  return /^[ !#-[\]-~]*$/.test(string) ? `"${string}"` : escapeNonAscii(JSON.stringify(string))
}

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c
const OPENING_BRACE = 0x7b
const CLOSING_BRACE = 0x7d
const OPENING_BRACKET = 0x5b
const CLOSING_BRACKET = 0x5d

/** In well-formed JSON, what is not above the space is white space. */
const SPACE = 0x20

function skipSpace(text: string, from: number): number {
  let at = from
  while (text.charCodeAt(at) <= SPACE) at++
  return at
}

function unquote(string: string): string {
  return string.includes('\\') ? (JSON.parse(string) as string) : string.slice(1, -1)
}

/** Where the string ends whose first character, after the opening quote, is at `from`. */
export function endOfString(text: string, from: number): number {
  for (let quote = text.indexOf('"', from); quote !== -1; quote = text.indexOf('"', quote + 1)) {
    let backslashes = 0
    while (text.charCodeAt(quote - 1 - backslashes) === BACKSLASH) backslashes++
    if (backslashes % 2 === 0) return quote + 1
  }
  throw new SyntaxError('Unterminated string in the JSON text')
}

function endOfValue(text: string, start: number): number {
  const first = text.charCodeAt(start)
  if (first === QUOTE) return endOfString(text, start + 1)
  if (first === OPENING_BRACE || first === OPENING_BRACKET) return endOfContainer(text, start)
  let end = start
  for (let code = first; code > SPACE && code !== COMMA && code !== CLOSING_BRACE; code = text.charCodeAt(end)) end++
  return end
}

function endOfContainer(text: string, start: number): number {
  let depth = 0
  for (let at = start; ; at++) {
    const code = text.charCodeAt(at)
    if (code === QUOTE) at = endOfString(text, at + 1) - 1
    else if (code === OPENING_BRACE || code === OPENING_BRACKET) depth++
    else if (code === CLOSING_BRACE || code === CLOSING_BRACKET) depth--
    if (depth === 0) return at + 1
  }
}
