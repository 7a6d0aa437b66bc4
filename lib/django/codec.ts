/** Converts session data to signed text and back: `encode` and `decode` of django/contrib/sessions/backends/base.py. */
import { constants, inflateSync } from 'node:zlib'
import { BadSignature, SessionTooLarge, SignatureExpired, SuspiciousSession } from '../errors.js'
import type { MemberSerializer, Members } from './serializer.js'
import { TimestampSigner } from './signing.js'

/** Django's `SessionBase.key_salt`: the salt of the engines db, cached_db and file. */
export const STORE_SALT = 'django.contrib.sessions.SessionStore'

/** The highest plausible ratio of inflated to deflated size. JSON of real sessions reaches a tenth of it. */
const BOMB_RATIO = 200

export interface CodecOptions {
  secretKey: string
  secretKeyFallbacks: readonly string[]
  salt: string
  clock: () => Date
  serializer: MemberSerializer
  /** The least size in bytes at which serialized data is deflated, if that makes it shorter. 0 is Django's rule. */
  compressAbove: number
  /** The maximum size of serialized data in bytes. */
  maxSize: number
}

export class Codec {
  readonly serializer: MemberSerializer
  readonly #signer: TimestampSigner
  readonly #compressAbove: number
  readonly #maxSize: number

  constructor({ serializer, compressAbove, maxSize, ...signing }: CodecOptions) {
    this.serializer = serializer
    this.#signer = new TimestampSigner(signing)
    this.#compressAbove = compressAbove
    this.#maxSize = maxSize
  }

  /**
   * Serializes and signs the members of a session.
   *
   * @throws SessionTooLarge
   */
  encode(members: Members): string {
    const bytes = Buffer.from(this.serializer.join(members), 'latin1')
    if (bytes.length > this.#maxSize) throw new SessionTooLarge(this.#maxSize)
    return this.#signer.signBytes(bytes, bytes.length >= this.#compressAbove)
  }

  /**
   * Verifies and deserializes text that `encode` or Django made.
   *
   * @param maxAge the maximum age of the signature in seconds. Sessions in a store have no limit
   * @throws SuspiciousSession when the text is corrupt, forged or a decompression bomb
   * @throws SessionTooLarge
   */
  decode(text: string, maxAge?: number): Members {
    const bytes = this.#unsign(text, maxAge)
    if (bytes.length > this.#maxSize) throw new SessionTooLarge(this.#maxSize)
    try {
      return this.serializer.split(bytes.toString('latin1'))
    } catch {
      // The parser's error quotes the data, so it must not become the cause.
      throw new SuspiciousSession('it cannot be deserialized')
    }
  }

  /** Decodes as `decode` does. Null for a text that cannot be read: forged, damaged, or too large. */
  tryDecode(text: string): Members | null {
    try {
      return this.decode(text)
    } catch (error) {
      if (isUnreadable(error)) return null
      throw error
    }
  }

  /**
   * The time at which a text was signed.
   *
   * @throws BadSignature
   */
  signedAt(text: string): Date {
    return this.#signer.signedAt(text)
  }

  #unsign(text: string, maxAge: number | undefined): Buffer {
    try {
      return this.#signer.unsignBytes(text, this.#maxSize, maxAge)
    } catch (error) {
      if (error instanceof BadSignature || error instanceof SignatureExpired) throw new SuspiciousSession(error.message)
      if ((error as NodeJS.ErrnoException).code !== 'ERR_BUFFER_TOO_LARGE') throw new SuspiciousSession('it cannot be inflated')
      // A session that has grown too large must not be lost. A bomb counts as corrupt.
      if (!this.#isBomb(text)) throw new SessionTooLarge(this.#maxSize)
      throw new SuspiciousSession('it inflates beyond maxSize')
    }
  }

  /** Whether the first maxSize / BOMB_RATIO bytes alone inflate to more than maxSize. Inflates at most maxSize. */
  #isBomb(text: string): boolean {
    const start = Buffer.from(text.slice(1, text.indexOf(':')), 'base64url').subarray(0, Math.ceil(this.#maxSize / BOMB_RATIO))
    try {
      inflateSync(start, { maxOutputLength: this.#maxSize, finishFlush: constants.Z_SYNC_FLUSH })
      return false
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE'
    }
  }
}

/** Whether an error is that of stored data, so that it says nothing about other sessions. */
export function isUnreadable(error: unknown): boolean {
  return error instanceof SuspiciousSession || error instanceof SessionTooLarge
}
