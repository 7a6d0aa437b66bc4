/** A real Django of the interpreter that PYTHON names: single commands, and sites in processes of their own. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Knex } from 'knex'
import type { Test } from 'tap'
import { secretKey } from '../fixtures/app.ts'

export const PYTHON = process.env.PYTHON ?? '/usr/bin/python3'
const PEER = fileURLToPath(new URL('django_peer.py', import.meta.url))
const SITE = fileURLToPath(new URL('django_site.py', import.meta.url))

/**
 * The folder of a Python path with django-allauth 65 and a Django for it, which no Debian before trixie has. Undefined where there
 * is none.
 */
export const ALLAUTH = process.env.ALLAUTH
if (ALLAUTH === undefined && process.env.CI !== undefined) throw new Error('ALLAUTH is not set')

/** What depends on the version of Django. */
export const features: { redisBackend: string; hasSecretKeyFallbacks: boolean } = JSON.parse(
  execFileSync(
    PYTHON,
    [
      '-c',
      `
import django, json
print(json.dumps({
    'redisBackend': 'django.core.cache.backends.redis.RedisCache' if django.VERSION >= (4, 0) else 'django_redis.cache.RedisCache',
    # They are in 4.1, but logins did not survive them before 4.1.8.
    'hasSecretKeyFallbacks': django.VERSION >= (4, 1, 8),
}))`
    ],
    { encoding: 'utf8' }
  )
)

export interface DjangoSession {
  sessionKey: string
  exists: boolean
  /** Empty for nobody. */
  user: string
  expiryAge: number
  /** Null when there is no row. */
  expireDate: string | null
  /** Names in their order, and Python's repr() of the values. */
  values: [name: string, repr: string][]
}

export interface Django {
  migrate(options?: { fake_initial: boolean }): string[]
  inspect(): unknown
  sign_in(): DjangoSession
  change(change: { session_key: string; name: string; value: unknown }): DjangoSession
  read(session: { session_key: string }): DjangoSession
  create(options: { seconds: number }): string
  clear_sessions(): null
}

/** Each call runs one command of the peer. */
export function djangoOn(connection: Knex.Config['connection']): Django {
  const env = { ...process.env, DJANGO_DATABASE: JSON.stringify(djangoDatabase(connection)), DJANGO_SECRET_KEY: secretKey }
  const call = (command: string, args: object = {}) =>
    JSON.parse(execFileSync(PYTHON, [PEER, command, JSON.stringify(args)], { env, encoding: 'utf8' }))
  return new Proxy({} as Django, { get: (_target, command) => (args?: object) => call(String(command), args) })
}

/**
 * A site that ends with the test; returns its URL.
 *
 * @param settings Django's, beyond those of the database and the secret key of the tests
 */
export async function startDjango(t: Test, connection: Knex.Config['connection'], settings: object = {}): Promise<string> {
  const all = { DATABASES: { default: djangoDatabase(connection) }, SECRET_KEY: secretKey, ...settings }
  const path = 'HAS_ALLAUTH' in settings ? { PYTHONPATH: ALLAUTH } : {}
  const env = { ...process.env, ...path, DJANGO_SETTINGS: JSON.stringify(all) }
  const child = spawn(PYTHON, [SITE], { env, stdio: ['pipe', 'pipe', 'inherit'] })
  const exit = once(child, 'exit')
  t.teardown(() => {
    child.stdin.end()
    return exit
  })
  for await (const port of createInterface(child.stdout)) return `http://127.0.0.1:${port}`
  throw new Error('Django ended before it listened')
}

/** Django's setting `DATABASES['default']`. */
function djangoDatabase(connection: Knex.Config['connection']): object {
  if (typeof connection !== 'string') {
    return { ENGINE: 'django.db.backends.sqlite3', NAME: (connection as Knex.Sqlite3ConnectionConfig).filename }
  }
  const { protocol, pathname, username, password, hostname, port } = new URL(connection)
  const isMysql = protocol === 'mysql:'
  return {
    ENGINE: `django.db.backends.${isMysql ? 'mysql' : 'postgresql'}`,
    NAME: pathname.slice(1),
    USER: username,
    PASSWORD: password,
    HOST: hostname,
    PORT: port,
    OPTIONS: isMysql ? { charset: 'utf8mb4' } : {}
  }
}
