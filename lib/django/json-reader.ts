/**
 * Parser for what JSON.parse cannot read exactly, as in Python's `json.loads`: integers of any
 * size (bigint beyond ±(2^53−1)), NaN and ±Infinity. It is not recursive, so that deep nesting
 * cannot overflow the stack.
 */

type Container = unknown[] | Record<string, unknown>

const CONTROL_CHARACTER = /[^ -\uffff]/

const SPACE = 0x20
const QUOTE = 0x22
const PLUS = 0x2b
const COMMA = 0x2c
const MINUS = 0x2d
const POINT = 0x2e
const ZERO = 0x30
const NINE = 0x39
const COLON = 0x3a
const OPENING_BRACKET = 0x5b
const BACKSLASH = 0x5c
const CLOSING_BRACKET = 0x5d
const LOWER_CASE = 0x20
const LOWER_E = 0x65
const OPENING_BRACE = 0x7b
const CLOSING_BRACE = 0x7d

/**
 * Parses JSON.
 *
 * @throws SyntaxError without any part of the text
 */
export function readJson(text: string): unknown {
  return new JsonReader(text).read()
}

class JsonReader {
  readonly #text: string
  /** Whether the text contains a control character, which strings must not. Most texts have none, so their strings need no check. */
  readonly #hasControls: boolean
  #at = 0
  /** The name of the next value in the current object. */
  #name = ''

  constructor(text: string) {
    this.#text = text
    this.#hasControls = CONTROL_CHARACTER.test(text)
  }

  read(): unknown {
    const root: unknown[] = []
    const parents: Container[] = []
    let container: Container = root
    for (;;) {
      const value = this.#readValue()
      add(container, this.#name, value)
      if (typeof value === 'object' && value !== null && !this.#skip(Array.isArray(value) ? CLOSING_BRACKET : CLOSING_BRACE)) {
        parents.push(container)
        container = value as Container
        this.#readName(container)
        continue
      }
      while (container !== root && !this.#skip(COMMA)) {
        this.#expect(Array.isArray(container) ? CLOSING_BRACKET : CLOSING_BRACE)
        container = parents.pop() as Container
      }
      if (container === root) return this.#end(root[0])
      this.#readName(container)
    }
  }

  #end(value: unknown): unknown {
    this.#skipSpace()
    if (this.#at < this.#text.length) throw this.#error()
    return value
  }

  /** Reads a value. Of an array or object, only the opening bracket: the result is still empty. */
  #readValue(): unknown {
    const code = this.#skipSpace()
    if (code === QUOTE) return this.#readString()
    if ((code >= ZERO && code <= NINE) || code === MINUS) return this.#readNumber()
    if (code === OPENING_BRACKET || code === OPENING_BRACE) {
      this.#at++
      return code === OPENING_BRACKET ? [] : {}
    }
    return this.#readWord()
  }

  #readWord(): unknown {
    for (const [word, value] of WORDS) {
      if (!this.#text.startsWith(word, this.#at)) continue
      this.#at += word.length
      return value
    }
    throw this.#error()
  }

  #readName(container: Container): void {
    if (Array.isArray(container)) return
    if (this.#skipSpace() !== QUOTE) throw this.#error()
    this.#name = this.#readString()
    this.#expect(COLON)
  }

  #readString(): string {
    const start = this.#at + 1
    let end = this.#text.indexOf('"', start)
    const string = this.#text.slice(start, end)
    if (end === -1) throw this.#error()
    if (!string.includes('\\')) {
      this.#at = end + 1
      if (this.#hasControls && CONTROL_CHARACTER.test(string)) throw this.#error()
      return string
    }
    end = endOfString(this.#text, start)
    this.#at = end
    return JSON.parse(this.#text.slice(start - 1, end))
  }

  #readNumber(): number | bigint {
    const start = this.#at
    const isNegative = this.#text.charCodeAt(start) === MINUS
    if (isNegative) this.#at++
    const digits = this.#at
    const integer = this.#readDigits()
    const length = this.#at - digits
    if (length === 0 && isNegative) return this.#readNegativeInfinity()
    if (length > 1 && this.#text.charCodeAt(digits) === ZERO) throw this.#error()
    if (this.#readFraction()) return Number(this.#text.slice(start, this.#at))
    // A long integer was rounded while it was read. It is not safe either before or after rounding.
    if (!Number.isSafeInteger(integer)) return BigInt(this.#text.slice(start, this.#at))
    return isNegative ? -integer : integer
  }

  #readNegativeInfinity(): number {
    if (this.#readWord() !== Number.POSITIVE_INFINITY) throw this.#error()
    return Number.NEGATIVE_INFINITY
  }

  /** Reads a fraction and an exponent. False if there is neither. */
  #readFraction(): boolean {
    const start = this.#at
    if (this.#text.charCodeAt(this.#at) === POINT) this.#readSomeDigits()
    if ((this.#text.charCodeAt(this.#at) | LOWER_CASE) === LOWER_E) {
      const sign = this.#text.charCodeAt(this.#at + 1)
      if (sign === PLUS || sign === MINUS) this.#at++
      this.#readSomeDigits()
    }
    return this.#at > start
  }

  /** Skips one character, and then at least one digit. */
  #readSomeDigits(): void {
    const start = ++this.#at
    this.#readDigits()
    if (this.#at === start) throw this.#error()
  }

  /** Reads digits as a number, which is rounded if it is not a safe integer. */
  #readDigits(): number {
    const text = this.#text
    let at = this.#at
    let number = 0
    for (let code = text.charCodeAt(at); code >= ZERO && code <= NINE; code = text.charCodeAt(++at)) number = number * 10 + (code - ZERO)
    this.#at = at
    return number
  }

  #skip(code: number): boolean {
    if (this.#skipSpace() !== code) return false
    this.#at++
    return true
  }

  #expect(code: number): void {
    if (!this.#skip(code)) throw this.#error()
  }

  #skipSpace(): number {
    let code = this.#text.charCodeAt(this.#at)
    while (code === SPACE || code === 0x0a || code === 0x0d || code === 0x09) code = this.#text.charCodeAt(++this.#at)
    return code
  }

  #error(): SyntaxError {
    return new SyntaxError(`Expected JSON, got something else at position ${this.#at}`)
  }
}

const WORDS: readonly [string, unknown][] = [
  ['NaN', Number.NaN],
  ['null', null],
  ['true', true],
  ['false', false],
  ['Infinity', Number.POSITIVE_INFINITY]
]

function add(container: Container, name: string, value: unknown): void {
  if (Array.isArray(container)) container.push(value)
  else if (name === '__proto__') Object.defineProperty(container, name, { value, writable: true, enumerable: true, configurable: true })
  else container[name] = value
}

/** The position after the closing quote of a string that begins at `from`, after its opening quote. */
export function endOfString(text: string, from: number): number {
  for (let quote = text.indexOf('"', from); quote !== -1; quote = text.indexOf('"', quote + 1)) {
    let backslashes = 0
    while (text.charCodeAt(quote - 1 - backslashes) === BACKSLASH) backslashes++
    if (backslashes % 2 === 0) return quote + 1
  }
  throw new SyntaxError('Unterminated string in the JSON text')
}
