/**
 * Django's format of session data, written by hand for these data alone: JSON in
 * base64url, after a dot where it is deflated, signed with a timestamp.
 */
import { createHash, createHmac, createSecretKey, timingSafeEqual } from 'node:crypto'
import { deflateSync, inflateSync } from 'node:zlib'

const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

/** @param compressAbove bytes from which on data is deflated: Django's rule is 0 */
export function createCodec(secretKey: string, compressAbove: number) {
  const salt = 'django.contrib.sessions.SessionStoresigner'
  const key = createSecretKey(
    createHash('sha256')
      .update(salt + secretKey)
      .digest()
  )
  const sign = (text: string) => createHmac('sha256', key).update(text).digest('base64url')

  return {
    encode(data: unknown): string {
      const json = Buffer.from(JSON.stringify(data))
      let text = json.toString('base64url')
      if (json.length >= compressAbove) {
        const deflated = deflateSync(json)
        if (deflated.length < json.length - 1) text = `.${deflated.toString('base64url')}`
      }
      const stamped = `${text}:${base62(Math.floor(Date.now() / 1000))}`
      return `${stamped}:${sign(stamped)}`
    },
    decode(signed: string): Record<string, unknown> {
      const cut = signed.lastIndexOf(':')
      const stamped = signed.slice(0, cut)
      if (!timingSafeEqual(Buffer.from(sign(stamped)), Buffer.from(signed.slice(cut + 1)))) throw new Error('bad signature')
      const text = stamped.slice(0, stamped.lastIndexOf(':'))
      const json = text.startsWith('.') ? inflateSync(Buffer.from(text.slice(1), 'base64url')) : Buffer.from(text, 'base64url')
      return JSON.parse(json.toString())
    }
  }
}

function base62(number: number): string {
  let text = ''
  for (let rest = number; rest > 0; rest = Math.floor(rest / 62)) text = BASE62[rest % 62] + text
  return text
}
