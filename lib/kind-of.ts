/** Describes the kind of a wrong value, for the message of an error. Never the value itself, which may be secret. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value)
  if (value === '') return 'an empty string'
  if (Array.isArray(value)) return 'an array'
  if (typeof value !== 'object') return `a ${typeof value}`
  // Not the object's own property of that name, which would be data.
  const name: unknown = Object.getPrototypeOf(value)?.constructor?.name
  return name === undefined || name === 'Object' ? 'a plain object' : `an instance of ${name}`
}
