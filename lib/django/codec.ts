/** Session data to signed text and back: `encode` and `decode` of django/contrib/sessions/backends/base.py. */
import { constants, inflateSync } from 'node:zlib'
import { BadSignature, SessionTooLarge, SignatureExpired, SuspiciousSession } from '../errors.js'
import type { MemberSerializer, Members } from './serializer.js'
import { TimestampSigner } from './signing.js'

/** Django's `SessionBase.key_salt`: the salt of the engines db, cached_db and file. */
export const STORE_SALT = 'django.contrib.sessions.SessionStore'

/** How many times its own size honest text may inflate to: JSON reaches a tenth of this. */
const BOMB_RATIO = 200

export interface CodecOptions {
  secretKey: string
  secretKeyFallbacks: readonly string[]
  salt: string
  clock: () => Date
  serializer: MemberSerializer
  /** Bytes of serialized data from which on it is deflated where that makes it shorter; 0 is Django's rule. */
  compressAbove: number
  /** Greatest size of serialized data in bytes. */
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

  /** @throws SessionTooLarge */
  encode(members: Members): string {
    const bytes = Buffer.from(this.serializer.join(members), 'latin1')
    if (bytes.length > this.#maxSize) throw new SessionTooLarge(this.#maxSize)
    return this.#signer.signBytes(bytes, bytes.length >= this.#compressAbove)
  }

  /**
   * @param maxAge greatest age of the signature in seconds; stored sessions have none
   * @throws SuspiciousSession when the text is corrupt, forged, or inflates beyond reason
   * @throws SessionTooLarge
   */
  decode(text: string, maxAge?: number): Members {
    const bytes = this.#unsign(text, maxAge)
    if (bytes.length > this.#maxSize) throw new SessionTooLarge(this.#maxSize)
    try {
      return this.serializer.split(bytes.toString('latin1'))
    } catch {
      // The parser's message quotes the data: it goes nowhere.
      throw new SuspiciousSession('it cannot be deserialized')
    }
  }

  /** When a text was signed that `decode` accepts. */
  signedAt(text: string): Date {
    return this.#signer.signedAt(text)
  }

  #unsign(text: string, maxAge: number | undefined): Buffer {
    try {
      return this.#signer.unsignBytes(text, this.#maxSize, maxAge)
    } catch (error) {
      if (error instanceof BadSignature || error instanceof SignatureExpired) throw new SuspiciousSession(error.message)
      if ((error as NodeJS.ErrnoException).code !== 'ERR_BUFFER_TOO_LARGE') throw new SuspiciousSession('it cannot be inflated')
      // A session that an honest writer let grow is not thrown away; a bomb is no session.
      if (!this.#isBomb(text)) throw new SessionTooLarge(this.#maxSize)
      throw new SuspiciousSession('it inflates beyond maxSize')
    }
  }

  /** Whether as little as maxSize / BOMB_RATIO of it is too large already. Inflates no more than maxSize. */
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
