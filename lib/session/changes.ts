/**
 * The changes of a request to its session, as steps that can be applied to any data: to the
 * loaded snapshot, or to what another writer has stored since.
 */
import type { Member, Members } from '../django/serializer.js'

/** Computes a member from the current one: a constant, a removal, or the function form of `set`. */
export type Step = (current: Member | undefined) => Member | undefined

export const remove: Step = () => undefined

/** Shared by all changes without steps, as those of most requests. Never modified. */
const NO_STEPS = new Map<string, Step[]>()

export class Changes {
  /** Whether all data was deleted before the steps. */
  cleared: boolean
  /** The steps for each name, in the order of the changes. */
  steps: Map<string, Step[]>

  constructor(cleared = false, steps = NO_STEPS) {
    this.cleared = cleared
    this.steps = steps
  }

  /** @param replaces whether the step makes earlier ones for the name unnecessary */
  record(name: string, step: Step, replaces: boolean): void {
    if (this.steps === NO_STEPS) this.steps = new Map()
    const before = this.steps.get(name)
    if (before === undefined) return void this.steps.set(name, [step])
    // A removal stays, because a key that is set after it moves to the end, as in Python.
    const kept = replaces ? before.filter((earlier, index) => index === 0 && earlier === remove && step !== remove) : before
    this.steps.set(name, [...kept, step])
  }

  /** Applies the changes to a copy. Returns `base` itself if there are none. */
  applyTo(base: Members): Members {
    if (!this.cleared && this.steps.size === 0) return base
    const members: Members = new Map(this.cleared ? [] : base)
    for (const [name, list] of this.steps) {
      for (const step of list) applyStep(members, name, step)
    }
    return members
  }

  /** These changes, followed by later ones. */
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
