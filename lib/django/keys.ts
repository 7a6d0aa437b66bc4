/** Generation and validation of session keys. */
import { randomBytes } from 'node:crypto'

/** No upper case, for storage that ignores case (django.contrib.sessions.backends.base.VALID_KEY_CHARS). */
const ALPHABET = 'abcdefghijklmnopqrstuvwxyz0123456789'
const LENGTH = 32

/** The largest multiple of 36 in the range of a byte. Higher bytes would make some characters more likely. */
const UNBIASED = 252

/** Generates a session key: 32 random characters from a–z and 0–9, which are 165 bits. */
export function newSessionKey(): string {
  const key = Buffer.alloc(LENGTH)
  let length = 0
  while (length < LENGTH) {
    for (const byte of randomBytes(LENGTH + 8)) {
      if (byte < UNBIASED && length < LENGTH) key[length++] = ALPHABET.charCodeAt(byte % ALPHABET.length)
    }
  }
  return key.toString('latin1')
}

/**
 * Whether text from a cookie can be a session key: 8 to 40 printable ASCII characters, as
 * many as the column holds. Other texts are not sent to the database.
 *
 * @param isData whether the key contains the data. Then only Django's minimum of 8 characters applies
 */
export function isSessionKey(text: string, isData = false): boolean {
  return isData ? text.length >= 8 : /^[!-~]{8,40}$/.test(text)
}
