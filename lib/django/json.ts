/**
 * JSON as Python's `json` module reads it. An object can be taken apart into members
 * that keep the exact text of each value, so that a value that a request leaves alone
 * is written back as it was found.
 */
import { endOfString, readJson } from './json-reader.js'
import { quote } from './json-writer.js'

/** The shortest integer beyond 2^53−1 has 16 digits. JSON.parse would round it. */
const LONG_NUMBER = /\d{16}/

/**
 * JSON.parse, with bigint for integers beyond ±(2^53−1), NaN and ±Infinity.
 *
 * @throws SyntaxError
 */
export function parse(text: string): unknown {
  if (LONG_NUMBER.test(text)) return readJson(text)
  try {
    return JSON.parse(text)
  } catch (error) {
    if (text.includes('NaN') || text.includes('Infinity')) return readJson(text)
    throw error
  }
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
  // A caller that only reads values needs no texts.
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

const QUOTE = 0x22
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
