/**
 * The data of a session as one request sees it: the members that were loaded, with the changes
 * made since. Synchronous: it knows no store and no key.
 */
import { type Member, type MemberSerializer, type Members, toObject } from '../django/serializer.js'
import { SessionNotLoaded } from '../errors.js'
import { applyStep, Changes, remove, type Step } from './changes.js'

/** The part of the data that a running save is to store. */
export interface PendingSave {
  readonly members: Members
  readonly changes: Changes
  readonly nested: boolean
}

export class WorkingCopy {
  /** The data was read or changed. */
  accessed = false
  /** Is called at each change. */
  onChange: (() => void) | null = null
  readonly #serializer: MemberSerializer
  readonly #saveNestedChanges: boolean
  #members: Members | null = null
  /** `#members` is also a snapshot's or a running save's: a change needs a copy. */
  #isShared = false
  #changes = new Changes()
  #modified = false
  /** `modified` was set to true: changes inside values count. */
  #nested = false
  /** Values that callers may change in place, by name. */
  readonly #handedOut = new Map<string, Member>()

  /** @param saveNestedChanges the option: changes inside values count without `modified = true` */
  constructor(serializer: MemberSerializer, saveNestedChanges: boolean) {
    this.#serializer = serializer
    this.#saveNestedChanges = saveNestedChanges
  }

  /** The members with the changes, null before they are loaded. Not to be changed. */
  get members(): Members | null {
    return this.#members
  }

