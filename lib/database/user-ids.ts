/** The column `user_id`, whose type is that of the users' primary key. */
import type { UserSessionsMigrationSourceOptions } from '../migrations.js'
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

/** The types that the migration of the column knows. */
type UserIdType = UserSessionsMigrationSourceOptions['userId']

const BINDERS: Record<UserIdType, UserIdColumn['bind']> = { bigint: bindInteger, uuid: bindUuid, text: bindText }

/** @param column its type in the database's words */
export function userIdTypeOf({ type }: Pick<Column, 'type'>): UserIdType {
  if (/int/.test(type)) return 'bigint'
  return /^uuid$|^char(?:acter)?\(32\)$/.test(type) ? 'uuid' : 'text'
}

export function userIdColumn(column: Pick<Column, 'type'>, { exactParameter }: Dialect): UserIdColumn {
  const type = userIdTypeOf(column)
  // Collations may ignore case.
  return { bind: BINDERS[type], parameter: type === 'text' ? exactParameter : '?' }
}
