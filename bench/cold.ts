/** Instructions of a process that has just started: what it does once, and before V8 has optimised its code. */
import { functionsOf, underCallgrindFromStart, untilQuiet } from './callgrind.ts'
import { openClosedLoop } from './closed-loop.ts'
import type { Contender } from './contenders.ts'
import { startCounted } from './counted.ts'
import { decimal, table } from './report.ts'
import { median } from './statistics.ts'

const REQUESTS = 1500

export interface Cold {
  /** From the start of the process until it listens. */
  start: number
  firstReply: number
  /** Of all requests, by kind. */
  kinds: Readonly<Record<Kind, number>>
}

/** By the names of functions of V8, the first one that fits. */
const KINDS = {
  'garbage collection':
    /Scaveng|MarkCompact|Marking|Sweep|Evacuat|v8::internal::Heap\b|RememberedSet|SlotCallback|BodyDescriptor|LiveObject/,
  compilation:
    /Scanner|\b(Pre)?Parser(Base)?\b|ParserTypes|Utf16CharacterStream|\bAst[A-Z]|KeywordHash|(Declaration|internal::)Scope\b|\bVariable|Zone|interpreter::|baseline::|compiler::|\bCompil|SourcePosition|FuncNameInferrer|Bytecode/,
  'unoptimised code': /^Builtins_.*(Handler|Baseline|IC(\b|_|Trampoline)|Interpreter)|\bIC::|LoadIC|StoreIC|LookupIterator|Feedback/,
  rest: /^/
}
type Kind = keyof typeof KINDS

/** Sends one read at a time, as many as V8 still compiles at. */
export async function countCold(contender: Contender, folder: string, database: string, cookies: readonly string[]): Promise<Cold> {
  const server = await startCounted(contender, underCallgrindFromStart(folder, contender.command), database)
  let calls = 0
  const functions = async () => {
    await untilQuiet(server.pid)
    return functionsOf(server.pid, folder, ++calls)
  }
  try {
    const start = total(await functions())
    const loop = await openClosedLoop(`${server.origin}/read`, 1)
    const [first, ...others] = Array.from({ length: REQUESTS }, (_, index) => cookies[index % cookies.length] as string)
    await loop.send([first as string])
    const early = await functions()
    await loop.send(others)
    const late = await functions()
    loop.close()
    return { start, firstReply: total(early), kinds: byKind([...early, ...late]) }
  } finally {
    await server.stop()
  }
}

const total = (functions: ReadonlyMap<string, number>) => [...functions.values()].reduce((sum, cost) => sum + cost, 0)

function byKind(functions: readonly (readonly [name: string, cost: number])[]): Record<Kind, number> {
  const kinds: Record<Kind, number> = { 'garbage collection': 0, compilation: 0, 'unoptimised code': 0, rest: 0 }
  for (const [name, cost] of functions) {
    const kind = (Object.keys(KINDS) as Kind[]).find((kind) => KINDS[kind].test(name)) as Kind
    kinds[kind] += cost
  }
  return kinds
}

/** Medians, where there are several counts. */
export function coldReport(title: string, results: ReadonlyMap<string, readonly Cold[]>): string {
  const kinds = Object.keys(KINDS) as Kind[]
  const header = [`${title}, one read at a time`, 'until it listens, M', 'first reply, M', `each of ${REQUESTS}, k`, ...kinds]
  const rows = Array.from(results, ([name, counts]) => {
    const middle = (figure: (count: Cold) => number, unit: number, digits: number) => decimal(median(counts.map(figure)) / unit, digits)
    const perRequest = (figure: (count: Cold) => number) => middle(figure, REQUESTS * 1000, 0)
    return [
      name,
      middle(({ start }) => start, 1e6, 0),
      middle(({ firstReply }) => firstReply, 1e6, 1),
      perRequest((count) => kinds.reduce((sum, kind) => sum + count.kinds[kind], 0)),
      ...kinds.map((kind) => perRequest((count) => count.kinds[kind]))
    ]
  })
  return table(header, rows)
}
