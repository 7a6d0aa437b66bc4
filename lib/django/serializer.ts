/**
 * Serializers: they convert the members of a session to text and back. The one for JSON is
 * lossless: a value that a request leaves alone keeps the exact text of its writer.
 */
import { kindOf } from '../kind-of.js'
import { type JsonMember, joinObject, parse, splitObject } from './json.js'
import { stringify } from './json-writer.js'

/** A value of a session with its exact serialized text. */
export type Member = JsonMember

/** The data of a session, in order. A Map, because a name may be that of a method or `__proto__`. */
export type Members = Map<string, Member>

/** A serializer of your own (Django's `SESSION_SERIALIZER`): converts a plain object to text and back. */
export interface Serializer {
  /** Converts an object to text, which must consist of Latin-1 characters. */
  dumps(data: Record<string, unknown>): string
  /** The inverse of `dumps`. If it throws, the session counts as corrupt and is empty. */
  loads(text: string): Record<string, unknown>
}

export interface MemberSerializer {
  join(members: Members): string
  /** @throws an error of any class when the text was not made by this serializer */
  split(text: string): Members
  /** @throws TypeError that contains `name` when the value cannot be stored */
  member(name: string, value: unknown): Member
  /** Whether both members have the same serialized value. */
  same(left: Member | undefined, right: Member | undefined): boolean
  /** A deep copy of the value. */
  copy(member: Member): unknown
}

/** A member that was set. A class, because V8 soon allocates object literals in the old generation, where they keep a request's data alive. */
class WrittenMember implements Member {
  readonly text: string
  readonly value: unknown

  constructor(text: string, value: unknown) {
    this.text = text
    this.value = value
  }
}

export const jsonSerializer: MemberSerializer = {
  join: joinObject,
  split: splitObject,
  member: (name, value) => new WrittenMember(stringify(value, name), value),
  same: (left, right) => left?.text === right?.text,
  copy: (member) => (typeof member.value === 'object' && member.value !== null ? parse(member.text) : member.value)
}

/**
 * Adapts a serializer of the application. It knows no text of a single value, so the text of
 * a member is that of an object with only this value. The whole session is serialized at each save.
 */
export function wrapSerializer(serializer: Serializer): MemberSerializer {
  const member = (name: string, value: unknown): Member => {
    let text: unknown
    try {
      text = serializer.dumps({ value })
    } catch (error) {
      throw new TypeError(`Cannot store ${JSON.stringify(name)} in the session: the serializer refuses it`, { cause: error })
    }
    return { text: checkedText(text), value }
  }
  const copy = ({ text }: Member): unknown => serializer.loads(text).value
  return {
    join(members) {
      const text = checkedText(serializer.dumps(toObject(members, copy)))
      // Each character becomes one byte. Buffer would silently truncate any other character.
      if (/[^\0-\xff]/.test(text)) throw new TypeError('Expected serializer.dumps() to return Latin-1 characters only')
      return text
    },
    split(text) {
      const data: unknown = serializer.loads(text)
      if (typeof data !== 'object' || data === null || Array.isArray(data))
        throw new TypeError('Expected serializer.loads() to return an object')
      return new Map(Object.entries(data).map(([name, value]) => [name, member(name, value)]))
    },
    member,
    same: (left, right) => left?.text === right?.text,
    copy
  }
}

/** @throws TypeError if `dumps` returned anything but a string, such as a promise */
function checkedText(text: unknown): string {
  if (typeof text === 'string') return text
  // The promise of an async function may reject, and nothing else handles it.
  if (text instanceof Promise) text.catch(() => {})
  throw new TypeError(`serializer.dumps: expected a string, got ${kindOf(text)}`)
}

/** Converts members to a plain object. `__proto__` becomes an ordinary own property. */
export function toObject(members: Members, copy: (member: Member) => unknown = (member) => member.value): Record<string, unknown> {
  return Object.fromEntries(Array.from(members, ([name, member]) => [name, copy(member)]))
}
