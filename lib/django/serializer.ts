/**
 * How the members of a session become text and text becomes members. The JSON one
 * is lossless: what a request leaves alone keeps the exact text of its writer.
 */
import { type JsonMember, joinObject, parse, splitObject } from './json.js'
import { stringify } from './json-writer.js'

/** One value of a session, and its exact serialized text. */
export type Member = JsonMember

/** The data of a session in its order. A Map, so that no name can be mistaken for a method or a prototype. */
export type Members = Map<string, Member>

/** Django's `SESSION_SERIALIZER`: text to and from a plain object. */
export interface Serializer {
  /** @returns text of Latin-1 characters only */
  dumps(data: Record<string, unknown>): string
  /** The inverse of dumps. What it throws makes the session read as empty. */
  loads(text: string): Record<string, unknown>
}

export interface MemberSerializer {
  join(members: Members): string
  /** @throws when the text is none of this serializer's */
  split(text: string): Members
  /** @throws TypeError when the value cannot be stored, naming `name` */
  member(name: string, value: unknown): Member
  /** Whether both are the same value, of the type and with the digits that were stored. */
  same(left: Member | undefined, right: Member | undefined): boolean
  /** A copy of the value that may be changed in place. */
  copy(member: Member): unknown
}

export const jsonSerializer: MemberSerializer = {
  join: joinObject,
  split: splitObject,
  member: (name, value) => ({ text: stringify(value, name), value }),
  same: (left, right) => left?.text === right?.text,
  copy: (member) => (typeof member.value === 'object' && member.value !== null ? parse(member.text) : member.value)
}

/**
 * A serializer of the user's own: the text of a value is the serializer's, of an
 * object with nothing else in it, and the session is written anew at each save.
 */
export function wrapSerializer(serializer: Serializer): MemberSerializer {
  const member = (name: string, value: unknown): Member => {
    try {
      return { text: serializer.dumps({ value }), value }
    } catch (error) {
      throw new TypeError(`Cannot store ${JSON.stringify(name)} in the session: the serializer refuses it`, { cause: error })
    }
  }
  const copy = ({ text }: Member): unknown => serializer.loads(text).value
  return {
    join(members) {
      const text = serializer.dumps(toObject(members, copy))
      // Each character becomes one byte: any other would be cut off without a word.
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

/** A plain object of the values. `__proto__` and integer-like names are ordinary own properties of it. */
export function toObject(members: Members, copy: (member: Member) => unknown = (member) => member.value): Record<string, unknown> {
  return Object.fromEntries(Array.from(members, ([name, member]) => [name, copy(member)]))
}
