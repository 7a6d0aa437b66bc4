/**
 * The data of a session as one request sees it: the loaded members, with the changes made
 * since. Synchronous, without access to the store.
 */
import { type Member, type MemberSerializer, type Members, toObject } from '../django/serializer.js'
import { SessionNotLoaded } from '../errors.js'
import { applyStep, Changes, remove, type Step } from './changes.js'

/** The data that a running save stores. A class, since V8 allocates long-lived literals in the old generation (see `RequestState`). */
export class PendingSave {
  readonly members: Members
  readonly changes: Changes
  /** Whether changes inside values are saved too. */
  readonly nested: boolean

  constructor(members: Members, changes: Changes, nested: boolean) {
    this.members = members
    this.changes = changes
    this.nested = nested
  }
}

/**
 * An object, and no function: where each request makes a function and stores it here, V8 keeps requests beyond
 * the collections of the young generation, until the next full one.
 */
export interface ChangeObserver {
  /** Called at each change, and before each `save()` and `cycleKey()` of a handler. */
  changed(): void
}

export class WorkingCopy {
  /** Whether the data was read or changed. */
  accessed = false
  observer: ChangeObserver | null = null
  readonly #serializer: MemberSerializer
  readonly #saveNestedChanges: boolean
  #members: Members | null = null
  /** Whether a snapshot or a running save also holds `#members`, so that a change must copy it first. */
  #isShared = false
  #changes = new Changes()
  #modified = false
  /** Whether `modified` was set to true, which saves changes inside values. */
  #nested = false
  /** The members whose values callers hold and may change in place, by name. Null for none, as in most requests. */
  #handedOut: Map<string, Member> | null = null

  /** @param saveNestedChanges the option: saves changes inside values without `modified = true` */
  constructor(serializer: MemberSerializer, saveNestedChanges: boolean) {
    this.#serializer = serializer
    this.#saveNestedChanges = saveNestedChanges
  }

  /** The members with the changes, or null before they are loaded. Do not modify. */
  get members(): Members | null {
    return this.#members
  }

