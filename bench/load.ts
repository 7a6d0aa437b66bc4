/** Sends load in a process of its own: by wrk where it is installed, else by autocannon, which costs more CPU. */
import { execFile, spawnSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { pinned } from './processes.ts'

export interface LoadOptions {
  /** `http://host:port` */
  origin: string
  /** Of which each request takes one at random. */
  paths: readonly string[]
  connections: number
  /** Whole seconds, since wrk knows no others. */
  seconds: number
  /** Each request sends one of them at random; none of them without. */
  cookies?: readonly string[]
  /** Each cookie is sent once, and the load ends with them. */
  once?: boolean
  /** Any processor may send, instead of the one that the server has not. */
  spread?: boolean
}

export interface Load {
  requests: number
  seconds: number
  /** Answers other than 2xx and 3xx, broken connections, and answers that did not come. */
  errors: number
  /** Milliseconds. */
  p50: number
  p90: number
  p99: number
}

/** After so much load all code that a route runs has been compiled, which one connection alone would take long for. */
export const WARM_UP = { connections: 50, seconds: 2 } as const

export const generator = spawnSync('wrk', ['-v']).error === undefined ? 'wrk' : 'autocannon'

const run = promisify(execFile)
const here = (file: string) => join(import.meta.dirname, file)

export async function load({ origin, paths, connections, seconds, cookies, once = false, spread = false }: LoadOptions): Promise<Load> {
  const folder = await mkdtemp(join(tmpdir(), 'bench-load-'))
  try {
    const file = join(folder, 'cookies')
    if (cookies !== undefined) await writeFile(file, `${cookies.join('\n')}\n`)
    // The arguments of both scripts are the same.
    const args = [paths.join(','), ...(cookies === undefined ? [] : [file]), ...(once ? ['once', String(connections)] : [])]
    const [command, ...rest] = pinned(
      spread ? 'all' : 'load',
      generator === 'wrk'
        ? ['wrk', '-t1', `-c${connections}`, `-d${once ? 60 : seconds}s`, '-s', here('load.lua'), origin, '--', ...args]
        : [process.execPath, '--import', 'tsx', here('load-autocannon.ts'), origin, String(connections), String(seconds), ...args]
    )
    const { stdout } = await run(command, rest)
    return JSON.parse(stdout.trim().split('\n').at(-1) as string)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
