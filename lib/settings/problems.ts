/** The checks of all options. */
import { isDate } from 'node:util/types'
import { MAX_AGE } from '../django/expiry.js'
import { kindOf } from '../kind-of.js'
import { BOOLEAN, type Check, checkAll, FUNCTION, isNumberFrom, isObject, isText, oneOf, received } from './check.js'
import { cookieProblems } from './cookie.js'
import type { SessionOptions } from './options.js'
import { scheduleProblems } from './schedule.js'
import { placeholderProblems } from './secret-key.js'
import { STORAGE_CHECKS, storageProblems } from './storage.js'
import { TIMEOUTS_CHECK, timeoutProblems } from './timeouts.js'
import { userSessionsProblems } from './user-sessions.js'

const isKey = (value: unknown): boolean => isText(value) && value.trim() !== ''

const CHECKS: Record<keyof SessionOptions, Check> = {
  secretKey: ['a string that is not blank', isKey],
  secretKeyFallbacks: ['an array of strings that are not blank', (value) => Array.isArray(value) && value.every(isKey)],
  ...STORAGE_CHECKS,
  tableName: ['the name of a table', isText],
  columns: FUNCTION,
  filePath: ['the path of a folder', isText],
  serializer: [
    'an object with the functions dumps and loads',
    (value) => isObject(value) && typeof value.dumps === 'function' && typeof value.loads === 'function'
  ],
  cookie: ['an object', isObject],
  cookieAge: [
    `whole seconds from 1 to ${MAX_AGE} (400 days, the most that browsers keep a cookie)`,
    (value) => Number.isInteger(value) && isNumberFrom(1, MAX_AGE)(value)
  ],
  expireAtBrowserClose: BOOLEAN,
  saveEveryRequest: BOOLEAN,
  touchAfter: ['seconds from 0', isNumberFrom(0)],
  timeouts: TIMEOUTS_CHECK,
  load: oneOf('lazy', 'eager'),
  onConflict: oneOf('merge', 'reject', 'overwrite'),
  saveNestedChanges: BOOLEAN,
  storeTimeout: ['seconds from 0.001 to 600', isNumberFrom(0.001, 600)],
  maxSize: ['bytes from 1', isNumberFrom(1, 2 ** 30)],
  compressAbove: ['bytes from 0', isNumberFrom(0)],
  preparedStatements: BOOLEAN,
  batching: BOOLEAN,
  clearExpired: ['an object with either every or cron', isObject],
  userSessions: ['true, false or an object with ip and userAgent', (value) => typeof value === 'boolean' || isObject(value)],
  verify: BOOLEAN,
  clock: FUNCTION
}

/** Describes everything that is wrong with the options. Empty if they are valid. */
export function findProblems(options: SessionOptions): string[] {
  if (!isObject(options)) return [`expected an object with options, got ${received(options)}`]
  return [
    ...checkAll(options, CHECKS),
    ...cookieProblems(options.cookie),
    ...scheduleProblems(options.clearExpired),
    ...storageProblems(options),
    ...timeoutProblems(options),
    ...userSessionsProblems(options),
    ...clockProblems(options.clock),
    ...secretKeyProblems(options)
  ]
}

/** Asks the clock for the time: one that gives none would fail every request. */
function clockProblems(clock: unknown): string[] {
  if (typeof clock !== 'function') return []
  const now: unknown = clock()
  if (isDate(now) && !Number.isNaN(now.getTime())) return []
  const received = isDate(now) ? 'an invalid one' : kindOf(now)
  return [`clock: expected a function that returns the time as a Date, got one that returns ${received}`]
}

function secretKeyProblems(options: SessionOptions): string[] {
  if (options.secretKey !== undefined) return placeholderProblems(options)
  return [`secretKey: expected ${CHECKS.secretKey[0]}, got nothing. If Django shares the sessions, it is Django's SECRET_KEY`]
}
