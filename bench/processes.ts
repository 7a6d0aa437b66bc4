/** Which processor runs what, and what it cost. */
import { execFileSync, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'

/** The server has a processor of its own where there are two: what it may use is the same for all. */
const PROCESSORS = { server: '0', load: '1', all: `0-${availableParallelism() - 1}` }
const canPin = availableParallelism() > 1 && spawnSync('taskset', ['-V']).error === undefined

/** How the report calls it. */
export const pinning = canPin ? 'server on CPU 0, load and PostgreSQL on CPU 1' : 'nothing pinned to a CPU'

export type Place = keyof typeof PROCESSORS

/** The command that runs `command` there. */
export function pinned(place: Place, command: readonly [string, ...string[]]): [string, ...string[]] {
  return canPin ? ['taskset', '-c', PROCESSORS[place], ...command] : [...command]
}

/** Moves a running process with its threads; what it starts later follows. */
export function pin(place: Place, pid: number): void {
  if (canPin) execFileSync('taskset', ['-acp', PROCESSORS[place], String(pid)], { stdio: 'ignore' })
}

const ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))

/** CPU seconds, of user and system, of a process and all that it started. NaN where there is no /proc. */
export function cpuSeconds(root: number): number {
  const processes = new Map<number, { parent: number; ticks: number }>()
  for (const entry of readProcesses()) processes.set(entry.pid, entry)
  const isOurs = (pid: number): boolean => {
    if (pid === root) return true
    const parent = processes.get(pid)?.parent
    return parent !== undefined && isOurs(parent)
  }
  if (!processes.has(root)) return Number.NaN
  let ticks = 0
  for (const [pid, entry] of processes) if (isOurs(pid)) ticks += entry.ticks
  return ticks / ticksPerSecond
}

function* readProcesses() {
  let names: string[]
  try {
    names = readdirSync('/proc')
  } catch {
    return
  }
  for (const name of names) {
    if (!/^\d+$/.test(name)) continue
    try {
      // After the name of the program, which may hold anything: state, parent, ...
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1')
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      // Own time, and that of its children which have ended.
      const ticks = [11, 12, 13, 14].reduce((sum, index) => sum + Number(fields[index]), 0)
      yield { pid: Number(name), parent: Number(fields[1]), ticks }
    } catch {
      // It has ended meanwhile.
    }
  }
}
