/** What a cell has started, and ends in the opposite order: the part of a test of tap that the fixtures use. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'

export class Scope {
  readonly #steps: (() => unknown)[] = []

  teardown(step: () => unknown): void {
    this.#steps.unshift(step)
  }

  /** For fixtures, which use no more of it than `teardown`. */
  get test(): Test {
    return this as unknown as Test
  }

  /** A folder of its own, which is removed. */
  async folder(parent = tmpdir()): Promise<string> {
    const folder = await mkdtemp(join(parent, 'sessions-ha-'))
    this.teardown(() => rm(folder, { recursive: true, force: true }))
    return folder
  }

  /** A program that is killed. */
  spawn(program: string, args: readonly string[]): void {
    const child: ChildProcess = spawn(program, args, { stdio: 'ignore' })
    this.teardown(async () => {
      child.kill('SIGKILL')
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    })
  }

  async end(): Promise<void> {
    for (const step of this.#steps) await step()
  }
}
