/** Session keys: how they are made, and which text can be one. */
import { randomBytes } from 'node:crypto'

/** Lower case and digits, for storage that does not tell cases apart (django.contrib.sessions.backends.base.VALID_KEY_CHARS). */
const ALPHABET = 'abcdefghijklmnopqrstuvwxyz0123456789'
const LENGTH = 32

/** The largest multiple of 36 that fits in a byte: bytes from there on would favour some characters. */
const UNBIASED = 252

/** 32 characters from a–z and 0–9, each equally likely: 165 bits. */
export function newSessionKey(): string {
  let key = ''
  while (key.length < LENGTH) {
    for (const byte of randomBytes(LENGTH + 8)) {
      if (byte < UNBIASED && key.length < LENGTH) key += ALPHABET[byte % ALPHABET.length]
    }
  }
  return key
}

/**
 * Whether text from a cookie can be a session's key. Django asks for 8 characters, and
 * that is all where the key is the data. A column holds 40, and what no writer of ours or
 * Django's makes (controls, spaces, non-ASCII) would reach the database only to do harm.
 */
export function isSessionKey(text: string, isData = false): boolean {
  return isData ? text.length >= 8 : /^[!-~]{8,40}$/.test(text)
}
