/** Checking and hashing of passwords as in django/contrib/auth/hashers.py (Django 3.2 to 6.1). */
import { randomInt } from 'node:crypto'
import { InvalidOptions } from '../errors.js'
import { kindOf } from '../kind-of.js'
import { MAX_COST, pbkdf2, readHash } from './hashers.js'

/** Options of `createPasswords`. */
export interface PasswordOptions {
  /** The number of PBKDF2-SHA256 iterations for new hashes, and the least for a failed check. @default 1_500_000, as in Django 6.1 */
  iterations?: number
}

/** Functions for passwords. They do not use `this`. */
export interface Passwords {
  /**
   * Whether `password` is the password of Django's field `password` (`check_password`).
   * Reads `pbkdf2_sha256`, `pbkdf2_sha1` and `scrypt`; `argon2` with the package
   * `@node-rs/argon2`; `bcrypt` and `bcrypt_sha256` with `bcryptjs`. False for null,
   * undefined, an empty field and an unusable password (`!…`).
   *
   * Every failed check does the same work, so that response times do not tell which users
   * exist: as many PBKDF2 iterations as the option `iterations`, or as the most expensive
   * field since the process started. Cheaper hashes are topped up (`harden_runtime`). A
   * correct password costs only its own hash. Limits of this protection:
   *
   * - The work of scrypt, Argon2 and bcrypt is converted at fixed rates, which differ between machines.
   * - The first check of a field that is more expensive than all before it takes longer.
   * - bcryptjs computes in the main thread.
   * - An unsupported field throws an error. Catch `UnsupportedPassword` if the status of the reply must not differ.
   *
   * @throws UnsupportedPassword for other formats, missing packages, and costs over 20 million iterations or 256 MiB, after the same work
   * @throws TypeError when the password or the field is not a string
   */
  checkPassword(password: string, encoded: string | null | undefined): Promise<boolean>
  /**
   * Makes a new value for Django's field `password`: `pbkdf2_sha256` with a salt of 22
   * random letters and digits (`make_password`).
   *
   * @throws TypeError when the password is not a string
   */
  hashPassword(password: string): Promise<string>
  /**
   * Whether to store `hashPassword(password)` after a successful check: true if the field
   * uses another algorithm than `pbkdf2_sha256`, fewer iterations or a shorter salt than a
   * new hash (`must_update`). Unlike in Django, false if it uses more iterations.
   */
  mustUpdate(encoded: string | null | undefined): boolean
}

const ALPHABET = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'
/** The length of a salt in characters. 22 are 131 bits; Django requires 128 (`salt_entropy`). */
const SALT_LENGTH = 22

/**
 * Makes `checkPassword`, `hashPassword` and `mustUpdate` for another number of iterations.
 *
 * @throws InvalidOptions
 */
export function createPasswords(options: PasswordOptions = {}): Passwords {
  const { iterations = 1_500_000, ...unknown }: PasswordOptions = Object(options)
  if (options !== Object(options) || Object.keys(unknown).length > 0) {
    throw new InvalidOptions('- createPasswords: expected nothing or an object with iterations')
  }
  if (!Number.isInteger(iterations) || iterations < 1 || iterations > MAX_COST) {
    throw new InvalidOptions(`- iterations: expected an integer from 1 to ${MAX_COST}, got ${JSON.stringify(iterations)}`)
  }
  let highestCost = iterations

  async function checkPassword(password: string, encoded: string | null | undefined): Promise<boolean> {
    expectString('checkPassword', 'password', password)
    expectString('checkPassword', 'password field, or null,', encoded ?? '')
    let cost = 0
    let matches = false
    try {
      if (isUsable(encoded)) {
        const hash = readHash(encoded)
        matches = await hash.matches(password)
        cost = hash.cost
        highestCost = Math.max(highestCost, cost)
      }
    } finally {
      if (!matches) await spend(password, highestCost - cost)
    }
    return matches
  }

  async function spend(password: string, missing: number): Promise<void> {
    if (missing >= 1) await pbkdf2(password, 'salt', Math.round(missing), 32, 'sha256')
  }

  async function hashPassword(password: string): Promise<string> {
    expectString('hashPassword', 'password', password)
    const salt = Array.from({ length: SALT_LENGTH }, () => ALPHABET[randomInt(ALPHABET.length)]).join('')
    const hash = await pbkdf2(password, salt, iterations, 32, 'sha256')
    return `pbkdf2_sha256$${iterations}$${salt}$${hash.toString('base64')}`
  }

  function mustUpdate(encoded: string | null | undefined): boolean {
    if (!isUsable(encoded)) return false
    if (!encoded.startsWith('pbkdf2_sha256$')) return true
    const [, storedIterations, salt = ''] = encoded.split('$')
    return !(Number(storedIterations) >= iterations) || salt.length < SALT_LENGTH
  }

  return { checkPassword, hashPassword, mustUpdate }
}

/** Whether a field contains a password that can be checked (`is_password_usable`). */
function isUsable(encoded: string | null | undefined): encoded is string {
  return encoded !== null && encoded !== undefined && encoded !== '' && !encoded.startsWith('!')
}

function expectString(caller: string, what: string, value: unknown): void {
  if (typeof value !== 'string') throw new TypeError(`${caller}: expected a ${what} that is a string, got ${kindOf(value)}`)
}
