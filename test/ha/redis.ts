/** Redis with a replica and Sentinels that promote it. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { RedisServer } from '../fixtures/redis.ts'
import { freePort } from '../fixtures/servers.ts'
import type { Scope } from './scope.ts'

export interface Sentinels {
  /** In the order in which they began: the first is the primary. */
  servers: [RedisServer, RedisServer]
  ports: number[]
  /** Asks for a planned failover. */
  failOver(): Promise<void>
}

/** Two servers and three Sentinels, which call a server down after 1 s. */
export async function startSentinels(scope: Scope): Promise<Sentinels> {
  const first = await RedisServer.start(scope.test)
  const second = await RedisServer.start(scope.test, '--replicaof', '127.0.0.1', String(first.port))
  const folder = await scope.folder()
  const ports = await Promise.all([0, 1, 2].map(() => freePort()))
  for (const port of ports) {
    const file = join(folder, `${port}.conf`)
    const settings = ['down-after-milliseconds main 1000', 'failover-timeout main 5000', 'parallel-syncs main 1']
    const config = [`port ${port}`, 'bind 127.0.0.1', `dir ${folder}`, `sentinel monitor main 127.0.0.1 ${first.port} 2`]
    await writeFile(file, [...config, ...settings.map((setting) => `sentinel ${setting}`), ''].join('\n'))
    scope.spawn('redis-server', [file, '--sentinel'])
  }
  const client = new Redis(ports[0] as number)
  client.on('error', () => {})
  const isReady = async () => {
    const answer = (await client.call('SENTINEL', 'master', 'main').catch(() => [])) as string[]
    const value = (name: string) => Number(answer[answer.indexOf(name) + 1])
    return answer.length > 0 && value('num-slaves') >= 1 && value('num-other-sentinels') >= 2
  }
  while (!(await isReady())) await pause(200)
  scope.teardown(() => client.disconnect())
  return { servers: [first, second], ports, failOver: async () => void (await client.call('SENTINEL', 'FAILOVER', 'main')) }
}
