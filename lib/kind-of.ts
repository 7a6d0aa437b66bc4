/** The kind of a wrong value, for the message of an error. Not the value itself, which may be secret. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value)
  return value === '' ? 'an empty string' : `a value of type ${typeof value}`
}
