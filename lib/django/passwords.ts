/** Checks and makes passwords as django/contrib/auth/hashers.py does (Django 3.2 to 6.1). */
import { randomInt } from 'node:crypto'
import { InvalidOptions } from '../errors.js'
import { kindOf } from '../kind-of.js'
import { MAX_COST, pbkdf2, readHash } from './hashers.js'

/** Options of `createPasswords`. */
export interface PasswordOptions {
  /** Iterations of PBKDF2-SHA256 for new hashes, and at least as many for each failed check. @default 1_500_000, as in Django 6.1 */
  iterations?: number
}

/** Functions that need no `this`. */
export interface Passwords {
  /**
   * Whether `password` is the password of Django's field `password` (`check_password`).
   * Reads `pbkdf2_sha256`, `pbkdf2_sha1` and `scrypt`; `argon2` with the package
   * `@node-rs/argon2`; `bcrypt` and `bcrypt_sha256` with `bcryptjs`. False for null,
   * undefined, an empty field and an unusable password (`!…`).
   *
   * A failed check costs the same number of PBKDF2 iterations, whoever it is for: the
   * highest of the option `iterations` and of all fields that were checked since the
   * process began. Cheaper hashes are topped up (`harden_runtime`). So response times do
   * not tell which users exist, with these exceptions: the work of scrypt, Argon2 and
   * bcrypt is converted by fixed rates, which differ between machines; a field that
   * costs more than all before it takes longer the first time; bcryptjs
   * computes in the main thread; and an error is no false: catch `UnsupportedPassword` if
   * the status of the reply must not tell either. A correct password costs its own hash
   * only.
   *
   * @throws UnsupportedPassword for other formats, missing packages and costs beyond 20 million iterations or 256 MiB, after the same work
   * @throws TypeError when the password or the field is not a string
   */
  checkPassword(password: string, encoded: string | null | undefined): Promise<boolean>
  /**
   * A new value of the field `password`, which Django can read: `pbkdf2_sha256` with a
   * salt of 22 random letters and digits (`make_password`).
   *
   * @throws TypeError when the password is not a string
   */
  hashPassword(password: string): Promise<string>
  /**
   * Whether to store `hashPassword(password)` after a successful check, since the field
   * has another algorithm than `pbkdf2_sha256`, fewer iterations or a shorter salt than
   * new ones (`must_update`). Unlike in Django a field with more iterations is left alone.
   */
  mustUpdate(encoded: string | null | undefined): boolean
}

const ALPHABET = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'
/** Characters of the salt: 131 bits, of which Django wants 128 (`salt_entropy`). */
const SALT_LENGTH = 22

/**
 * `checkPassword`, `hashPassword` and `mustUpdate` with a number of iterations of your own.
 *
 * @throws InvalidOptions
 */
export function createPasswords({ iterations = 1_500_000 }: PasswordOptions = {}): Passwords {
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

/** `is_password_usable`, and whether there is a password at all. */
function isUsable(encoded: string | null | undefined): encoded is string {
  return encoded !== null && encoded !== undefined && encoded !== '' && !encoded.startsWith('!')
}

function expectString(caller: string, what: string, value: unknown): void {
  if (typeof value !== 'string') throw new TypeError(`${caller}: expected a ${what} that is a string, got ${kindOf(value)}`)
}
