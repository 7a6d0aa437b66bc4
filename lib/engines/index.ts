/** The engines by name. */
import type { Cache } from '../cache.js'
import type { Codec } from '../codec.js'
import type { Model } from '../model.js'
import { checkMadeEngine, type EngineClass, type EngineName, type Settings } from '../settings.js'
import { CacheEngine } from './cache.js'
import { CachedDbEngine } from './cached-db.js'
import { DbEngine } from './db.js'
import { DjangoCacheEngine } from './django-cache.js'
import type { Engine, SessionLog } from './engine.js'
import { FileEngine } from './file.js'
import { makeDefaultFolder } from './folder.js'
import { SessionCache } from './session-cache.js'
import { COOKIE_SALT, MAX_DATA_SIZE, SignedCookiesEngine } from './signed-cookies.js'

export interface EngineParts {
  settings: Settings
  codec: Codec
  /** null where no database was given, which is checked with the options. */
  model: Model | null
  log: SessionLog
}

const factories: Record<EngineName, (parts: EngineParts) => Engine> = {
  db(parts) {
    const db = createDb(parts)
    const { djangoCache } = parts.settings
    return djangoCache === undefined ? db : new DjangoCacheEngine({ db, djangoCache, timeout: parts.settings.storeTimeout, log: parts.log })
  },
  // The cache gets a part of the time only, so that the database can still answer when it hangs.
  cached_db: (parts) =>
    new CachedDbEngine({
      db: createDb(parts),
      cache: createSessionCache(parts, 'cached_db', parts.settings.storeTimeout / 5),
      log: parts.log
    }),
  cache: (parts) => new CacheEngine(createSessionCache(parts, 'cache', parts.settings.storeTimeout)),
  file: ({ settings, codec }) => {
    const { filePath = makeDefaultFolder(), cookie, cookieAge, maxSize, clock, storeTimeout } = settings
    return new FileEngine({ folder: filePath, cookieName: cookie.name, cookieAge, maxSize, codec, clock, timeout: storeTimeout })
  },
  signed_cookies: ({ settings: { cookie, cookieAge, clock }, codec }) =>
    new SignedCookiesEngine({ codec, cookieName: cookie.name, cookieAge, clock })
}

export function createEngine(parts: EngineParts): Engine {
  const { engine, clock } = parts.settings
  if (typeof engine === 'string') return factories[engine](parts)
  return typeof engine === 'function' ? createOwn(engine, clock) : engine
}

/** @throws InvalidOptions, or what the constructor throws */
function createOwn(engineClass: EngineClass, clock: () => Date): Engine {
  const engine = new engineClass({ clock })
  checkMadeEngine(engine, engineClass)
  return engine
}

/** The salt of what an engine stores, where it is known before the engine is made. */
export function saltOf(engine: Settings['engine']): string | undefined {
  if (engine === 'signed_cookies') return COOKIE_SALT
  return typeof engine === 'string' ? undefined : engine.salt
}

/** The option `maxSize`, or less: what comes with every request must not inflate to more than a cookie is for. */
export function maxSizeOf({ engine, maxSize }: Settings): number {
  return engine === 'signed_cookies' ? Math.min(maxSize, MAX_DATA_SIZE) : maxSize
}

function createDb({ settings, model }: EngineParts): DbEngine {
  return new DbEngine({ model: model as Model, clock: settings.clock, columns: settings.columns })
}

/** With the prefix of Django's own keys (`cache_key_prefix`), after one of ours: the entries are not Django's. */
function createSessionCache({ settings }: EngineParts, name: string, timeout: number): SessionCache {
  return new SessionCache({
    cache: settings.cache as Cache,
    // The last colon keeps apart names of which one begins with the other: cookies contain what follows.
    prefix: `fastify:django.contrib.sessions.${name}:`,
    clock: settings.clock,
    timeout
  })
}
