/**
 * Port of django/core/signing.py (Django 5.x): text that is sent in the clear and
 * can be neither forged nor, with `maxAge`, kept for too long.
 */
import { deflateSync, inflateSync } from 'node:zlib'
import { BadSignature, SignatureExpired } from '../errors.js'
import { constantTimeCompare, hmac, hmacKey } from './crypto.js'
import { parse } from './json.js'
import { stringify } from './json-writer.js'

const SEPARATOR = ':'
const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

/** The keys and the purpose of signatures. */
export interface SignerOptions {
  /** Django's `SECRET_KEY`: signs, and verifies first. */
  secretKey: string
  /** Django's `SECRET_KEY_FALLBACKS`: former keys, which verify only. @default [] */
  secretKeyFallbacks?: readonly string[]
  /** Namespace of the signature: text signed for one purpose is worth nothing for another. @default the Python path of the class */
  salt?: string
}

/** The same with a clock. */
export interface TimestampSignerOptions extends SignerOptions {
  /** Where the time comes from. @default the system's clock */
  clock?: () => Date
}

/** The options of `dumps`. */
export interface DumpsOptions extends TimestampSignerOptions {
  /** Deflate where that makes the text shorter. @default false */
  compress?: boolean
}

/** The options of `loads`. */
export interface LoadsOptions extends TimestampSignerOptions {
  /** Greatest age in seconds. @default no limit */
  maxAge?: number
  /** Greatest size in bytes after inflating. @default 1048576 (1 MiB) */
  maxSize?: number
}

/** Signs text: `text:signature` (django.core.signing.Signer). */
export class Signer {
  readonly #keys: readonly [Buffer, ...Buffer[]]

  constructor({ secretKey, secretKeyFallbacks = [], salt = 'django.core.signing.Signer' }: SignerOptions) {
    const toKey = (secret: string) => hmacKey(`${salt}signer`, secret)
    this.#keys = [toKey(secretKey), ...secretKeyFallbacks.map(toKey)]
  }

  /** base64url of the HMAC-SHA256 of `text`, without padding. */
  signature(text: string): string {
    return signatureBy(this.#keys[0], text)
  }

  /** The text with its signature. */
  sign(text: string): string {
    return text + SEPARATOR + this.signature(text)
  }

  /** @throws BadSignature */
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

function signatureBy(key: Buffer, text: string): string {
  return hmac(key, text).toString('base64url')
}

/** Signs text with the time: `text:timestamp:signature` (django.core.signing.TimestampSigner). */
export class TimestampSigner {
  readonly #signer: Signer
  readonly #clock: () => Date

  constructor({ clock = () => new Date(), salt = 'django.core.signing.TimestampSigner', ...options }: TimestampSignerOptions) {
    this.#signer = new Signer({ ...options, salt })
    this.#clock = clock
  }

  /** The text with the present second and the signature. */
  sign(text: string): string {
    return this.#signer.sign(text + SEPARATOR + encodeBase62(this.#now()))
  }

  /**
   * @param maxAge greatest age in seconds
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
   * The second in which a text was signed.
   *
   * @throws BadSignature
   */
  signedAt(signed: string): Date {
    return new Date(decodeBase62(this.#split(signed)[1]) * 1000)
  }

  /** The text and the timestamp, when the signature is right. */
  #split(signed: string): [text: string, timestamp: string] {
    const stamped = this.#signer.unsign(signed)
    const cut = stamped.lastIndexOf(SEPARATOR)
    if (cut === -1) throw new BadSignature('no timestamp found')
    return [stamped.slice(0, cut), stamped.slice(cut + 1)]
  }

  #now(): number {
    return Math.floor(this.#clock().getTime() / 1000)
  }

  /** Signs bytes as base64url, after a dot where deflating made them shorter (`TimestampSigner.sign_object`). */
  signBytes(bytes: Buffer, compress: boolean): string {
    if (compress) {
      // The output is small: the default chunk of 16 kB costs more than the work.
      const deflated = deflateSync(bytes, { chunkSize: 1024 })
      if (deflated.length < bytes.length - 1) return this.sign(`.${deflated.toString('base64url')}`)
    }
    return this.sign(bytes.toString('base64url'))
  }

  /**
   * The inverse of signBytes.
   *
   * @throws BadSignature
   * @throws SignatureExpired
   * @throws RangeError (code ERR_BUFFER_TOO_LARGE) over `maxSize` bytes
   */
  unsignBytes(signed: string, maxSize: number, maxAge?: number): Buffer {
    const text = this.unsign(signed, maxAge)
    if (!text.startsWith('.')) return Buffer.from(text, 'base64url')
    return inflateSync(Buffer.from(text.slice(1), 'base64url'), { maxOutputLength: maxSize })
  }
}

/** Signed and timestamped JSON, safe in cookies and URLs (django.core.signing.dumps). */
export function dumps(value: unknown, { compress = false, salt = 'django.core.signing', ...options }: DumpsOptions): string {
  return new TimestampSigner({ ...options, salt }).signBytes(Buffer.from(stringify(value, 'value'), 'latin1'), compress)
}

/**
 * The value that `dumps` was given (django.core.signing.loads).
 *
 * @throws BadSignature
 * @throws SignatureExpired
 * @throws SyntaxError when what was signed is no JSON
 * @throws RangeError (code ERR_BUFFER_TOO_LARGE) over `maxSize` bytes
 */
export function loads(text: string, { maxAge, maxSize = 1_048_576, salt = 'django.core.signing', ...options }: LoadsOptions): unknown {
  return parse(new TimestampSigner({ ...options, salt }).unsignBytes(text, maxSize, maxAge).toString('latin1'))
}

/** @param number an integer from 0 (django.core.signing.b62_encode) */
function encodeBase62(number: number): string {
  let text = ''
  let rest = number
  do {
    text = BASE62[rest % 62] + text
    rest = Math.floor(rest / 62)
  } while (rest > 0)
  return text
}

/** @throws BadSignature on any other character (django.core.signing.b62_decode) */
function decodeBase62(text: string): number {
  let number = 0
  for (let at = 0; at < text.length; at++) {
    const digit = BASE62.indexOf(text.charAt(at))
    if (digit === -1) throw new BadSignature('the timestamp is not base 62')
    number = number * 62 + digit
  }
  return number
}
