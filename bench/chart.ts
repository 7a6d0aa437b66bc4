/** Requests per second as bars. The colours are legible on white and on black. */
import { type CellResult, medianOf } from './statistics.ts'
import type { Route } from './suites.ts'

const WIDTH = 760
const LABELS = 290
const BAR = 18
const GAP = 6
const TEXT = '#808890'
const OURS = '#0c8f6a'
const OTHERS = '#7a8fb5'

/** Of these cells of PostgreSQL, those that were measured. */
const PANELS: [route: Route, connections: number, title: string][] = [
  ['untouched', 50, 'the session is left alone'],
  ['read', 50, 'the session is read'],
  ['write', 50, 'the session is changed']
]

/** Null where none of the cells was measured. */
export function chart(cells: readonly CellResult[]): string | null {
  const parts: string[] = []
  let top = 0
  for (const [route, connections, title] of PANELS) {
    const cell = cells.find((one) => one.suite === 'postgres' && one.route === route && one.connections === connections)
    if (cell === undefined) continue
    const { svg, height } = panel(cell, `Requests per second: ${title}, ${connections} at a time`, top)
    parts.push(svg)
    top += height
  }
  if (parts.length === 0) return null
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${top}" width="${WIDTH}" height="${top}" role="img" aria-label="Requests per second of session libraries" font-family="system-ui, sans-serif" font-size="13">\n${parts.join('\n')}\n</svg>\n`
}

function panel({ results }: CellResult, title: string, top: number): { svg: string; height: number } {
  const bars = results
    .map((result) => ({ ...result, value: medianOf(result, 'requestsPerSecond') }))
    .sort((left, right) => right.value - left.value)
  const longest = Math.max(...bars.map(({ value }) => value))
  const lines = bars.map((bar, index) => {
    const y = top + 34 + index * (BAR + GAP)
    const width = Math.max(1, (bar.value / longest) * (WIDTH - LABELS - 70))
    const isOurs = bar.contender === 'ours'
    const text = (x: number, anchor: string, content: string) =>
      `<text x="${x.toFixed(0)}" y="${y + 14}" text-anchor="${anchor}" fill="${isOurs ? OURS : TEXT}"${isOurs ? ' font-weight="bold"' : ''}>${escapeXml(content)}</text>`
    return [
      text(LABELS - 8, 'end', bar.title),
      `<rect x="${LABELS}" y="${y}" width="${width.toFixed(1)}" height="${BAR}" rx="2" fill="${isOurs ? OURS : OTHERS}"/>`,
      text(LABELS + width + 6, 'start', Math.round(bar.value).toLocaleString('en-GB'))
    ].join('')
  })
  const heading = `<text x="0" y="${top + 20}" fill="${TEXT}" font-weight="bold">${escapeXml(title)}</text>`
  return { svg: [heading, ...lines].join('\n'), height: 34 + bars.length * (BAR + GAP) + 16 }
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
}
