/** Formats of the stored JSON of a session for output. Numbers stay exact, and control characters are escaped. */
import { endOfString } from '../django/json-reader.js'

const PUNCTUATION_OR_WORD = /\s*([{}[\],:]|[^\s"{}[\],:]+|(?="))/y

/** Characters that could change the terminal, such as its cursor, colours or writing direction, and characters that no font has. */
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]/gu

/** JSON with line breaks and two spaces of indentation. */
export function pretty(json: string): string {
  let text = ''
  let depth = 0
  let before = ''
  const newLine = () => `\n${'  '.repeat(depth)}`
  for (const token of tokens(json)) {
    if ('}]'.includes(token)) {
      depth--
      text += '{['.includes(before) ? token : newLine() + token
    } else {
      if ('{[,'.includes(before) && before !== '') text += newLine()
      text += token === ':' ? ': ' : readable(token)
      if ('{['.includes(token)) depth++
    }
    before = token
  }
  return text
}

/** JSON on one line. NaN and Infinity, which Python writes but JSON does not have, become null. */
export function strict(json: string): string {
  return Array.from(tokens(json), (token) => (/^(?:NaN|-?Infinity)$/.test(token) ? 'null' : escaped(token))).join('')
}

/** A token in which escaped letters are decoded. */
function readable(token: string): string {
  return token.startsWith('"') ? escaped(JSON.stringify(JSON.parse(token))) : token
}

function escaped(token: string): string {
  return token.replace(UNPRINTABLE, (character) =>
    Array.from({ length: character.length }, (_, at) => `\\u${character.charCodeAt(at).toString(16).padStart(4, '0')}`).join('')
  )
}

/** The tokens of JSON that is known to be well formed. */
function* tokens(json: string): Generator<string> {
  for (let at = 0, end: number; at < json.length; at = end) {
    PUNCTUATION_OR_WORD.lastIndex = at
    const [skipped = '', token = ''] = PUNCTUATION_OR_WORD.exec(json) ?? []
    const start = at + skipped.length - token.length
    end = token === '' ? endOfString(json, start + 1) : start + token.length
    yield json.slice(start, end)
  }
}
