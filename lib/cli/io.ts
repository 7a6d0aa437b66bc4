/** What a command reads and writes, so that tests can run it in their own process. */
import { styleText } from 'node:util'

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
