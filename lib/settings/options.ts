/** The options of `register`. */
import type { Knex } from 'knex'
import type { Cache } from '../caches/memory.js'
import type { Engine } from '../contract.js'
import type { Columns } from '../database/columns.js'
import type { Serializer } from '../django/serializer.js'
import type { DjangoCache } from '../engines/django-cache.js'
import type { IpPrivacy } from '../user-sessions/client.js'
import type { ClearExpiredSchedule } from './schedule.js'
import type { TimeoutOptions, TimeoutPreset } from './timeouts.js'

/** The option `cookie`: Django's settings `SESSION_COOKIE_…`. */
export interface CookieOptions {
  /** `SESSION_COOKIE_NAME`. @default 'sessionid' */
  name?: string
  /** `SESSION_COOKIE_DOMAIN`. @default the host of the request only */
  domain?: string
  /** `SESSION_COOKIE_PATH`. @default '/' */
  path?: string
  /** `SESSION_COOKIE_SECURE`. 'auto' is true for requests over https; behind a proxy it needs Fastify's trustProxy. @default 'auto' */
  secure?: boolean | 'auto'
  /** `SESSION_COOKIE_HTTPONLY`. @default true */
  httpOnly?: boolean
  /** `SESSION_COOKIE_SAMESITE`. false sends no SameSite. @default 'lax' */
  sameSite?: 'lax' | 'strict' | 'none' | false
  /** Partitions the cookie by top-level site (CHIPS). Needs `secure: true`. @default false */
  partitioned?: boolean
  /** The order in which a browser drops cookies when it has too many: 'high' last. @default no Priority */
  priority?: 'low' | 'medium' | 'high'
}

/** The option `userSessions`. */
export interface UserSessionsOptions {
  /** How much of the address of a visitor is stored: all of it, its network (/24, or /48 of IPv6), or nothing. @default 'full' */
  ip?: IpPrivacy
  /** Whether the header `User-Agent` is stored. @default true */
  userAgent?: boolean
}

/** Django's names of its engines. */
export type EngineName = 'db' | 'cached_db' | 'cache' | 'file' | 'signed_cookies'

/** An engine of your own as a class. The plugin creates an instance when it is registered. */
export interface EngineClass {
  new (options: { clock: () => Date }): Engine
  /** The same salt as that of the instances (see `Engine`). */
  readonly salt?: string
}

/** The options of `register`. All problems are reported in one error. */
export interface SessionOptions {
  /** `SECRET_KEY`: signs the data of sessions. The same as Django's if Django shares the sessions. */
  secretKey: string
  /** `SECRET_KEY_FALLBACKS`: former keys, with which existing sessions are still verified. @default [] */
  secretKeyFallbacks?: readonly string[]
  /** `SESSION_ENGINE`: the name of an engine, or an engine of your own. @default 'db' */
  engine?: EngineName | Engine | EngineClass
  /** The database: a Knex instance, which the plugin never destroys, or a Knex configuration, whose connections `fastify.close()` closes. */
  knex?: Knex | Knex.Config
  /** The name of the table of sessions. @default 'django_session' */
  tableName?: string
  /**
   * Returns values for additional columns of the table. They are written at each create and
   * save, as by Django's `create_model_instance`. A value is a string, a finite number, a bigint of
   * 64 bits, a boolean, a Date (stored in UTC), binary data, or null. `undefined` is stored as
   * NULL. Any other value, or a promise, fails the request with a TypeError before anything
   * is sent to the database.
   */
  columns?: (data: Record<string, unknown>, sessionKey: string) => Columns
  /** The cache of the engines `cache` and `cached_db`: a MemoryCache, RedisCache, KeyvCache, or one of your own. */
  cache?: Cache
  /**
   * With the engine `cached_db`: seconds after which an entry of the cache is read from the database again. Until then a
   * process may see old data after another one could not reach the cache. @default 60
   */
  cacheMaxAge?: number
  /** Django's cache, if Django uses its engine `cached_db` on the table of our engine `db`. Changed sessions are deleted from it. */
  djangoCache?: DjangoCache
  /**
   * `SESSION_FILE_PATH`: the folder of the engine `file`. Only its owner and its group may have access.
   *
   * @default fastify-django-sessions-<uid> in the system's temporary folder, created with mode 0700
   */
  filePath?: string
  /** `SESSION_SERIALIZER`. Only JSON keeps the exact text of values that a request leaves alone. @default JSON */
  serializer?: Serializer
  /** Attributes of the cookie. */
  cookie?: CookieOptions
  /** `SESSION_COOKIE_AGE`, in seconds. @default 1209600 (two weeks) */
  cookieAge?: number
  /** `SESSION_EXPIRE_AT_BROWSER_CLOSE`. @default false */
  expireAtBrowserClose?: boolean
  /** `SESSION_SAVE_EVERY_REQUEST`: renews the session and its cookie with every request. @default false */
  saveEveryRequest?: boolean
  /** With `saveEveryRequest`: the least number of seconds between two renewals of a row. @default 0 */
  touchAfter?: number
  /**
   * When a session ends: after so long without a request, and so long after the login. A preset has the figures of
   * NIST SP 800-63B-4 for timeouts, and sets nothing else of an assurance level. @default only `cookieAge`
   */
  timeouts?: TimeoutOptions | TimeoutPreset
  /** 'lazy' loads a session when `load()` is called, 'eager' before each handler. @default 'lazy' */
  load?: 'lazy' | 'eager'
  /**
   * What a save does if another request has saved the session since this one loaded it. 'merge' applies the
   * changes of this request to the stored session. 'reject' does the same, but fails if both requests changed
   * the same key. 'overwrite' replaces the stored session, as Django does. @default 'merge'
   */
  onConflict?: 'merge' | 'reject' | 'overwrite'
  /** Saves changes made inside a value (`session.get('cart').push(…)`) without `session.modified = true`. @default false */
  saveNestedChanges?: boolean
  /** Time limit of an operation of the store, in seconds. @default 5 */
  storeTimeout?: number
  /**
   * The maximum size of a session in bytes of JSON, when it is read or written. At most 65536 with the engine `signed_cookies`.
   * @default 1048576 (1 MiB)
   */
  maxSize?: number
  /** The least size in bytes of JSON at which the data is compressed, if that makes it shorter. 0 is Django's rule; Django reads both. @default 1024 */
  compressAbove?: number
  /** Prepares statements once per connection on PostgreSQL and MariaDB. Set false behind a PgBouncer before 1.21 that pools transactions. @default true */
  preparedStatements?: boolean
  /** Combines concurrent reads, saves, creates or deletes into one statement, if the database supports it. @default true */
  batching?: boolean
  /**
   * Removes expired sessions regularly, in one process at a time, from `fastify.ready()` to `fastify.close()`:
   * `{ every: '1h' }` or `{ cron: '17 3 * * *' }`. @default never: run `clearsessions` or call `sessions.clearExpired()`
   */
  clearExpired?: ClearExpiredSchedule
  /**
   * Keeps a list of each user's sessions, in the table `usersessions_usersession` of django-allauth: for `sessions.ofUser`, and
   * for `sessionsOf` and `maxSessions` of `createAuth`. With the engines `db` and `cached_db`. @default false
   */
  userSessions?: boolean | UserSessionsOptions
  /**
   * Makes `fastify.ready()` fail if the table of sessions or one of its columns is missing. A database that cannot be
   * reached only causes a warning. @default true
   */
  verify?: boolean
  /** Returns the current time. For tests. @default the system's clock */
  clock?: () => Date
}
