/** The stored JSON of a session as it may go to a terminal: exact numbers, readable letters, no control character. */
import { endOfString } from '../django/json-reader.js'

const SIGN_OR_WORD = /\s*([{}[\],:]|[^\s"{}[\],:]+|(?="))/y

/** Characters that move the cursor, change colours or turn the direction of writing, and those that no font has. */
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]/gu

/** Indented by two spaces, with the numbers as their writer wrote them. */
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

/** On one line; NaN and Infinity, which Python's JSON has and JSON has not, become null. */
export function strict(json: string): string {
  return Array.from(tokens(json), (token) => (/^(?:NaN|-?Infinity)$/.test(token) ? 'null' : escaped(token))).join('')
}

/** A string with its letters instead of their escapes. */
function readable(token: string): string {
  return token.startsWith('"') ? escaped(JSON.stringify(JSON.parse(token))) : token
}

function escaped(token: string): string {
  return token.replace(UNPRINTABLE, (character) =>
    Array.from({ length: character.length }, (_, at) => `\\u${character.charCodeAt(at).toString(16).padStart(4, '0')}`).join('')
  )
}

/** Strings, signs, numbers and words of JSON that is known to be well formed. */
function* tokens(json: string): Generator<string> {
  for (let at = 0, end: number; at < json.length; at = end) {
    SIGN_OR_WORD.lastIndex = at
    const [skipped = '', token = ''] = SIGN_OR_WORD.exec(json) ?? []
    const start = at + skipped.length - token.length
    end = token === '' ? endOfString(json, start + 1) : start + token.length
    yield json.slice(start, end)
  }
}
