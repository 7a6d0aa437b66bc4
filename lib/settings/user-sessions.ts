/** Checks of the option `userSessions`, alone and with the engine. */
import { KeyvCache } from '../caches/keyv.js'
import { BOOLEAN, type Check, checkAll, isObject, oneOf } from './check.js'
import type { SessionOptions, UserSessionsOptions } from './options.js'
import { isInTable } from './storage.js'

const CHECKS: Record<keyof UserSessionsOptions, Check> = { ip: oneOf('full', 'prefix', false), userAgent: BOOLEAN }

/** Describes everything that is wrong with the option. */
export function userSessionsProblems({ userSessions, engine = 'db', cache }: SessionOptions): string[] {
  if (!userSessions) return []
  return [...(isObject(userSessions) ? checkAll(userSessions, CHECKS, 'userSessions.') : []), ...engineProblems(engine, cache)]
}

function engineProblems(engine: unknown, cache: unknown): string[] {
  if (!isInTable(engine)) {
    const received = typeof engine === 'string' ? JSON.stringify(engine) : 'another one'
    return [
      `userSessions: expected the engine "db" or "cached_db" with it, got ${received}: only in a table can the sessions of a user be found, and ended`
    ]
  }
  if (engine === 'db' || !(cache instanceof KeyvCache)) return []
  return [
    'userSessions: expected another cache than KeyvCache with it, which has no atomic operations: a session that was ended could still be used for cacheMaxAge seconds'
  ]
}
