/**
 * Port of django/core/signing.py (Django 5.x): signed text, which is readable but cannot
 * be forged. `maxAge` limits how long it is valid.
 */
import type { KeyObject } from 'node:crypto'
import { deflateSync, inflateSync } from 'node:zlib'
import { BadSignature, SignatureExpired } from '../errors.js'
import { constantTimeCompare, hmac, hmacKey } from './crypto.js'
import { parse } from './json.js'
import { stringify } from './json-writer.js'

const SEPARATOR = ':'
const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

/** The keys and the salt of signatures. */
export interface SignerOptions {
  /** Django's `SECRET_KEY`: signs and verifies. */
  secretKey: string
  /** Django's `SECRET_KEY_FALLBACKS`: former keys, which only verify. @default [] */
  secretKeyFallbacks?: readonly string[]
  /** The namespace of the signature. Text that is signed with one salt is not valid with another. @default the Python path of the class */
  salt?: string
}

/** The keys and the salt of signatures, and a clock. */
export interface TimestampSignerOptions extends SignerOptions {
  /** Returns the current time. @default the system's clock */
  clock?: () => Date
}

/** The options of `dumps`. */
export interface DumpsOptions extends TimestampSignerOptions {
  /** Whether to compress the text if that makes it shorter. @default false */
  compress?: boolean
}

/** The options of `loads`. */
export interface LoadsOptions extends TimestampSignerOptions {
  /** The maximum age in seconds. @default no limit */
  maxAge?: number
  /** The maximum size in bytes after decompression. @default 1048576 (1 MiB) */
  maxSize?: number
}

/** Signs text: `text:signature` (django.core.signing.Signer). */
export class Signer {
  readonly #keys: readonly [KeyObject, ...KeyObject[]]

  constructor({ secretKey, secretKeyFallbacks = [], salt = 'django.core.signing.Signer' }: SignerOptions) {
    const toKey = (secret: string) => hmacKey(`${salt}signer`, secret)
    this.#keys = [toKey(secretKey), ...secretKeyFallbacks.map(toKey)]
  }

  /** The HMAC-SHA256 of a text in base64url, without padding. */
  signature(text: string): string {
    return signatureBy(this.#keys[0], text)
  }

  /** Appends the signature to a text. */
  sign(text: string): string {
    return text + SEPARATOR + this.signature(text)
  }

  /**
   * The text before the signature.
   *
   * @throws BadSignature
   */
  unsign(signed: string): string {
    const cut = signed.lastIndexOf(SEPARATOR)
    if (cut === -1) throw new BadSignature('no separator found')
    const text = signed.slice(0, cut)
    const signature = signed.slice(cut + 1)
    for (const key of this.#keys) {
      if (constantTimeCompare(signature, signatureBy(key, text))) return text
    }
    throw new BadSignature('it does not match: the text was altered, or signed with another secret key (see secretKeyFallbacks) or salt')
  }
}

function signatureBy(key: KeyObject, text: string): string {
  return hmac(key, text).digest('base64url')
}

/** Signs text with the time: `text:timestamp:signature` (django.core.signing.TimestampSigner). */
export class TimestampSigner {
  readonly #signer: Signer
  readonly #clock: () => Date

  constructor({ clock = () => new Date(), salt = 'django.core.signing.TimestampSigner', ...options }: TimestampSignerOptions) {
    this.#signer = new Signer({ ...options, salt })
    this.#clock = clock
  }

  /** Appends the time in seconds and the signature to a text. */
  sign(text: string): string {
    return this.#signer.sign(text + SEPARATOR + encodeBase62(this.#now()))
  }

  /**
   * The text before the time and the signature.
   *
   * @param maxAge the maximum age in seconds
   * @throws BadSignature
   * @throws SignatureExpired
   */
  unsign(signed: string, maxAge?: number): string {
    const [text, timestamp] = this.#split(signed)
    const signedAt = decodeBase62(timestamp)
    if (maxAge === undefined) return text
    const age = this.#clock().getTime() / 1000 - signedAt
    if (age > maxAge) throw new SignatureExpired(Math.floor(age), maxAge)
    return text
  }

  /**
   * The time at which a text was signed, in whole seconds.
   *
   * @throws BadSignature
   */
  signedAt(signed: string): Date {
    return new Date(decodeBase62(this.#split(signed)[1]) * 1000)
  }

  /** Verifies the signature and splits the rest into text and timestamp. */
  #split(signed: string): [text: string, timestamp: string] {
    const stamped = this.#signer.unsign(signed)
    const cut = stamped.lastIndexOf(SEPARATOR)
    if (cut === -1) throw new BadSignature('no timestamp found')
    return [stamped.slice(0, cut), stamped.slice(cut + 1)]
  }

  #now(): number {
    return Math.floor(this.#clock().getTime() / 1000)
  }

  /**
   * Signs bytes in base64url. A dot before them means that they are deflated
   * (`TimestampSigner.sign_object`).
   *
   * @param compress whether to deflate the bytes if that makes them shorter
   */
  signBytes(bytes: Buffer, compress: boolean): string {
    if (compress) {
      // The output is small, and allocating the default chunk of 16 kB takes 4 of 16 µs.
      const deflated = deflateSync(bytes, { chunkSize: 1024 })
      if (deflated.length < bytes.length - 1) return this.sign(`.${deflated.toString('base64url')}`)
    }
    return this.sign(bytes.toString('base64url'))
  }

  /**
   * The inverse of `signBytes`.
   *
   * @throws BadSignature
   * @throws SignatureExpired
   * @throws RangeError (code ERR_BUFFER_TOO_LARGE) for more than `maxSize` bytes
   */
  unsignBytes(signed: string, maxSize: number, maxAge?: number): Buffer {
    const text = this.unsign(signed, maxAge)
    if (!text.startsWith('.')) return Buffer.from(text, 'base64url')
    return inflateSync(Buffer.from(text.slice(1), 'base64url'), { maxOutputLength: maxSize })
  }
}

/** Serializes a value as signed JSON with a timestamp, for cookies and URLs (django.core.signing.dumps). */
export function dumps(value: unknown, { compress = false, salt = 'django.core.signing', ...options }: DumpsOptions): string {
  return new TimestampSigner({ ...options, salt }).signBytes(Buffer.from(stringify(value, 'value'), 'latin1'), compress)
}

/**
 * Verifies text that `dumps` made, and returns the value (django.core.signing.loads).
 *
 * @throws BadSignature
 * @throws SignatureExpired
 * @throws SyntaxError when the signed text is not JSON
 * @throws RangeError (code ERR_BUFFER_TOO_LARGE) for more than `maxSize` bytes
 */
export function loads(text: string, { maxAge, maxSize = 1_048_576, salt = 'django.core.signing', ...options }: LoadsOptions): unknown {
  return parse(new TimestampSigner({ ...options, salt }).unsignBytes(text, maxSize, maxAge).toString('latin1'))
}

/** An integer from 0 in base 62 (django.core.signing.b62_encode). */
function encodeBase62(number: number): string {
  let text = ''
  let rest = number
  do {
    text = BASE62[rest % 62] + text
    rest = Math.floor(rest / 62)
  } while (rest > 0)
  return text
}

/**
 * The inverse of encodeBase62 (django.core.signing.b62_decode).
 *
 * @throws BadSignature
 */
function decodeBase62(text: string): number {
  let number = 0
  for (let at = 0; at < text.length; at++) {
    const digit = BASE62.indexOf(text.charAt(at))
    if (digit === -1) throw new BadSignature('the timestamp is not base 62')
    number = number * 62 + digit
  }
  return number
}
