import { kindOf } from '../kind-of.js'

/** @throws TypeError that begins with `expectation` when the client lacks one of the methods */
export function checkMethods(client: unknown, methods: readonly string[], expectation: string): void {
  const missing = methods.filter((name) => typeof Object(client)[name] !== 'function')
  if (missing.length > 0) throw new TypeError(`${expectation}, got ${kindOf(client)} without ${missing.join(', ')}`)
}
