/** PgBouncer and HAProxy before PostgreSQL, from Debian's packages. */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { chmod, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import { freePort } from '../fixtures/servers.ts'
import type { Pair, PostgresNode } from './postgres.ts'
import type { Scope } from './scope.ts'

async function listens(port: number): Promise<void> {
  for (;;) {
    const socket = connect(port, '127.0.0.1')
    const isThere = await new Promise<boolean>((resolve) => socket.on('connect', () => resolve(true)).on('error', () => resolve(false)))
    socket.destroy()
    if (isThere) return
    await pause(20)
  }
}

async function run(scope: Scope, program: string, args: (file: string) => string[], config: string): Promise<void> {
  const folder = await scope.folder()
  const file = join(folder, 'config')
  await writeFile(file, config)
  // PgBouncer refuses to run as root, and becomes another user.
  for (const path of [folder, file]) await chmod(path, 0o755)
  scope.spawn(program, args(file))
}

/** @param target the port that it connects to @returns its own */
export async function startPgBouncer(scope: Scope, target: number, mode: 'transaction' | 'session'): Promise<number> {
  const port = await freePort()
  const config = [
    '[databases]',
    `* = host=127.0.0.1 port=${target} user=postgres`,
    '[pgbouncer]',
    'listen_addr = 127.0.0.1',
    `listen_port = ${port}`,
    'unix_socket_dir =',
    'auth_type = any',
    'admin_users = postgres',
    `pool_mode = ${mode}`,
    'default_pool_size = 20',
    'server_login_retry = 1'
  ]
  const asUser = process.getuid?.() === 0 ? ['-u', 'nobody'] : []
  await run(scope, 'pgbouncer', (file) => [...asUser, file], `${config.join('\n')}\n`)
  await listens(port)
  return port
}

/** What has to be sent to PgBouncer in a failover: otherwise it keeps its connections to a primary that has come back as a standby. */
export async function reconnect(port: number): Promise<void> {
  await promisify(execFile)('psql', ['-h', '127.0.0.1', '-p', String(port), '-U', 'postgres', '-c', 'RECONNECT', 'pgbouncer'])
}

/** It leads to the node that says that it is the primary, as Patroni's REST interface does. */
export async function startHaproxy(scope: Scope, { first, second }: Pair, shutsSessions: boolean): Promise<number> {
  const port = await freePort()
  const servers = await Promise.all(
    [first, second].map(async (node, index) => {
      const check = await startCheck(scope, node)
      const closes = shutsSessions ? ' on-marked-down shutdown-sessions' : ''
      return `  server node${index} 127.0.0.1:${node.port} check port ${check} inter 300 fall 1 rise 1${closes}`
    })
  )
  const config = [
    'defaults',
    '  mode tcp',
    '  timeout connect 1s',
    '  timeout client 1m',
    '  timeout server 1m',
    // Otherwise it tries the server that is gone three times more, a second apart, while the application waits.
    '  retries 0',
    'listen postgres',
    `  bind 127.0.0.1:${port}`,
    '  option httpchk GET /primary',
    ...servers
  ]
  await run(scope, 'haproxy', (file) => ['-f', file, '-db'], `${config.join('\n')}\n`)
  await listens(port)
  await pause(700)
  return port
}

async function startCheck(scope: Scope, node: PostgresNode): Promise<number> {
  const server = createServer(async (_request, response) => {
    const rows = await node.query('SELECT pg_is_in_recovery() AS is_standby').catch(() => [{ is_standby: true }])
    response.writeHead(rows[0]?.is_standby ? 503 : 200).end()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  scope.teardown(() => server.close())
  return (server.address() as { port: number }).port
}