  /** Whether there is no data, as far as that is known. */
  get isEmpty(): boolean {
    if (this.#members !== null) return this.#members.size === 0
    return ![...this.#changes.steps.values()].some((steps) => steps.at(-1) !== remove)
  }

  get modified(): boolean {
    return this.#modified
  }

  set modified(modified: boolean) {
    if (modified) this.#change()
    this.#modified = modified
    this.#nested = modified
  }

  // --- reads -----------------------------------------------------------------------

  /**
   * The members, for a read.
   *
   * @param method the name of the method that reads
   * @throws SessionNotLoaded
   */
  read(method: string): Members {
    this.accessed = true
    if (this.#members === null) throw new SessionNotLoaded(method)
    return this.#members
  }

  /** The value of a member, for a caller that may change it in place. */
  handOut(name: string, member: Member): unknown {
    if (typeof member.value === 'object' && member.value !== null) this.#handedOut.set(name, member)
    return member.value
  }

  /** A copy that may be changed. @throws SessionNotLoaded */
  toObject(): Record<string, unknown> {
    return toObject(this.read('toObject'), this.#serializer.copy)
  }

  // --- changes ---------------------------------------------------------------------

  /** `undefined` deletes; a function computes the value from the present one. @throws TypeError when the value cannot be stored */
  set(name: string, value: unknown): void {
    if (value === undefined) {
      this.delete(name)
    } else if (typeof value === 'function') {
      if (this.#savesNestedChanges) this.recordNestedChanges()
      this.#record(name, this.#updateStep(name, value as (current: unknown) => unknown), false)
    } else {
      const member = this.#serializer.member(name, value)
      this.#record(name, () => member)
      this.handOut(name, member)
    }
  }

  delete(name: string): void {
    this.accessed = true
    if (this.#members === null || this.#members.has(name)) this.#record(name, remove)
  }

  /** @throws TypeError when a value cannot be stored */
  update(data: Record<string, unknown>): void {
    this.#change()
    for (const [name, value] of Object.entries(data)) this.set(name, value)
  }

  clear(): void {
    this.#change()
    this.#changes = new Changes(true)
    this.#handedOut.clear()
    if (this.#members !== null) this.#share(new Map())
  }

  // --- changes inside values -------------------------------------------------------

  /** Records changes inside values that were handed out. @throws TypeError when one cannot be stored */
  recordNestedChanges(): void {
    for (const [name, member] of this.#nestedChanges()) this.#record(name, () => member)
  }

  /** The keys of values with changes inside that will not be saved. */
  get discardedChanges(): string[] {
    return this.#nested || this.#handedOut.size === 0 ? [] : Array.from(this.#nestedChanges(isUnstorable), ([name]) => name)
  }

  get #savesNestedChanges(): boolean {
    return this.#nested || this.#saveNestedChanges
  }

  /** @param ignore whether to pass over a value that gives this error, because it will not be stored */
  #nestedChanges(ignore: (error: unknown) => boolean = () => false): [string, Member][] {
    const serializer = this.#serializer
    const changes: [string, Member][] = []
    for (const [name, member] of this.#handedOut) {
      if (this.#members?.get(name) !== member) continue
      try {
        const changed = serializer.member(name, member.value)
        // Both written by us: another writer's text of the same value may be another one.
        if (!serializer.same(changed, serializer.member(name, serializer.copy(member)))) changes.push([name, changed])
      } catch (error) {
        if (!ignore(error)) throw error
      }
    }
    return changes
  }

  // --- the store -------------------------------------------------------------------

  /** Puts the changes on top of the members that the store has. */
  load(stored: Members): void {
    this.#dropNeedlessRemovals(stored)
    this.#share(this.#changes.applyTo(stored))
  }

  /** Goes on without the stored members: the changes since `clear()` are all there is. */
  restart(): void {
    this.#changes.cleared = false
    this.#share(this.#changes.applyTo(new Map()))
  }

  /** Takes the changes for a save. It ends with `endSave` or `abortSave`. @throws TypeError when a change inside a value cannot be stored */
  beginSave(): PendingSave {
    if (this.#savesNestedChanges) this.recordNestedChanges()
    const pending = { members: this.#members as Members, changes: this.#changes, nested: this.#nested }
    this.#isShared = true
    this.#changes = new Changes()
    this.#modified = false
    this.#nested = false
    return pending
  }

  /** The save failed: its changes are still to be made, before those made meanwhile. */
  abortSave({ changes, nested }: PendingSave): void {
    this.#changes = changes.followedBy(this.#changes)
    this.#modified = true
    this.#nested ||= nested
  }

  /** The save stored these members: changes made meanwhile are on top of them. */
  endSave(stored: Members): void {
    this.#share(this.#changes.applyTo(stored))
    this.#keepHandedOut()
  }

  // --- the parts -------------------------------------------------------------------

  #change(): void {
    this.accessed = true
    this.#modified = true
    this.onChange?.()
  }

  #record(name: string, step: Step, replaces = true): void {
    // First, since the function form of `set` may throw.
    if (this.#members !== null) applyStep(this.#ownMembers(this.#members), name, step)
    this.#change()
    this.#changes.record(name, step, replaces)
  }

  /** The members to change in place. */
  #ownMembers(members: Members): Members {
    if (!this.#isShared) return members
    this.#isShared = false
    this.#members = new Map(members)
    return this.#members
  }

  /** Takes over members that others hold on to. */
  #share(members: Members): void {
    this.#members = members
    this.#isShared = true
  }

  /** The function gets a copy, so that what it changes in place can be computed again on another value. */
  #updateStep(name: string, update: (current: unknown) => unknown): Step {
    const serializer = this.#serializer
    return (current) => {
      const next = update(current === undefined ? undefined : serializer.copy(current))
      return next === undefined ? undefined : serializer.member(name, next)
    }
  }

  /** Deleting a key that is not there is no change, which could not be known before loading. */
  #dropNeedlessRemovals(stored: Members): void {
    const { steps, cleared } = this.#changes
    let dropped = false
    for (const [name, list] of steps) {
      if (list.length === 1 && list[0] === remove && !stored.has(name)) dropped = steps.delete(name)
    }
    if (dropped && steps.size === 0 && !cleared && !this.#nested) this.#modified = false
  }

  /** Values that are in use go on being watched, under the members that they are now. */
  #keepHandedOut(): void {
    for (const [name, member] of this.#handedOut) {
      const now = this.#members?.get(name)
      if (now !== undefined && now.value === member.value) this.#handedOut.set(name, now)
      else this.#handedOut.delete(name)
    }
  }
}

/** A function was attached to a value, say, for the page that shows it. */
const isUnstorable = (error: unknown) => error instanceof TypeError
