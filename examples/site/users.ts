/** The demo's two users. A real site keeps its users in a table, and hashes passwords just so. */
import { randomBytes, type ScryptOptions, scrypt, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'

const scryptAsync = promisify<string, Buffer, number, ScryptOptions, Buffer>(scrypt)

interface User {
  salt: Buffer
  hash: Buffer
}

/** Shown on the sign-in page, since this is a demo. */
export const demoPasswords = { ada: 'notes on the engine', grace: 'nanoseconds of wire' }

const users = new Map<string, User>()
for (const [username, password] of Object.entries(demoPasswords)) users.set(username, await createUser(password))

/** Its password is known to nobody. */
const nobody = await createUser(randomBytes(32).toString('hex'))

/** Whether this is the user's password. An unknown name takes as long as a known one, so that nobody learns which names exist. */
export async function checkPassword(username: string, password: string): Promise<boolean> {
  const { salt, hash } = users.get(username) ?? nobody
  return timingSafeEqual(await hashPassword(password, salt), hash)
}

async function createUser(password: string): Promise<User> {
  const salt = randomBytes(16)
  return { salt, hash: await hashPassword(password, salt) }
}

function hashPassword(password: string, salt: Buffer): Promise<Buffer> {
  return scryptAsync(password, salt, 32, { N: 2 ** 14, r: 8, p: 5 })
}
