/**
 * The changes of a request to its session, in terms that can be applied to any data: to the
 * snapshot that it loaded, or to what another writer made of it.
 */
import type { Member, Members } from '../django/serializer.js'

/** Computes a member from what is stored: a constant, a removal, or the function form of `set`. */
export type Step = (current: Member | undefined) => Member | undefined

export const remove: Step = () => undefined

export class Changes {
  /** All data went first. */
  cleared: boolean
  /** By name, in the order in which they were made. */
  readonly steps: Map<string, Step[]>

  constructor(cleared = false, steps = new Map<string, Step[]>()) {
    this.cleared = cleared
    this.steps = steps
  }

  /** @param replaces whether the step does not depend on those before it */
  record(name: string, step: Step, replaces: boolean): void {
    const before = this.steps.get(name)
    if (before === undefined) return void this.steps.set(name, [step])
    // A removal stays: what is set after it goes to the end, as in Python.
    const kept = replaces ? before.filter((earlier, index) => index === 0 && earlier === remove && step !== remove) : before
    this.steps.set(name, [...kept, step])
  }

  /** The data with the changes: what was given, if there are none, else a copy. */
  applyTo(base: Members): Members {
    if (!this.cleared && this.steps.size === 0) return base
    const members: Members = new Map(this.cleared ? [] : base)
    for (const [name, list] of this.steps) {
      for (const step of list) applyStep(members, name, step)
    }
    return members
  }

  /** These changes, then those. */
  followedBy(later: Changes): Changes {
    if (later.cleared) return later
    const steps = new Map(this.steps)
    for (const [name, list] of later.steps) steps.set(name, [...(steps.get(name) ?? []), ...list])
    return new Changes(this.cleared, steps)
  }
}

export function applyStep(members: Members, name: string, step: Step): void {
  const member = step(members.get(name))
  if (member === undefined) members.delete(name)
  else members.set(name, member)
}
