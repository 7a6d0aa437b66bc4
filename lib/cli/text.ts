/** Formats of numbers, times and paragraphs for people. */

/** `1 session`, `12,345 sessions`. */
export function counted(count: number, noun: string): string {
  return `${grouped(count)} ${noun}${count === 1 ? '' : 's'}`
}

export function grouped(count: number): string {
  return Math.round(count).toLocaleString('en')
}

/** `a`, `a and b`, `a, b and c`. */
export function listed(words: readonly string[]): string {
  return words.length < 2 ? words.join() : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`
}

const UNITS: readonly [name: string, seconds: number][] = [
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
  ['second', 1]
]

/** A time in seconds as its two largest units: `13 days 4 hours`. */
export function duration(seconds: number): string {
  let rest = Math.round(Math.abs(seconds))
  const parts: string[] = []
  for (const [name, size] of UNITS) {
    const count = Math.floor(rest / size)
    rest -= count * size
    if (count > 0) parts.push(counted(count, name))
    else if (parts.length > 0) break
  }
  return parts.slice(0, 2).join(' ') || '0 seconds'
}

/** `2026-12-05 15:48:10 UTC` */
export function utc(date: Date): string {
  return `${date.toISOString().slice(0, 19).replace('T', ' ')} UTC`
}

/** Breaks lines between words, and indents all lines but the first. */
export function wrap(text: string, width: number, indent = 0): string {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width - indent) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line].join(`\n${' '.repeat(indent)}`)
}

/** The known word that a mistyped one probably stands for. Undefined if none is similar. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const plain = (text: string) => text.toLowerCase().replace(/[^a-z]/g, '')
  const tolerance = (candidate: string) => Math.max(2, Math.floor(candidate.length / 3))
  const mostEdits = Math.max(...known.map(tolerance))
  for (let edits = 0; edits <= mostEdits; edits++) {
    const found = known.find((candidate) => edits <= tolerance(candidate) && isWithin(edits, plain(word), plain(candidate)))
    if (found !== undefined) return found
  }
  return undefined
}

/** Whether so many edits turn one word into the other: a letter more, a letter less, or another letter. */
function isWithin(edits: number, left: string, right: string): boolean {
  if (left === right) return true
  if (left[0] === right[0]) return isWithin(edits, left.slice(1), right.slice(1))
  if (edits === 0) return false
  return (
    isWithin(edits - 1, left.slice(1), right) ||
    isWithin(edits - 1, left, right.slice(1)) ||
    isWithin(edits - 1, left.slice(1), right.slice(1))
  )
}
