/** Who is measured: the command that starts it, and its kind of database. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'

export interface Contender {
  name: string
  title: string
  command: readonly [string, ...string[]]
  database: 'none' | 'postgres' | 'sqlite'
  env?: NodeJS.ProcessEnv
  /** Uses all processors instead of one. */
  spread?: true
  /** Keeps the data in the cookie: what is logged out can be sent again, and a write is seen by who sends the new cookie. */
  stateless?: true
}

export function node(file: string, ...args: string[]): [string, ...string[]] {
  return [process.execPath, '--import', 'tsx', join(import.meta.dirname, 'contenders', file), ...args]
}

/** The first Python with all that Django under gunicorn needs; null without. */
function findPython(): string | null {
  const candidates = ['python3', '/usr/bin/python3']
  return candidates.find((python) => spawnSync(python, ['-c', 'import django, gunicorn, psycopg2']).status === 0) ?? null
}

const python = findPython()
const django: Contender[] =
  python === null
    ? []
    : [
        {
          name: 'django-sync',
          title: 'Django, gunicorn, 2 sync workers',
          command: node('django.ts', python, 'sync'),
          database: 'postgres'
        },
        { name: 'django', title: 'Django, gunicorn, 8 threads', command: node('django.ts', python, 'gthread'), database: 'postgres' }
      ]

const all: readonly Contender[] = [
  { name: 'bare', title: 'Fastify without sessions', command: node('bare.ts'), database: 'none', stateless: true },
  { name: 'ours', title: 'fastify-django-sessions', command: node('ours.ts'), database: 'postgres' },
  { name: 'prepared', title: 'by hand, prepared statements', command: node('prepared.ts'), database: 'postgres' },
  {
    name: 'prepared-plain',
    title: 'by hand, prepared, no deflate < 1 kB',
    command: node('prepared.ts', '--plain'),
    database: 'postgres'
  },
  { name: 'batched', title: 'by hand, batched, no deflate', command: node('batched.ts'), database: 'postgres' },
  {
    name: 'fs-pg-simple',
    title: '@fastify/session + connect-pg-simple',
    command: node('fastify-session.ts', 'pg-simple'),
    database: 'postgres'
  },
  {
    name: 'fs-pg-simple-defaults',
    title: 'connect-pg-simple as it comes (rolling)',
    command: node('fastify-session.ts', 'pg-simple', '--defaults'),
    database: 'postgres'
  },
  {
    name: 'fs-knex',
    title: '@fastify/session + connect-session-knex',
    command: node('fastify-session.ts', 'knex'),
    database: 'postgres'
  },
  {
    name: 'express-pg-simple',
    title: 'express-session + connect-pg-simple',
    command: node('express-session.ts'),
    database: 'postgres'
  },
  {
    name: 'secure-session',
    title: '@fastify/secure-session (in the cookie)',
    command: node('secure-session.ts'),
    database: 'none',
    stateless: true
  },
  ...django,
  { name: 'ours-sqlite', title: 'fastify-django-sessions, SQLite', command: node('ours.ts'), database: 'sqlite' },
  { name: 'batched-sqlite', title: 'by hand, batched, no deflate', command: node('batched.ts'), database: 'sqlite' },
  {
    name: 'fs-knex-sqlite',
    title: '@fastify/session + connect-session-knex',
    command: node('fastify-session.ts', 'knex'),
    database: 'sqlite'
  },
  {
    name: 'fs-knex-sqlite-wal',
    title: '… with WAL and synchronous=NORMAL',
    command: node('fastify-session.ts', 'knex', '--wal'),
    database: 'sqlite'
  },
  ...[1, 2, 4].map((processes): Contender => {
    const title = `fastify-django-sessions, ${processes} process${processes === 1 ? '' : 'es'}`
    return {
      name: `ours-${processes}`,
      title,
      command: node('ours.ts'),
      database: 'postgres',
      env: { PROCESSES: String(processes) },
      spread: true
    }
  })
]

/** What can be measured on this machine, by name. */
export const contenders: ReadonlyMap<string, Contender> = new Map(all.map((contender) => [contender.name, contender]))

/** The same contender with options of Node.js. */
export function withNodeOptions(contender: Contender, ...options: string[]): Contender {
  const [command, ...args] = contender.command
  return { ...contender, command: [command, ...options, ...args] }
}
