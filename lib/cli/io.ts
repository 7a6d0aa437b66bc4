/** The input and output of a command. Tests replace them. */
import { styleText } from 'node:util'
import { wrap } from './text.js'

export type Stream = NodeJS.WritableStream & { isTTY?: boolean; columns?: number }

export interface Io {
  env: NodeJS.ProcessEnv
  stdin: AsyncIterable<Buffer | string>
  stdout: Stream
  stderr: Stream
  clock: () => Date
  /** Returns a signal that the first Ctrl-C aborts. For commands that can stop halfway. */
  stopSignal: () => AbortSignal
}

type Style = Parameters<typeof styleText>[0]

/** Styles text for a terminal. NO_COLOR and FORCE_COLOR are respected. */
export function styled(stream: Stream, style: Style, text: string): string {
  return styleText(style, text, { stream: stream as NodeJS.WriteStream })
}

export function print(stream: Stream, line: string): void {
  stream.write(`${line}\n`)
}

/** Prints a sentence, wrapped to the width of a terminal. */
export function printSentence(stream: Stream, text: string): void {
  print(stream, wrap(text, widthOf(stream)))
}

/** The width in characters. Infinity if the stream is not a terminal. Some terminals, such as that of `script`, say 0 for unknown. */
export function widthOf(stream: Stream): number {
  return stream.isTTY ? stream.columns || 80 : Number.POSITIVE_INFINITY
}
