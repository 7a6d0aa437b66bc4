/** The code that a page shows of itself: read from its file, so that it is what runs. */
import { readFileSync } from 'node:fs'
import { type Html, html } from './html.ts'

/** What stands between `// --- shown on the page` and `// ---`, with its comments, strings and keywords marked. */
export function excerpt(moduleUrl: string): Html {
  const source = readFileSync(new URL(moduleUrl), 'utf8')
  const [, code = ''] = /^ *\/\/ --- shown on the page\n(.*?)^ *\/\/ ---$/ms.exec(source) ?? []
  return html`<pre tabindex="0"><code>${mark(unindent(code))}</code></pre>`
}

function unindent(code: string): string {
  const indent = /^ */.exec(code)?.[0] ?? ''
  return code.replaceAll(new RegExp(`^${indent}`, 'gm'), '').trimEnd()
}

const KINDS =
  /(?<comment>\/\/.*)|(?<string>'[^'\n]*'|`[^`]*`)|(?<keyword>\b(?:async|await|const|export|function|return|try|catch|if|throw)\b)/g

function mark(code: string): Html[] {
  const parts: Html[] = []
  let end = 0
  for (const match of code.matchAll(KINDS)) {
    const [kind = ''] = Object.entries(match.groups ?? {}).find(([, text]) => text !== undefined) ?? []
    parts.push(html`${code.slice(end, match.index)}<span class="${kind}">${match[0]}</span>`)
    end = match.index + match[0].length
  }
  return [...parts, html`${code.slice(end)}`]
}
