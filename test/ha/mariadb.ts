/** MariaDB servers that replicate: a primary with its replica, and a Galera cluster. */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, chown, cp, writeFile } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import createKnex from 'knex'
import { freePort } from '../fixtures/servers.ts'
import type { Scope } from './scope.ts'

const isRoot = userInfo().uid === 0
/** Started by root, the server runs as a user of its own, whom Debian's package makes. */
const USER = isRoot ? 'mysql' : userInfo().username

/** `site` may not write to a server that is read-only. */
const SETUP = `CREATE DATABASE IF NOT EXISTS test;
CREATE USER IF NOT EXISTS 'admin'@'127.0.0.1' IDENTIFIED BY 'admin';
GRANT ALL ON *.* TO 'admin'@'127.0.0.1' WITH GRANT OPTION;
CREATE USER IF NOT EXISTS 'site'@'127.0.0.1' IDENTIFIED BY 'site';
GRANT ALL ON test.* TO 'site'@'127.0.0.1';
`

export class MariadbNode {
  readonly port: number
  readonly #folder: string
  readonly #options: readonly string[]
  #process: ChildProcess | null = null

  constructor(folder: string, port: number, options: readonly string[]) {
    this.port = port
    this.#folder = folder
    this.#options = options
  }

  urlAt(port = this.port, user = 'site'): string {
    return `mysql://${user}:${user}@127.0.0.1:${port}/test`
  }

