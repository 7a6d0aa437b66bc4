/** Who is checked, and what the checks have to know about each. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import createKnex from 'knex'
import pg from 'pg'
import { migrationSource } from '../../lib/migrations.ts'
import { type Contender, node } from '../contenders.ts'

export interface Checked extends Contender {
  /** The table of its sessions, and its columns; null where they are in the cookie. */
  table: { name: string; key: string; data: string; expires: string } | null
  /** Makes the table, where its manual has the application do that. */
  prepare?: (databaseUrl: string) => Promise<void>
  /** What is installed for it. */
  packages: readonly string[]
  /** Where it says that what a check finds is meant to be so: addresses, by the names of the checks. */
  documented: Readonly<Record<string, string>>
}

const require = createRequire(import.meta.url)
const site = (...args: string[]) => node('../scoreboard/site.ts', ...args)

async function createPgSimpleTable(databaseUrl: string): Promise<void> {
  const client = new pg.Client(databaseUrl)
  await client.connect()
  await client.query(readFileSync(require.resolve('connect-pg-simple/table.sql'), 'utf8'))
  await client.end()
}

async function migrate(databaseUrl: string): Promise<void> {
  const knex = createKnex({ client: 'pg', connection: databaseUrl })
  await knex.migrate.latest({ migrationSource })
  await knex.destroy()
}

const STORES = {
  knex: {
    title: 'connect-session-knex',
    packages: ['connect-session-knex', 'knex', 'pg'],
    table: { name: 'sessions', key: 'sid', data: 'sess', expires: 'expired' }
  },
  'pg-simple': {
    title: 'connect-pg-simple',
    packages: ['connect-pg-simple', 'pg'],
    table: { name: 'session', key: 'sid', data: 'sess', expires: 'expire' },
    prepare: createPgSimpleTable
  }
}

const FASTIFY_SESSION = 'https://github.com/fastify/session'
const EXPRESS_SESSION = 'https://github.com/expressjs/session'
const SAVE_UNINITIALIZED = `${FASTIFY_SESSION}#saveuninitialized-optional`

const fastifySession = {
  title: '@fastify/session',
  packages: ['fastify', '@fastify/cookie', '@fastify/session'],
  documented: { 'secure over http': `${FASTIFY_SESSION}#usage` }
}

const FRAMEWORKS = {
  'fastify-session-defaults': {
    ...fastifySession,
    setup: 'as it comes',
    documented: { ...fastifySession.documented, 'forged cookie': SAVE_UNINITIALIZED, 'not found': SAVE_UNINITIALIZED }
  },
  'fastify-session': { ...fastifySession, setup: 'tuned' },
  express: {
    title: 'express-session',
    setup: 'tuned',
    packages: ['express', 'express-session'],
    documented: {
      redirect: `${EXPRESS_SESSION}/issues/704`,
      'secure over http': `${EXPRESS_SESSION}#cookiesecure`,
      'send and throw': 'https://expressjs.com/en/guide/error-handling.html'
    }
  }
}

function withStore(framework: keyof typeof FRAMEWORKS, kind: keyof typeof STORES): Checked {
  const { title, setup, packages, documented } = FRAMEWORKS[framework]
  const store = STORES[kind]
  return {
    ...store,
    name: `${framework} ${kind}`,
    title: `${title}, ${store.title}, ${setup}`,
    command: site(framework, kind),
    database: 'postgres',
    packages: [...packages, ...store.packages],
    documented
  }
}

export const ours: Checked = {
  name: 'ours',
  title: 'fastify-django-sessions',
  command: site('ours'),
  database: 'postgres',
  table: { name: 'django_session', key: 'session_key', data: 'session_data', expires: 'expire_date' },
  prepare: migrate,
  packages: ['fastify', '@fastify/cookie', 'knex', 'pg'],
  documented: { 'nested change': '../docs/differences.md#the-session' }
}

export const checked: readonly Checked[] = [
  ours,
  withStore('fastify-session-defaults', 'knex'),
  withStore('fastify-session', 'knex'),
  withStore('fastify-session-defaults', 'pg-simple'),
  withStore('fastify-session', 'pg-simple'),
  withStore('express', 'knex'),
  withStore('express', 'pg-simple'),
  {
    name: 'secure-session',
    title: '@fastify/secure-session',
    command: site('secure-session'),
    database: 'none',
    table: null,
    stateless: true,
    packages: ['fastify', '@fastify/secure-session'],
    documented: { 'copied cookie': 'https://github.com/fastify/fastify-secure-session#security-notice' }
  }
]

/** The installed versions of all that takes part. */
export function versions(contenders: readonly Checked[]): string[] {
  const names = [...new Set(contenders.flatMap(({ packages }) => packages))].sort()
  return ['fastify-django-sessions', ...names].map((name) => `${name} ${require(`${name}/package.json`).version}`)
}
