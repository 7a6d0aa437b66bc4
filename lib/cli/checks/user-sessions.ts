/** Compares the table of user sessions with the one that django-allauth makes. */
import type { Column, Index } from '../../database/inspection.js'
import { USER_SESSIONS_TABLE } from '../../database/user-sessions-table.js'
import { USER_SESSIONS_COLUMNS } from '../../database/verification.js'
import { type Finding, finding } from './finding.js'

/** @param columns empty where there is no such table, which only the option `userSessions` needs */
export function checkUserSessions(columns: readonly Column[], indexes: readonly Index[]): Finding[] {
  if (columns.length === 0) return []
  const names = columns.map(({ name }) => name)
  const missing = USER_SESSIONS_COLUMNS.filter((name) => !names.includes(name))
  if (missing.length > 0) {
    return [
      finding(
        'fail',
        'user sessions',
        `${USER_SESSIONS_TABLE} has no column ${missing.join(', ')}: it is no table of django-allauth's usersessions`
      )
    ]
  }
  const startsWith = (name: string) => indexes.filter(({ columns: [first] }) => first === name)
  const findings: Finding[] = []
  if (!startsWith('session_key').some(({ unique, columns: { length } }) => unique && length === 1)) {
    findings.push(finding('fail', 'user sessions', 'session_key has no unique index: a session may be listed twice'))
  }
  if (startsWith('user_id').length === 0) {
    const statement = `CREATE INDEX ${USER_SESSIONS_TABLE}_user_id ON ${USER_SESSIONS_TABLE} (user_id)`
    findings.push(finding('warn', 'user sessions', `user_id has no index, so each list reads all rows: ${statement}`))
  }
  return findings.length > 0 ? findings : [finding('ok', 'user sessions', 'as django-allauth makes them')]
}
