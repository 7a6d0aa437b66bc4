/** Checks of arguments, for callers without types. */
import { isPlainObject } from '../django/json-writer.js'
import { kindOf } from '../kind-of.js'

/** @throws TypeError if it is not a string. The message names the method that was probably meant */
export function checkedName(method: string, name: unknown): string {
  if (typeof name === 'string') return name
  const hint =
    method === 'delete' ? ': to end the session, await session.flush()' : method === 'set' ? ': for an object, session.update(object)' : ''
  throw new TypeError(`session.${method}(name): expected the name of a key as a string, got ${kindOf(name)}${hint}`)
}

/** @throws TypeError if it is not a plain object */
export function checkData(data: unknown): void {
  if (!isPlainObject(data)) throw new TypeError(`session.update(data): expected a plain object, got ${kindOf(data)}`)
}
