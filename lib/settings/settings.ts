/** The settings that the rest of the package reads: checked options, with their defaults. */
import { refuse } from './check.js'
import type { CookieOptions, SessionOptions, UserSessionsOptions } from './options.js'
import { findProblems } from './problems.js'
import { DEFAULT_COOKIE_AGE, resolveTimeouts, type Timeouts, timeoutDefaults } from './timeouts.js'

/** Options without a default. */
type Absent = 'knex' | 'clearExpired' | 'columns' | 'serializer' | 'cache' | 'djangoCache' | 'filePath'

export type Settings = Readonly<
  Required<Omit<SessionOptions, Absent | 'cookie' | 'timeouts' | 'userSessions'>> & { [Name in Absent]: SessionOptions[Name] } & {
    timeouts: Timeouts
    userSessions: Readonly<Required<UserSessionsOptions>> | false
    cookie: Readonly<Required<Omit<CookieOptions, 'domain' | 'priority'>> & Pick<CookieOptions, 'domain' | 'priority'>>
  }
>

/**
 * Checks the options and fills in the defaults. The options object itself is not changed.
 *
 * @throws InvalidOptions with all problems
 */
export function resolveSettings(options: SessionOptions): Settings {
  refuse(findProblems(options))
  const timeouts = resolveTimeouts(options.timeouts)
  const settings: Settings = {
    secretKeyFallbacks: [],
    engine: 'db',
    knex: undefined,
    tableName: 'django_session',
    columns: undefined,
    serializer: undefined,
    cache: undefined,
    cacheMaxAge: 60,
    djangoCache: undefined,
    filePath: undefined,
    clearExpired: undefined,
    cookieAge: DEFAULT_COOKIE_AGE,
    expireAtBrowserClose: false,
    saveEveryRequest: false,
    touchAfter: 0,
    load: 'lazy',
    onConflict: 'merge',
    saveNestedChanges: false,
    storeTimeout: 5,
    maxSize: 1_048_576, // 1 MiB
    compressAbove: 1024,
    preparedStatements: true,
    batching: true,
    verify: true,
    clock: () => new Date(),
    ...timeoutDefaults(timeouts),
    ...defined(options),
    timeouts,
    userSessions: options.userSessions ? { ip: 'full', userAgent: true, ...defined(Object(options.userSessions)) } : false,
    cookie: Object.freeze({
      name: 'sessionid',
      path: '/',
      secure: 'auto' as const,
      httpOnly: true,
      sameSite: 'lax' as const,
      partitioned: false,
      ...defined(options.cookie ?? {})
    })
  }
  return Object.freeze(settings)
}

/** Drops undefined members, so that an option given as undefined gets its default. */
function defined<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T
}
