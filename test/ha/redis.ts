/** Redis with replicas: a pair, one with Sentinels that promote the replica, and a cluster. */
import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Redis } from 'ioredis'
import { RedisServer, startCluster } from '../fixtures/redis.ts'
import { freePort } from '../fixtures/servers.ts'
import type { Scope } from './scope.ts'

function clientOf(scope: Scope, port: number): Redis {
  const client = new Redis(port)
  client.on('error', () => {})
  scope.teardown(() => client.disconnect())
  return client
}

/** Until each of them has what its primary has. */
async function areInSync(scope: Scope, replicas: readonly RedisServer[]): Promise<void> {
  for (const { port } of replicas) {
    const client = clientOf(scope, port)
    while (!(await client.info('replication')).includes('master_link_status:up')) await pause(100)
  }
}

export interface RedisPair {
  first: RedisServer
  second: RedisServer
  /** Makes the first one the replica, without a loss: it takes no writes until the second has them all. */
  swap(): Promise<void>
}

/** A primary and its replica. */
export async function startRedisPair(scope: Scope): Promise<RedisPair> {
  const first = await RedisServer.start(scope.test)
  const second = await RedisServer.start(scope.test, '--replicaof', '127.0.0.1', String(first.port))
  await areInSync(scope, [second])
  const client = clientOf(scope, first.port)
  const swap = async () => {
    await client.call('FAILOVER')
    while (!(await client.info('replication')).includes('role:slave')) await pause(10)
  }
  return { first, second, swap }
}

export interface Sentinels {
  /** The primary, at first. */
  first: RedisServer
  ports: number[]
  /** Asks for a planned failover. */
  failOver(): Promise<void>
}

/** Two servers and three Sentinels, which call a server down after 1 s. */
export async function startSentinels(scope: Scope): Promise<Sentinels> {
  const { first } = await startRedisPair(scope)
  const folder = await scope.folder()
  const ports = await Promise.all([0, 1, 2].map(() => freePort()))
  for (const port of ports) {
    const file = join(folder, `${port}.conf`)
    const settings = ['down-after-milliseconds main 1000', 'failover-timeout main 5000', 'parallel-syncs main 1']
    const config = [`port ${port}`, 'bind 127.0.0.1', `dir ${folder}`, `sentinel monitor main 127.0.0.1 ${first.port} 2`]
    await writeFile(file, [...config, ...settings.map((setting) => `sentinel ${setting}`), ''].join('\n'))
    scope.spawn('redis-server', [file, '--sentinel'])
  }
  const client = clientOf(scope, ports[0] as number)
  const isReady = async () => {
    const answer = (await client.call('SENTINEL', 'master', 'main').catch(() => [])) as string[]
    const value = (name: string) => Number(answer[answer.indexOf(name) + 1])
    return answer.length > 0 && value('num-slaves') >= 1 && value('num-other-sentinels') >= 2
  }
  while (!(await isReady())) await pause(200)
  return { first, ports, failOver: async () => void (await client.call('SENTINEL', 'FAILOVER', 'main')) }
}

export interface RedisCluster {
  /** A master, at first. */
  first: RedisServer
  ports: number[]
  /** Moves so many hash slots, with their keys, from the second master to the third. */
  reshard(slots: number): Promise<void>
}

/** Three masters with a replica each, which call a server down after 1 s. */
export async function startReplicatedCluster(scope: Scope): Promise<RedisCluster> {
  const servers = await startCluster(scope.test, 1, '--cluster-node-timeout', '1000')
  const masters = servers.slice(0, 3)
  await areInSync(scope, servers.slice(3))
  const idOf = (server: RedisServer | undefined) => clientOf(scope, server?.port as number).cluster('MYID')
  const reshard = async (slots: number) => {
    const [from, to] = (await Promise.all([idOf(masters[1]), idOf(masters[2])])) as [string, string]
    const what = ['--cluster-from', from, '--cluster-to', to, '--cluster-slots', String(slots), '--cluster-yes']
    await promisify(execFile)('redis-cli', ['--cluster', 'reshard', `127.0.0.1:${masters[0]?.port}`, ...what], { maxBuffer: 1e8 })
  }
  return { first: masters[0] as RedisServer, ports: masters.map(({ port }) => port), reshard }
}
