/** The options of `register`. */
import type { Knex } from 'knex'
import type { Cache } from '../caches/memory.js'
import type { Engine } from '../contract.js'
import type { Columns } from '../database/columns.js'
import type { Serializer } from '../django/serializer.js'
import type { DjangoCache } from '../engines/django-cache.js'
import type { ClearExpiredSchedule } from './schedule.js'

/** The option `cookie`: Django's settings `SESSION_COOKIE_…`. */
export interface CookieOptions {
  /** `SESSION_COOKIE_NAME`. @default 'sessionid' */
  name?: string
  /** `SESSION_COOKIE_DOMAIN`. @default the host of the request only */
  domain?: string
  /** `SESSION_COOKIE_PATH`. @default '/' */
  path?: string
  /** `SESSION_COOKIE_SECURE`; 'auto' is true for requests that came over https (behind a proxy this needs Fastify's trustProxy). @default 'auto' */
  secure?: boolean | 'auto'
  /** `SESSION_COOKIE_HTTPONLY`. @default true */
  httpOnly?: boolean
  /** `SESSION_COOKIE_SAMESITE`; false sends no SameSite. @default 'lax' */
  sameSite?: 'lax' | 'strict' | 'none' | false
  /** Keeps the cookie apart per top-level site (CHIPS); needs `secure: true`. @default false */
  partitioned?: boolean
  /** Which cookies a browser drops last when it has too many. @default no Priority */
  priority?: 'low' | 'medium' | 'high'
}

/** Django's names of its engines. */
export type EngineName = 'db' | 'cached_db' | 'cache' | 'file' | 'signed_cookies'

/** An engine of your own as a class, of which an instance is made when the plugin is registered. Its `salt` must be static. */
export interface EngineClass {
  new (options: { clock: () => Date }): Engine
  /** As in `Engine`. */
  readonly salt?: string
}

/** The options of `register`, checked all together at the start. */
export interface SessionOptions {
  /** `SECRET_KEY`: signs the data of sessions. Django's own, where sessions are shared. */
  secretKey: string
  /** `SECRET_KEY_FALLBACKS`: former keys, whose sessions are still read. @default [] */
  secretKeyFallbacks?: readonly string[]
  /** `SESSION_ENGINE`: where sessions live, by name or as an object of your own. @default 'db' */
  engine?: EngineName | Engine | EngineClass
  /** The database: a Knex instance, which stays yours to destroy, or a Knex configuration, whose connections end with `fastify.close()`. */
  knex?: Knex | Knex.Config
  /** @default 'django_session' */
  tableName?: string
  /**
   * Returns values of additional columns of the table, written at each create and save, as
   * Django's `create_model_instance` does. A value is a string, a finite number, a bigint of
   * 64 bits, a boolean, a Date (stored in UTC), binary data, or null. `undefined` is stored as
   * NULL. Anything else, and an async function, fails the request with a TypeError before
   * anything is sent.
   */
  columns?: (data: Record<string, unknown>, sessionKey: string) => Columns
  /** Where the engines `cache` and `cached_db` keep sessions: a MemoryCache, RedisCache, KeyvCache, or one of your own. */
  cache?: Cache
  /**
   * With the engine `cached_db`: seconds after which an entry of the cache is read from the database again. Until then a
   * process may see old data after another one could not reach the cache. @default 60
   */
  cacheMaxAge?: number
  /** With the engine `db` on a table that Django reads by its `cached_db`: Django's cache, from which changed sessions are deleted. */
  djangoCache?: DjangoCache
  /**
   * `SESSION_FILE_PATH`: the folder of the engine `file`, which users other than its owner and its group have no access to.
   *
   * @default fastify-django-sessions-<uid> in the system's folder for temporary files, made with mode 0700
   */
  filePath?: string
  /** `SESSION_SERIALIZER`. Another one than JSON keeps no exact text of untouched values. @default JSON */
  serializer?: Serializer
  /** Attributes of the cookie. */
  cookie?: CookieOptions
  /** `SESSION_COOKIE_AGE`, in seconds. @default 1209600 (two weeks) */
  cookieAge?: number
  /** `SESSION_EXPIRE_AT_BROWSER_CLOSE`. @default false */
  expireAtBrowserClose?: boolean
  /** `SESSION_SAVE_EVERY_REQUEST`: renews the session and its cookie with every request. @default false */
  saveEveryRequest?: boolean
  /** With `saveEveryRequest`: seconds since the last renewal in which the row is left alone. @default 0 */
  touchAfter?: number
  /** 'lazy' loads a session when `load()` is called, 'eager' before every handler. @default 'lazy' */
  load?: 'lazy' | 'eager'
  /**
   * When another request saved the session meanwhile: 'merge' puts this request's changes on top of
   * what it wrote, 'reject' does so unless both changed the same key, and 'overwrite' ignores it, as Django does. @default 'merge'
   */
  onConflict?: 'merge' | 'reject' | 'overwrite'
  /** Saves changes made inside a value (`session.get('cart').push(…)`) without `session.modified = true`. @default false */
  saveNestedChanges?: boolean
  /** Seconds until an operation of the store fails that has no answer. @default 5 */
  storeTimeout?: number
  /**
   * Greatest size of a session in bytes of JSON, read or written. With the engine `signed_cookies` at most 65536.
   * @default 1048576 (1 MiB)
   */
  maxSize?: number
  /** Bytes of JSON from which on the data is deflated where that makes it shorter; 0 is Django's rule. Django reads both. @default 1024 */
  compressAbove?: number
  /** Prepares statements on PostgreSQL and MariaDB, once for each connection. Not for a PgBouncer before 1.21 that pools transactions. @default true */
  preparedStatements?: boolean
  /** Reads, saves, creates and deletes of several sessions leave as one statement each, where the database can do that. @default true */
  batching?: boolean
  /**
   * Removes expired sessions from time to time, in one process at a time: `{ every: '1h' }` or `{ cron: '17 3 * * *' }`,
   * from `fastify.ready()` to `fastify.close()`. @default never: run `clearsessions` or call `sessions.clearExpired()`
   */
  clearExpired?: ClearExpiredSchedule
  /**
   * Makes `fastify.ready()` fail when the table of sessions or one of its columns is missing. A database that cannot be
   * reached is a warning only. @default true
   */
  verify?: boolean
  /** The time, for tests. @default the system's clock */
  clock?: () => Date
}
