/** Checks what decides about failovers: the server, its replication, and the number of connections. */
import type { ServerFacts } from '../../database/server-inspection.js'
import { counted } from '../text.js'
import { type Finding, finding } from './finding.js'

/** @param pools connections of all processes together; null where their number is not given */
export function checkServer(facts: ServerFacts, pools: number | null): Finding[] {
  return [
    checkRole(facts),
    ...checkReplication(facts),
    ...checkGalera(facts),
    ...checkPooler(facts),
    ...checkKind(facts),
    ...checkPools(facts, pools)
  ]
}

export function checkRole({ isReadOnly }: ServerFacts): Finding {
  if (!isReadOnly) return finding('ok', 'server', 'it takes writes')
  return finding(
    'fail',
    'server',
    'it is read-only: a standby, a former primary, or a user with default_transaction_read_only. Sessions are neither read nor written there: lead connections to the primary'
  )
}

function checkReplication({ replication, isReadOnly }: ServerFacts): Finding[] {
  // Nothing is committed on a standby.
  if (replication === null || isReadOnly) return []
  const { required, synchronous } = replication
  if (required === 0 && replication.standbys === 0) return []
  const standbys = counted(replication.standbys, 'standby')
  const told = (status: Finding['status'], message: string) => [finding(status, 'replication', `${standbys}, and ${message}`)]
  if (required === 0)
    return told('warn', 'commits wait for none: a failover loses the last writes, logouts among them. Set synchronous_standby_names')
  if (synchronous === null)
    return told('warn', 'whether one of them is synchronous is not visible to this user: check as one who has pg_read_all_stats')
  const wait = `commits wait for ${required === 1 ? 'one' : required}`
  if (synchronous >= required) return told('ok', `${wait}: a failover loses nothing`)
  return told(
    'fail',
    `${wait}, but ${synchronous === 0 ? 'none' : `only ${synchronous}`} is synchronous: every write hangs. Start the standbys that synchronous_standby_names names, or change it`
  )
}

/** The bits of wsrep_sync_wait for reads, and for UPDATE and DELETE. */
const SYNC_WAIT = 3

function checkGalera({ galera }: ServerFacts): Finding[] {
  if (galera === null) return []
  const { size, isPrimary, syncWait } = galera
  if (!isPrimary) return [finding('fail', 'galera', 'this node is cut off from its cluster, and answers nothing')]
  const cluster = `one of ${size} nodes`
  if ((syncWait & SYNC_WAIT) === SYNC_WAIT) return [finding('ok', 'galera', `${cluster}, wsrep_sync_wait = ${syncWait}`)]
  return [
    finding(
      'warn',
      'galera',
      `${cluster}, wsrep_sync_wait = ${syncWait}: a logout may miss what another node has just written. The plugin sets 3 where knex is a configuration; with a Knex instance, set it on the server or in pool.afterCreate`
    )
  ]
}

function checkPooler({ isPooled }: ServerFacts): Finding[] {
  if (!isPooled) return []
  return [finding('ok', 'pooler', 'there is one: before PgBouncer 1.21, set preparedStatements: false where it pools transactions')]
}

function checkKind({ table: { isLogged, partitions } }: ServerFacts): Finding[] {
  const findings: Finding[] = []
  if (!isLogged) findings.push(finding('warn', 'table', 'it is UNLOGGED: a crash empties it, and standbys have nothing of it'))
  if (partitions === 'hash') findings.push(finding('ok', 'partitions', 'by hash'))
  if (partitions === 'other')
    findings.push(finding('fail', 'partitions', 'not by hash of session_key: new sessions cannot be stored, since their key is not unique'))
  return findings
}

function checkPools({ maxConnections }: ServerFacts, pools: number | null): Finding[] {
  if (pools === null) return []
  const sum = `the pools have ${pools} connections together, and the server allows ${maxConnections}`
  if (pools <= maxConnections) return [finding('ok', 'connections', sum)]
  return [finding('warn', 'connections', `${sum}: requests wait for one that is free, and fail after storeTimeout. Make the pools smaller`)]
}

/** Compares the server with the one of another address, which should be its standby, its pooler, or another node. */
export function checkAgainst(here: ServerFacts, there: ServerFacts): Finding {
  const told = (status: Finding['status'], message: string) => finding(status, 'against', `the other address leads to ${message}`)
  if (there.identity === here.identity) return told('ok', `the same database${there.isPooled ? ', through a pooler' : ''}`)
  if (there.isReadOnly) return told('ok', 'a server that is read-only, which sessions are not read from')
  if (here.galera !== null && here.galera.cluster === there.galera?.cluster) return told('ok', 'a node of the same cluster')
  return told('warn', 'another database that takes writes, too: each of them has sessions that the other one does not know')
}
