/** A PostgreSQL primary and its standby, from Debian's programs, which the packages of npm do not have all of. */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chown, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import createKnex from 'knex'
import { freePort } from '../fixtures/servers.ts'
import type { Scope } from './scope.ts'

const PROGRAMS = '/usr/lib/postgresql/15/bin'

const idOf = (flag: string) => Number(execFileSync('id', [flag, 'nobody']))
/** PostgreSQL refuses to run as root. */
const user = process.getuid?.() === 0 ? { uid: idOf('-u'), gid: idOf('-g') } : {}

export class PostgresNode {
  readonly port: number
  readonly data: string
  readonly #settings: string[]
  #process: ChildProcess | null = null

  constructor(folder: string, name: string, port: number, settings: string[]) {
    this.port = port
    this.data = join(folder, name)
    // With its default of 5 s a promotion sometimes takes so long.
    const own = [
      'wal_retrieve_retry_interval=200ms',
      `port=${port}`,
      'listen_addresses=127.0.0.1',
      'unix_socket_directories=',
      'fsync=off',
      'wal_keep_size=64MB'
    ]
    this.#settings = [...own, 'hot_standby=on', ...settings]
  }

  urlAt(port = this.port): string {
    return `postgres://postgres@127.0.0.1:${port}/postgres`
  }

  async start(): Promise<void> {
    const args = ['-D', this.data, ...this.#settings.flatMap((setting) => ['-c', setting])]
    const child = spawn(join(PROGRAMS, 'postgres'), args, { cwd: this.data, stdio: ['ignore', 'ignore', 'pipe'], detached: true, ...user })
    this.#process = child
    const output = child.stderr as NodeJS.ReadableStream
    let log = ''
    // Both messages: a standby takes read-only connections.
    for await (const text of (output as unknown as { iterator(o: object): AsyncIterable<Buffer> }).iterator({ destroyOnReturn: false })) {
      log += text
      if (/ready to accept (read-only )?connections/.test(log)) break
    }
    if (!/ready to accept/.test(log)) throw new Error(log)
    output.resume()
  }

  /** Fast shutdown: the standby gets all that was written. */
  async stop(): Promise<void> {
    if (!this.#isRunning) return
    this.#process?.kill('SIGINT')
    await once(this.#process as ChildProcess, 'exit')
  }

  async crash(): Promise<void> {
    const exit = once(this.#process as ChildProcess, 'exit')
    for (const pid of await this.#pids()) process.kill(pid, 'SIGKILL')
    await exit
  }

  async signal(name: 'SIGSTOP' | 'SIGCONT'): Promise<void> {
    for (const pid of await this.#pids()) process.kill(pid, name)
  }

  async promote(): Promise<void> {
    await promisify(execFile)(join(PROGRAMS, 'pg_ctl'), ['promote', '-D', this.data, '-w'], user)
  }

  /** Makes it a standby of another one when it is started again. */
  async follow(other: PostgresNode): Promise<void> {
    await writeFile(join(this.data, 'standby.signal'), '')
    await writeFile(join(this.data, 'postgresql.auto.conf'), `primary_conninfo = 'host=127.0.0.1 port=${other.port} user=postgres'\n`)
    if ('uid' in user) await chown(join(this.data, 'standby.signal'), user.uid as number, user.gid as number)
  }

  async query(sql: string): Promise<Record<string, unknown>[]> {
    const knex = createKnex({ client: 'pg', connection: this.urlAt(), log: { warn() {}, error() {} } })
    try {
      return (await knex.raw(sql)).rows ?? []
    } finally {
      await knex.destroy()
    }
  }

  get #isRunning(): boolean {
    return this.#process !== null && this.#process.exitCode === null && this.#process.signalCode === null
  }

  async #pids(): Promise<number[]> {
    const pid = this.#process?.pid as number
    const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'latin1')
    return [pid, ...children.trim().split(' ').filter(Boolean).map(Number)]
  }
}

export interface Pair {
  first: PostgresNode
  second: PostgresNode
}

/** A primary with a standby, which commits are replicated to before they are acknowledged, or not. */
export async function startPair(scope: Scope, isSynchronous: boolean, settings: string[] = []): Promise<Pair> {
  const folder = await scope.folder()
  if ('uid' in user) await chown(folder, user.uid as number, user.gid as number)
  const first = new PostgresNode(folder, 'first', await freePort(), settings)
  const second = new PostgresNode(folder, 'second', await freePort(), settings)
  scope.teardown(async () => {
    for (const node of [second, first]) {
      await node.signal('SIGCONT').catch(() => {})
      await node.stop()
    }
  })
  const run = (program: string, ...args: string[]) => promisify(execFile)(join(PROGRAMS, program), args, { cwd: folder, ...user })
  await run('initdb', `--pgdata=${first.data}`, '--username=postgres', '--auth=trust', '--no-locale', '--encoding=UTF8', '--no-sync')
  await first.start()
  await run(
    'pg_basebackup',
    '-h',
    '127.0.0.1',
    '-p',
    String(first.port),
    '-U',
    'postgres',
    '-D',
    second.data,
    '-R',
    '-X',
    'stream',
    '-c',
    'fast',
    '--no-sync'
  )
  await second.start()
  while ((await first.query("SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'")).length === 0) await pause(50)
  if (isSynchronous) {
    await first.query("ALTER SYSTEM SET synchronous_standby_names = '*'")
    await first.query('SELECT pg_reload_conf()')
  }
  return { first, second }
}
