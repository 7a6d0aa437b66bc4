/**
 * The engine `signed_cookies`: the cookie is the session, signed but not encrypted
 * (django/contrib/sessions/backends/signed_cookies.py). Nothing is stored. Therefore a
 * session ends only by its age, a copied cookie works after a logout, and of two writes
 * at once the browser keeps one.
 */
import type { ClearExpiredReport, Engine, SaveResult, SessionRecord, StoredSession } from '../contract.js'
import type { Codec } from '../django/codec.js'
import { EXPIRY_NAME, expiryDate } from '../django/expiry.js'
import { CookieTooLarge } from '../errors.js'

export const COOKIE_SALT = 'django.contrib.sessions.backends.signed_cookies'

/** The largest cookie in bytes, name and value together. Browsers silently drop larger ones (RFC 6265bis §5.6). */
const MAX_COOKIE_SIZE = 4096

/** The limit of the decompressed data in bytes: about twenty times what a cookie holds without compression. */
export const MAX_DATA_SIZE = 65_536

export interface SignedCookiesEngineOptions {
  codec: Codec
  cookieName: string
  /** The age of a session without an expiry of its own, in seconds. */
  cookieAge: number
  /** The option `timeouts.idle`, in seconds. */
  idle?: number | undefined
  clock: () => Date
}

export class SignedCookiesEngine implements Engine {
  readonly keyIsData = true
  readonly salt = COOKIE_SALT
  readonly #options: SignedCookiesEngineOptions

  constructor(options: SignedCookiesEngineOptions) {
    this.#options = options
  }

  /** @throws SuspiciousSession if the cookie is forged */
  async load(sessionKey: string): Promise<StoredSession | null> {
    const { codec, cookieAge, idle, clock } = this.#options
    const expiry = codec.decode(sessionKey).get(EXPIRY_NAME)?.value
    const expireDate = expiryDate(expiry, cookieAge, codec.signedAt(sessionKey), idle)
    return expireDate > clock() ? { sessionData: sessionKey, expireDate } : null
  }

  async create({ sessionData }: SessionRecord): Promise<string> {
    const size = this.#options.cookieName.length + sessionData.length
    if (size > MAX_COOKIE_SIZE) throw new CookieTooLarge(size, MAX_COOKIE_SIZE)
    return sessionData
  }

  async save(_sessionKey: string, record: SessionRecord): Promise<SaveResult> {
    return { outcome: 'saved', sessionKey: await this.create(record) }
  }

  async saveLocked(sessionKey: string, merge: (stored: StoredSession) => SessionRecord) {
    const stored = await this.load(sessionKey)
    if (stored === null) return { outcome: 'gone' as const }
    return { outcome: 'saved' as const, sessionKey: await this.create(merge(stored)) }
  }

  /** Never called: with `keyIsData` a session is renewed by saving it. */
  async touch(): Promise<boolean> {
    return true
  }

  async cycleKey(sessionKey: string): Promise<string> {
    return sessionKey
  }

  async delete(): Promise<void> {}

  async exists(): Promise<boolean> {
    return false
  }

  async clearExpired(): Promise<ClearExpiredReport> {
    return { deleted: 0, batches: 0, milliseconds: 0, backlogAge: null }
  }
}
