/**
 * The formats of Django's field `password`: port of the hashers in
 * django/contrib/auth/hashers.py (Django 3.2 to 6.1). The format of new hashes is
 * decided in passwords.ts.
 */
import { createHash, pbkdf2 as pbkdf2Callback, type ScryptOptions, scrypt } from 'node:crypto'
import { promisify } from 'node:util'
import { UnsupportedPassword } from '../errors.js'
import { constantTimeCompare } from './crypto.js'

/** A password field in a format that can be checked. */
export interface StoredHash {
  /** The work of one check, as the number of PBKDF2-SHA256 iterations that take about as long. Exact for `pbkdf2_sha256`. */
  cost: number
  /** @throws UnsupportedPassword when the package that computes the hash is not installed */
  matches(password: string): Promise<boolean>
}

/** More than ten times the default of Django 6.1, but too little for a denial of service. */
export const MAX_COST = 20_000_000
/** The maximum memory of one check in bytes. More than twice what Django's Argon2 needs. */
const MAX_MEMORY = 256 * 1024 * 1024

/** Measured on one core: 4096 rounds of bcryptjs take as long as 880 000 iterations of PBKDF2. */
const COST_PER_BCRYPT_ROUND = 215
/** Measured on one core: two passes of Argon2 over 100 MiB take as long as 320 000 iterations of PBKDF2. */
const COST_PER_ARGON2_KIB = 1.5

/** Algorithms of Django that are too weak or too rare to be supported. Errors may name them, because the name is not secret. */
const UNSUPPORTED = ['crypt', 'md5', 'sha1', 'unsalted_md5', 'unsalted_sha1']

const scryptAsync = promisify<string, string, number, ScryptOptions, Buffer>(scrypt)

interface Hasher {
  format: RegExp
  /** @param fields the values of the groups in `format` */
  read(fields: string[]): StoredHash
}

const HASHERS: Record<string, Hasher> = {
  pbkdf2_sha256: pbkdf2Hasher('sha256', 32),
  pbkdf2_sha1: pbkdf2Hasher('sha1', 20),
  scrypt: { format: /^scrypt\$(\d+)\$([^$]*)\$(\d+)\$(\d+)\$(.+)$/, read: readScrypt },
  argon2: { format: /^argon2(\$argon2(?:id|i|d)(?:\$v=\d+)?\$m=(\d+),t=(\d+),p=\d+\$[^$]+\$[^$]+)$/, read: readArgon2 },
  bcrypt: bcryptHasher(/^bcrypt\$(\$2[aby]\$(\d\d)\$[./A-Za-z\d]{53})$/, (password) => password),
  bcrypt_sha256: bcryptHasher(/^bcrypt_sha256\$(\$2[aby]\$(\d\d)\$[./A-Za-z\d]{53})$/, (password) =>
    createHash('sha256').update(password).digest('hex')
  )
}

/**
 * Parses a password field (`identify_hasher` and `decode`).
 *
 * @throws UnsupportedPassword for other formats and for costs out of bounds. Of the field, the message contains only the name of the algorithm.
 */
export function readHash(encoded: string): StoredHash {
  const algorithm = encoded.split('$', 1)[0] as string
  const hasher = Object.hasOwn(HASHERS, algorithm) ? HASHERS[algorithm] : undefined
  if (hasher === undefined) throw new UnsupportedPassword(problemOf(encoded, algorithm))
  const [, ...fields] = hasher.format.exec(encoded) ?? []
  if (fields.length === 0) throw new UnsupportedPassword(`expected Django's format of ${algorithm}`)
  const hash = hasher.read(fields)
  if (!(hash.cost >= 1 && hash.cost <= MAX_COST)) throw outOfBounds()
  return hash
}

function problemOf(encoded: string, algorithm: string): string {
  if (/^\$2[abxy]?\$/.test(encoded)) return "it is a bcrypt hash without Django's name of the algorithm: store it as 'bcrypt$' + hash"
  if (encoded.startsWith('$argon2')) return "it is an Argon2 hash without Django's name of the algorithm: store it as 'argon2' + hash"
  if (UNSUPPORTED.includes(algorithm)) return `${algorithm} is not supported. Let Django rehash it at the next login, or reset the password`
  return 'expected one of the formats pbkdf2_sha256, pbkdf2_sha1, scrypt, argon2, bcrypt and bcrypt_sha256 of Django, got another'
}

function outOfBounds() {
  return new UnsupportedPassword('its work factor or memory is out of bounds')
}

/** The PBKDF2 hash of a password, `bytes` long. */
export function pbkdf2(password: string, salt: string, iterations: number, bytes: number, digest: string): Promise<Buffer> {
  return promisify(pbkdf2Callback)(password, salt, iterations, bytes, digest)
}

function pbkdf2Hasher(digest: string, bytes: number): Hasher {
  return {
    format: /^\w+\$(\d+)\$([^$]*)\$(.+)$/,
    read([iterations, salt, expected]) {
      const cost = Number(iterations)
      const matches = async (password: string) => {
        const actual = await pbkdf2(password, salt as string, cost, bytes, digest)
        return constantTimeCompare(expected as string, actual.toString('base64'))
      }
      return { cost, matches }
    }
  }
}

function readScrypt([workFactor, salt, blockSize, parallelism, expected]: string[]): StoredHash {
  const [N, r, p] = [Number(workFactor), Number(blockSize), Number(parallelism)]
  const matches = async (password: string) => {
    // Node.js rejects parameters that need more memory, and a work factor that is not a power of two.
    const actual = await scryptAsync(password, salt as string, 64, { N, r, p, maxmem: MAX_MEMORY }).catch(() => {
      throw outOfBounds()
    })
    return constantTimeCompare(expected as string, actual.toString('base64'))
  }
  // One block takes about as long as one iteration.
  return { cost: N * r * p, matches }
}

function readArgon2([hash, memory, passes]: string[]): StoredHash {
  if (Number(memory) * 1024 > MAX_MEMORY) throw outOfBounds()
  const matches = async (password: string) => {
    const { verify } = await import('@node-rs/argon2').catch(() => refuseWithout('@node-rs/argon2'))
    return verify(hash as string, password).catch(() => {
      throw new UnsupportedPassword("expected Django's format of argon2")
    })
  }
  return { cost: Number(memory) * Number(passes) * COST_PER_ARGON2_KIB, matches }
}

function bcryptHasher(format: RegExp, prepare: (password: string) => string): Hasher {
  return {
    format,
    read([hash, rounds]) {
      if (Number(rounds) < 4) throw outOfBounds()
      const matches = async (password: string) => {
        const bcrypt = await import('bcryptjs').catch(() => refuseWithout('bcryptjs'))
        const prepared = prepare(password)
        // bcrypt repeats a password, with a NUL in between: 'a' and 'a\0a' have the same hash.
        return (await bcrypt.compare(prepared, hash as string)) && !prepared.includes('\0')
      }
      return { cost: 2 ** Number(rounds) * COST_PER_BCRYPT_ROUND, matches }
    }
  }
}

/** Called in a `catch` directly after the import, so that bundlers accept a missing package. */
function refuseWithout(name: string): never {
  throw new UnsupportedPassword(`it needs the package ${name}, which could not be loaded: npm install ${name}`)
}
