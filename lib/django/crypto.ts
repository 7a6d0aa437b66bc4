/** Port of the functions in django/utils/crypto.py that sessions and logins need. */
import { createHash, createHmac, createSecretKey, type Hmac, type KeyObject, timingSafeEqual } from 'node:crypto'

/** Whether two strings are equal. The time depends on their lengths only (`constant_time_compare`). */
export function constantTimeCompare(left: string, right: string): boolean {
  const [first, second] = [Buffer.from(left), Buffer.from(right)]
  return first.length === second.length && timingSafeEqual(first, second)
}

/** HMAC-SHA256 with a key made of a salt and a secret (`salted_hmac`). */
export function saltedHmac(keySalt: string, text: string, secret: string): Buffer {
  return hmac(hmacKey(keySalt, secret), text).digest()
}

/** The key that `salted_hmac` makes. */
export function hmacKey(keySalt: string, secret: string): KeyObject {
  const hash = createHash('sha256').update(keySalt + secret)
  return createSecretKey(hash.digest())
}

/** HMAC-SHA256 of the text in UTF-8, to be digested. */
export function hmac(key: KeyObject, text: string): Hmac {
  return createHmac('sha256', key).update(text)
}
