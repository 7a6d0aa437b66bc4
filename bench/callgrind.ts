/** Counts the instructions that a server executes in user space, by valgrind's callgrind. */
import { execFile, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'

export const hasCallgrind = spawnSync('valgrind', ['--version']).error === undefined && spawnSync('callgrind_control', ['-h']).status === 0

/** The command that runs `command` without counting yet: so it is several times as fast. */
export function underCallgrind(folder: string, command: readonly [string, ...string[]]): [string, ...string[]] {
  return ['valgrind', '-q', '--tool=callgrind', '--instr-atstart=no', `--callgrind-out-file=${join(folder, 'callgrind.%p')}`, ...command]
}

const run = promisify(execFile)
const control = async (pid: number, ...options: string[]) => (await run('callgrind_control', [...options, String(pid)])).stdout

/** From now on instructions are counted. The process must be quiet. */
export async function startCounting(pid: number): Promise<void> {
  await control(pid, '--instr=on')
  await control(pid, '--zero')
}

export interface Instructions {
  main: number
  /** V8's compilers, and the thread pool of libuv. */
  otherThreads: number
}

/** Instructions since counting was started. */
export async function countedInstructions(pid: number): Promise<Instructions> {
  const text = await control(pid, '-e')
  // A line for each thread: `Th 1  15,744,672`.
  const threads = [...text.matchAll(/^ *Th *\d+ +([\d,]+)/gm)].map(([, count = '']) => Number(count.replaceAll(',', '')))
  const [main, ...others] = threads
  if (main === undefined) throw new Error(`Expected instructions by thread from callgrind_control, got ${text}`)
  return { main, otherThreads: others.reduce((sum, count) => sum + count, 0) }
}

/** Milliseconds. */
const LOOK_EVERY = 100
const GIVE_UP_AFTER = 60_000

/**
 * Waits until all threads have slept for half a second: requests, V8's compiler and timers have ended.
 * CPU time would not tell: on a busy machine a thread with work may have to wait for a processor.
 */
export async function untilQuiet(pid: number): Promise<void> {
  let quiet = 0
  for (let waited = 0; quiet < 5; waited += LOOK_EVERY) {
    if (waited > GIVE_UP_AFTER) throw new Error(`The server does not come to rest within ${GIVE_UP_AFTER / 1000} s`)
    await pause(LOOK_EVERY)
    quiet = states(pid).includes('R') ? 0 : quiet + 1
  }
}

/** A letter for each thread, such as R for one that runs or wants to. */
function states(pid: number): string[] {
  return readdirSync(`/proc/${pid}/task`).map((thread) => {
    const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'latin1')
    // After the name of the program, which may hold anything.
    return stat.charAt(stat.lastIndexOf(')') + 2)
  })
}
