/** The column `user_id`, whose type is that of the users' primary key. */
import type { Dialect } from './dialect.js'
import type { Column } from './inspection.js'

export interface UserIdColumn {
  /** The id of a user as it is bound; null for a user who cannot be in the column. */
  bind(userId: string): string | null
  /** SQL for the bound id that the column is compared with. */
  parameter: string
}

const LONGEST_TEXT = 255

function bindInteger(userId: string): string | null {
  return /^(?:0|-?[1-9]\d{0,18})$/.test(userId) && BigInt.asIntN(64, BigInt(userId)) === BigInt(userId) ? userId : null
}

/** Without dashes, as Django stores a UUID where the database has no type for it. A column of that type takes both. */
function bindUuid(userId: string): string | null {
  const digits = userId.replaceAll('-', '').toLowerCase()
  return /^[0-9a-f]{32}$/.test(digits) ? digits : null
}

function bindText(userId: string): string | null {
  return userId.length <= LONGEST_TEXT && !userId.includes('\0') ? userId : null
}

/** @param column its type in the database's words */
export function userIdColumn({ type }: Column, { exactParameter }: Dialect): UserIdColumn {
  if (/int/.test(type)) return { bind: bindInteger, parameter: '?' }
  if (/^uuid$|^char(?:acter)?\(32\)$/.test(type)) return { bind: bindUuid, parameter: '?' }
  // Collations may ignore case.
  return { bind: bindText, parameter: exactParameter }
}