  /** Whether there is no data. Before loading, whether the changes leave none. */
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
   * Returns the members for a read, which sets `accessed`.
   *
   * @param method the name of the reading method, for the error
   * @throws SessionNotLoaded
   */
  read(method: string): Members {
    this.accessed = true
    if (this.#members === null) throw new SessionNotLoaded(method)
    return this.#members
  }

  /** Returns a member's value, and remembers it: the caller may change it in place. */
  handOut(name: string, member: Member): unknown {
    if (typeof member.value === 'object' && member.value !== null) {
      this.#handedOut ??= new Map()
      this.#handedOut.set(name, member)
    }
    return member.value
  }

  /** A deep copy of the data. @throws SessionNotLoaded */
  toObject(): Record<string, unknown> {
    return toObject(this.read('toObject'), this.#serializer.copy)
  }

  // --- changes ---------------------------------------------------------------------

  /** Sets a value. `undefined` deletes; a function computes the value from the current one. @throws TypeError if it cannot be stored */
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

  /** @throws TypeError if a value cannot be stored */
  update(data: Record<string, unknown>): void {
    this.#change()
    for (const name of Object.keys(data)) this.set(name, data[name])
  }

  clear(): void {
    this.#change()
    this.#changes = new Changes(true)
    this.#handedOut = null
    if (this.#members !== null) this.#share(new Map())
  }

  // --- changes inside values -------------------------------------------------------

  /** Records changes inside values that callers hold. @throws TypeError if one cannot be stored */
  recordNestedChanges(): void {
    for (const [name, member] of this.#nestedChanges()) this.#record(name, () => member)
  }

  /** The names of values that were changed inside, without being saved. */
  get discardedChanges(): string[] {
    return this.#nested || this.#handedOut === null ? [] : Array.from(this.#nestedChanges(isUnstorable), ([name]) => name)
  }

  get #savesNestedChanges(): boolean {
    return this.#nested || this.#saveNestedChanges
  }

  /** @param ignore whether to skip a value that causes this error */
  #nestedChanges(ignore: (error: unknown) => boolean = () => false): [string, Member][] {
    const serializer = this.#serializer
    const changes: [string, Member][] = []
    for (const [name, member] of this.#handedOut ?? []) {
      if (this.#members?.get(name) !== member) continue
      try {
        const changed = serializer.member(name, member.value)
        // Both texts are ours: another writer may have written the same value as a different text.
        if (!serializer.same(changed, serializer.member(name, serializer.copy(member)))) changes.push([name, changed])
      } catch (error) {
        if (!ignore(error)) throw error
      }
    }
    return changes
  }

  // --- the store -------------------------------------------------------------------

  /** Takes the stored members, and applies the changes to them. */
  load(stored: Members): void {
    this.#dropNeedlessRemovals(stored)
    this.#share(this.#changes.applyTo(stored))
  }

  /** Continues without stored members, with the changes since `clear()` only. */
  restart(): void {
    this.#changes.cleared = false
    this.#share(this.#changes.applyTo(new Map()))
  }

  /** Continues after `restart()` with the data of another one, which is loaded. */
  continueAs(other: WorkingCopy): void {
    this.#share(this.#changes.applyTo(other.#members as Members))
    this.#changes = other.#changes.followedBy(this.#changes)
    this.#modified = this.#changes.steps.size > 0
  }

  /** Starts a save, which ends with `endSave` or `abortSave`. @throws TypeError if a change inside a value cannot be stored */
  beginSave(): PendingSave {
    if (this.#savesNestedChanges) this.recordNestedChanges()
    const pending = new PendingSave(this.#members as Members, this.#changes, this.#nested)
    this.#isShared = true
    this.#changes = new Changes()
    this.#modified = false
    this.#nested = false
    return pending
  }

  /** Ends a failed save: puts its changes back, before those made in the meantime. */
  abortSave({ changes, nested }: PendingSave): void {
    this.#changes = changes.followedBy(this.#changes)
    this.#modified = true
    this.#nested ||= nested
  }

  /** Ends a successful save: takes the stored members, and applies the changes made in the meantime. */
  endSave(stored: Members): void {
    this.#share(this.#changes.applyTo(stored))
    this.#keepHandedOut()
  }

  // --- the parts -------------------------------------------------------------------

  #change(): void {
    this.accessed = true
    this.#modified = true
    this.observer?.changed()
  }

  #record(name: string, step: Step, replaces = true): void {
    // This comes first, because the function form of `set` may throw.
    if (this.#members !== null) applyStep(this.#ownMembers(this.#members), name, step)
    this.#change()
    this.#changes.record(name, step, replaces)
  }

  /** Returns members that may be changed in place: a copy, if they are shared. */
  #ownMembers(members: Members): Members {
    if (!this.#isShared) return members
    this.#isShared = false
    this.#members = new Map(members)
    return this.#members
  }

  /** Uses members that others hold too. */
  #share(members: Members): void {
    this.#members = members
    this.#isShared = true
  }

  /** The function gets a copy: it may change that in place, and may be called again on another value. */
  #updateStep(name: string, update: (current: unknown) => unknown): Step {
    const serializer = this.#serializer
    return (current) => {
      const next = update(current === undefined ? undefined : serializer.copy(current))
      return next === undefined ? undefined : serializer.member(name, next)
    }
  }

  /** Drops deletions of keys that do not exist, which could not be known before loading. */
  #dropNeedlessRemovals(stored: Members): void {
    const { steps, cleared } = this.#changes
    let dropped = false
    for (const [name, list] of steps) {
      if (list.length === 1 && list[0] === remove && !stored.has(name)) dropped = steps.delete(name)
    }
    if (dropped && steps.size === 0 && !cleared && !this.#nested) this.#modified = false
  }

  /** Keeps watching the values that callers still hold, by their new members. */
  #keepHandedOut(): void {
    const handedOut = this.#handedOut
    for (const [name, member] of handedOut ?? []) {
      const now = this.#members?.get(name)
      if (now !== undefined && now.value === member.value) handedOut?.set(name, now)
      else handedOut?.delete(name)
    }
  }
}

/** For example if a template attached a function to the value. */
const isUnstorable = (error: unknown) => error instanceof TypeError
