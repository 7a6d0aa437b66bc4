/** Where a session was seen, in the form in which it is stored. */
import { isIP } from 'node:net'

/** The address and the device of a request, as they came. */
export interface Client {
  ip: string | undefined
  userAgent: string | undefined
}

/** How much of an address is stored. */
export type IpPrivacy = 'full' | 'prefix' | false

/** Stored in place of no address, since django-allauth's column is NOT NULL. */
export const NO_IP = '0.0.0.0'

const LONGEST_USER_AGENT = 200

/**
 * An address as it is stored: an IPv4 address that is mapped to IPv6 as what it is, and without a zone. Of a prefix the
 * rest is zero: /24 of IPv4, /48 of IPv6.
 */
export function storedIp(ip: string | undefined, privacy: IpPrivacy): string {
  const address = plainAddress(ip ?? '')
  if (address === null || privacy === false) return NO_IP
  if (privacy === 'full') return address
  return isIP(address) === 4 ? address.replace(/\d+$/, '0') : shortened(`${groupsOf(address).slice(0, 3).join(':')}::`)
}

/** Null for what is no address, as that of a client on a Unix socket. */
function plainAddress(ip: string): string | null {
  const [address = ''] = ip.split('%')
  if (isIP(address) !== 6) return isIP(address) === 4 ? address : null
  const groups = groupsOf(address)
  const isMapped = groups.slice(0, 6).join(':') === '0:0:0:0:0:ffff'
  if (!isMapped) return shortened(address)
  const bytes = groups.slice(6).flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 0xff])
  return bytes.join('.')
}

/** The shortest form of an IPv6 address, without dots. */
function shortened(address: string): string {
  return new URL(`http://[${address}]`).hostname.slice(1, -1)
}

/** The eight groups of an IPv6 address, in hexadecimal without leading zeros. */
function groupsOf(address: string): string[] {
  const [start = '', end] = shortened(address).split('::')
  const split = (part: string) => (part === '' ? [] : part.split(':'))
  if (end === undefined) return split(start)
  const [first, last] = [split(start), split(end)]
  return [...first, ...Array<string>(8 - first.length - last.length).fill('0'), ...last]
}

/** A header as it is stored: without characters that control a terminal, a page or a database. */
export function storedUserAgent(userAgent: string | undefined, isWanted: boolean): string {
  if (!isWanted || userAgent === undefined) return ''
  return userAgent.slice(0, LONGEST_USER_AGENT).replace(/\p{C}/gu, ' ').trim()
}
