/** The demo's two users, and who is signed in. A real site has them in a table; Django's is `auth_user`. */
import { type AuthUser, createAuth } from 'fastify-django-sessions/auth'

interface User extends AuthUser {
  username: string
}

/** Shown on the sign-in page, since this is a demo. */
export const demoPasswords = { ada: 'notes on the engine', grace: 'nanoseconds of wire' }

/** Passwords as Django stores them. They are written down, since a login lasts for as long as its user's field `password`. */
const users: readonly User[] = [
  { id: 1, username: 'ada', password: 'pbkdf2_sha256$1000000$PM2xGrc7mvgsRg9BvrFvpw$qTNRU7D2kepIOyyz5QjxS2PgEO8k3pV2umK5rtKAQpU=' },
  { id: 2, username: 'grace', password: 'pbkdf2_sha256$1000000$saRYsfhxnyN7HXwlzlt9Aw$/nPy3NdxkgH2wUlBQwIsPfcMKP9ETRMVX6UPRABkZB0=' }
]

export function findUser(username: string): User | undefined {
  return users.find((user) => user.username === username)
}

export const { login, logout, loginRequired, user, sessionsOf, endSession, endOtherSessions } = createAuth({
  getUser: (id) => users.find((user) => String(user.id) === id)
})
