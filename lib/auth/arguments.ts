/** Checks of the options of `login` and `reauthenticate`, for callers without types. */
import { kindOf } from '../kind-of.js'
import { isObject } from '../settings/check.js'
import { suggestion } from '../settings/suggestions.js'
import type { LoginOptions } from './auth.js'

/** @throws TypeError for what is no object, and for an option that does not exist, such as a misspelt one */
export function checkNames(caller: string, options: unknown, names: string[]): void {
  if (!isObject(options))
    throw new TypeError(`${caller}: expected an object with ${names.join(' or ')} as the options, got ${kindOf(options)}`)
  const unknown = Object.keys(options).find((name) => !names.includes(name))
  if (unknown !== undefined) throw new TypeError(`${caller}: unknown option ${unknown}${suggestion(unknown, names, '')}`)
}

/** @throws TypeError also for a `rememberMe` of another type, such as a string from a form, of which "false" would be truthy */
export function checkLoginOptions(options: LoginOptions): void {
  checkNames('login', options, ['method', 'rememberMe'])
  const { rememberMe } = options
  if (rememberMe !== undefined && typeof rememberMe !== 'boolean') {
    throw new TypeError(`login: expected rememberMe to be true or false, got ${kindOf(rememberMe)}`)
  }
}
