/** Counts the instructions that a server executes in user space, by valgrind's callgrind. */
import { execFile, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'

export const hasCallgrind = spawnSync('valgrind', ['--version']).error === undefined && spawnSync('callgrind_control', ['-h']).status === 0

type Command = [string, ...string[]]
const callgrind = (folder: string, ...options: string[]): Command => [
  'valgrind',
  '-q',
  '--tool=callgrind',
  `--callgrind-out-file=${fileOf(folder, '%p')}`,
  ...options
]
const fileOf = (folder: string, pid: number | string) => join(folder, `callgrind.${pid}`)

/** The command that runs `command` without counting yet: so it is several times as fast. */
export function underCallgrind(folder: string, command: Readonly<Command>): Command {
  return [...callgrind(folder, '--instr-atstart=no'), ...command]
}

/** The command that counts from the start of `command`, and by function. */
export function underCallgrindFromStart(folder: string, command: Readonly<Command>): Command {
  return [...callgrind(folder, '--separate-threads=yes'), ...command]
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

/**
 * Instructions of the main thread by function, without what it calls, since the last call:
 * of a process that is counted from its start, and quiet.
 *
 * @param calls this one included
 */
export async function functionsOf(pid: number, folder: string, calls: number): Promise<ReadonlyMap<string, number>> {
  await control(pid, '--dump')
  const costs = new Map<string, number>()
  const names = new Map<string, string>()
  let name = ''
  let isCall = false
  for (const line of readFileSync(`${fileOf(folder, pid)}.${calls}-01`, 'utf8').split('\n')) {
    // `fn=(7) main` names the function that the lines below are for, `fn=(7)` does so again; `cfn` is one that it calls.
    const [, caller, number = '', text] = /^(c?)fn=\((\d+)\)(?: (.*))?$/.exec(line) ?? []
    if (text !== undefined) names.set(number, text)
    if (caller === '') name = names.get(number) as string
    // `12 345`: a line of the source, and what it cost. After `calls=` comes the cost of what was called.
    const [, cost] = /^[\d+*-]\d* (\d+)$/.exec(line) ?? []
    if (cost !== undefined && !isCall) costs.set(name, (costs.get(name) ?? 0) + Number(cost))
    isCall = line.startsWith('calls=')
  }
  return costs
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
