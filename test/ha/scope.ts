/** What a cell has started, and ends in the opposite order: the part of a test of tap that the fixtures use. */
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

  async end(): Promise<void> {
    for (const step of this.#steps) await step()
  }
}
