/** The entry `fastify-django-sessions/auth`: logins and passwords shared with Django. */
import { createPasswords, type Passwords } from '../django/passwords.js'

export { createPasswords, type PasswordOptions, type Passwords } from '../django/passwords.js'
export type { Auth, AuthOptions, LoginOptions, ReauthenticateOptions } from './auth.js'
export { createAuth } from './create-auth.js'
export type { FreshLoginRequiredOptions, LoginRequiredHook, LoginRequiredOptions } from './login-required.js'
export { safeNext } from './safe-next.js'
export type { MaxSessions, OwnSession } from './user-sessions.js'
export type { AuthUser } from './users.js'

const passwords = createPasswords()

/** Checks a password against Django's field `password`. See `Passwords`. */
export const checkPassword: Passwords['checkPassword'] = passwords.checkPassword
/** Makes a new value for Django's field `password`. See `Passwords`. */
export const hashPassword: Passwords['hashPassword'] = passwords.hashPassword
/** Whether to store a new hash after a successful check. See `Passwords`. */
export const mustUpdate: Passwords['mustUpdate'] = passwords.mustUpdate
