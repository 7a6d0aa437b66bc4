/** Input and output of a command, so that tests can run it in their own process. */
import { styleText } from 'node:util'
import { wrap } from './text.js'

export type Stream = NodeJS.WritableStream & { isTTY?: boolean; columns?: number }

export interface Io {
  env: NodeJS.ProcessEnv
  stdin: AsyncIterable<Buffer | string>
  stdout: Stream
  stderr: Stream
  clock: () => Date
  /** Called by commands that can stop halfway: aborted by the first Ctrl-C. A second one ends the process. */
  stopSignal: () => AbortSignal
}

type Style = Parameters<typeof styleText>[0]

/** Coloured where the stream is a terminal, or as NO_COLOR and FORCE_COLOR say. */
export function styled(stream: Stream, style: Style, text: string): string {
  return styleText(style, text, { stream: stream as NodeJS.WriteStream })
}

export function print(stream: Stream, line: string): void {
  stream.write(`${line}\n`)
}

/** A sentence, broken between words where a terminal is too narrow for it. */
export function printSentence(stream: Stream, text: string): void {
  print(stream, wrap(text, widthOf(stream)))
}

/** Characters in a line; any number where the stream is no terminal. */
export function widthOf(stream: Stream): number {
  return stream.isTTY ? (stream.columns ?? 80) : Number.POSITIVE_INFINITY
}