  async start(...more: string[]): Promise<void> {
    const paths = [`--datadir=${this.#folder}/data`, `--socket=${this.#folder}/socket`, `--pid-file=${this.#folder}/pid`]
    const address = ['--bind-address=127.0.0.1', `--port=${this.port}`, '--innodb-flush-log-at-trx-commit=0']
    const options = ['--no-defaults', `--user=${USER}`, ...paths, ...address, ...this.#options, ...more]
    this.#process = spawn('mariadbd', options, { stdio: ['ignore', 'ignore', 'pipe'] })
    const output = this.#process.stderr as NodeJS.ReadableStream
    let log = ''
    for await (const text of (output as unknown as { iterator(o: object): AsyncIterable<Buffer> }).iterator({ destroyOnReturn: false })) {
      log += text
      // A node that joins a cluster says so when it has the state of the others.
      if (log.includes('ready for connections')) return void output.resume()
    }
    throw new Error(`mariadbd ended: ${log}`)
  }

  signal(name: 'SIGSTOP' | 'SIGCONT'): void {
    this.#process?.kill(name)
  }

  /** Ends it as `kill -9` does. */
  async crash(): Promise<void> {
    const child = this.#process
    if (child === null || child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }

  async query(sql: string): Promise<Record<string, unknown>[]> {
    const knex = createKnex({ client: 'mysql2', connection: this.urlAt(this.port, 'admin') })
    try {
      return (await knex.raw(sql))[0]
    } finally {
      await knex.destroy()
    }
  }

  async variable(name: string, kind: 'STATUS' | 'VARIABLES' = 'VARIABLES'): Promise<string> {
    const [row] = await this.query(`SHOW GLOBAL ${kind} LIKE '${name}'`)
    return String(row?.Value)
  }
}

/** Nodes of which each has a copy of one empty data folder. */
async function createNodes(scope: Scope, options: readonly (readonly string[])[], setup: string): Promise<MariadbNode[]> {
  const folder = await scope.folder()
  const nodes: MariadbNode[] = []
  scope.teardown(async () => {
    for (const node of nodes) await node.crash()
  })
  await writeFile(join(folder, 'setup.sql'), setup)
  for (const path of [folder, join(folder, 'setup.sql')]) await chmod(path, 0o755)
  const ids = isRoot ? ['-u', '-g'].map((flag) => Number(execFileSync('id', [flag, USER]))) : null
  const own = async (path: string) => void (ids && (await chown(path, ids[0] as number, ids[1] as number)))
  await own(folder)
  const install = ['--no-defaults', `--user=${USER}`, '--auth-root-authentication-method=normal', '--skip-test-db']
  await promisify(execFile)('mariadb-install-db', [...install, `--datadir=${folder}/empty`])
  for (const [index, each] of options.entries()) {
    const nodeFolder = join(folder, String(index))
    await cp(join(folder, 'empty'), join(nodeFolder, 'data'), { recursive: true, preserveTimestamps: true })
    if (ids) await promisify(execFile)('chown', ['-R', `${USER}:`, nodeFolder])
    nodes.push(new MariadbNode(nodeFolder, await freePort(), [...each, `--init-file=${folder}/setup.sql`]))
  }
  return nodes
}

export interface Replicas {
  first: MariadbNode
  second: MariadbNode
  /** Until the second one has all that the first one has, which takes no writes any more. */
  catchUp(): Promise<void>
  /** When the first one is gone: until the second one has carried out all that it has received. */
  replayAll(): Promise<void>
}

/** A primary whose replica lags no more than it must. @param isSemiSync whether commits wait until the replica has received them */
export async function startReplicas(scope: Scope, isSemiSync = false): Promise<Replicas> {
  const options = (id: number) => [`--server-id=${id}`, '--log-bin', '--log-slave-updates', '--binlog-format=ROW']
  const ofPrimary = isSemiSync ? ['--rpl-semi-sync-master-enabled=ON', '--rpl-semi-sync-master-wait-point=AFTER_SYNC'] : []
  const ofReplica = isSemiSync ? ['--rpl-semi-sync-slave-enabled=ON'] : []
  const each = [
    [...options(1), ...ofPrimary],
    [...options(2), ...ofReplica]
  ]
  const [first, second] = (await createNodes(scope, each, `SET sql_log_bin = 0;\n${SETUP}`)) as [MariadbNode, MariadbNode]
  await Promise.all([first.start(), second.start()])
  await second.query(
    `CHANGE MASTER TO master_host='127.0.0.1', master_port=${first.port}, master_user='admin', master_password='admin', master_use_gtid=slave_pos`
  )
  await second.query('START SLAVE')
  while (isSemiSync && (await first.variable('rpl_semi_sync_master_clients', 'STATUS')) !== '1') await pause(100)
  const reach = async (position: unknown) => void (await second.query(`SELECT MASTER_GTID_WAIT('${position}', 30)`))
  return {
    first,
    second,
    catchUp: async () => reach(await first.variable('gtid_binlog_pos')),
    replayAll: async () => {
      const [status] = await second.query('SHOW SLAVE STATUS')
      await reach(status?.Gtid_IO_Pos)
    }
  }
}

export async function startGalera(scope: Scope): Promise<MariadbNode[]> {
  const ports = await Promise.all([0, 1, 2].map(async () => [await freePort(), await freePort(), await freePort()] as const))
  const cluster = ports.map(([group]) => `127.0.0.1:${group}`).join(',')
  const options = ports.map(([group, ist, sst], index) => [
    '--wsrep-on=ON',
    '--wsrep-provider=/usr/lib/galera/libgalera_smm.so',
    `--wsrep-cluster-address=gcomm://${cluster}`,
    `--wsrep-node-name=node${index}`,
    `--wsrep-node-address=127.0.0.1:${group}`,
    '--wsrep-sst-method=rsync',
    `--wsrep-sst-receive-address=127.0.0.1:${sst}`,
    `--wsrep-provider-options=gmcast.listen_addr=tcp://127.0.0.1:${group};ist.recv_addr=127.0.0.1:${ist};gcache.size=32M`,
    '--binlog-format=ROW',
    '--innodb-autoinc-lock-mode=2'
  ])
  const nodes = await createNodes(scope, options, `SET sql_log_bin = 0;\nSET wsrep_on = 0;\n${SETUP}`)
  const [first, ...others] = nodes as [MariadbNode, ...MariadbNode[]]
  await first.start('--wsrep-new-cluster')
  for (const node of others) {
    await node.start()
    while ((await node.variable('wsrep_local_state_comment', 'STATUS')) !== 'Synced') await pause(100)
  }
  return nodes
}
