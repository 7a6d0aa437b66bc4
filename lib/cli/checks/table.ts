/** Compares the table with the one that Django makes. Names of indexes may differ. */
import type { Column, Index, Inspection } from '../../database/inspection.js'
import { type Finding, finding } from './finding.js'

const ADVICE = 'compare with manage.py sqlmigrate sessions 0001'

export function checkTable(table: string, { django }: Inspection, columns: readonly Column[], indexes: readonly Index[]): Finding[] {
  const wrong = [
    ...Object.entries(django).flatMap(([name, expected]) => checkColumn(name, expected, columns)),
    ...checkOthers(columns, django)
  ]
  return [
    ...(wrong.length > 0 ? wrong : [finding('ok', 'columns', 'as Django makes them')]),
    checkPrimaryKey(indexes),
    checkIndex(table, indexes),
    ...checkCollation(columns)
  ]
}

function checkColumn(name: string, { type, costs }: Inspection['django']['session_key'], columns: readonly Column[]): Finding[] {
  const column = columns.find((candidate) => candidate.name === name)
  if (column === undefined) return [finding('fail', 'columns', `${name} is missing: this is not a table of Django's sessions`)]
  const findings: Finding[] = []
  if (column.type !== type) {
    const cost = costs.find((candidate) => candidate.type.test(column.type)) ?? { status: 'warn' as const, message: ADVICE }
    if (cost.status !== 'ok') {
      findings.push(finding(cost.status, 'columns', `${name} is ${column.type}, where Django makes ${type}: ${cost.message}`))
    }
  }
  if (column.nullable) findings.push(finding('warn', 'columns', `${name} may be NULL, where Django makes NOT NULL: ${ADVICE}`))
  return findings
}

function checkOthers(columns: readonly Column[], django: Inspection['django']): Finding[] {
  return columns
    .filter(({ name, nullable, hasDefault }) => !Object.hasOwn(django, name) && !nullable && !hasDefault)
    .map(({ name }) =>
      finding('warn', 'columns', `${name} is NOT NULL and has no default: new sessions fail unless the option columns gives it a value`)
    )
}

function checkPrimaryKey(indexes: readonly Index[]): Finding {
  const ofKey = indexes.filter(({ columns }) => columns.length === 1 && columns[0] === 'session_key')
  if (ofKey.some(({ primary }) => primary)) return finding('ok', 'primary key', 'session_key')
  if (ofKey.some(({ unique }) => unique)) {
    return finding('warn', 'primary key', 'session_key has a unique index, but Django makes it the primary key')
  }
  return finding(
    'fail',
    'primary key',
    'session_key has neither a primary key nor a unique index: two sessions may get the same key, and every read scans all rows'
  )
}

function checkIndex(table: string, indexes: readonly Index[]): Finding {
  if (indexes.some(({ columns }) => columns[0] === 'expire_date')) return finding('ok', 'index', 'expire_date')
  const statement = `CREATE INDEX ${table.replace(/.*\./, '')}_expire_date ON ${table} (expire_date)`
  return finding('warn', 'index', `expire_date has none, so clearsessions scans all rows for each batch: ${statement}`)
}

/** Reports a collation that ignores case. It is not a warning, because Django's own tables have one. */
function checkCollation(columns: readonly Column[]): Finding[] {
  const collation = columns.find(({ name }) => name === 'session_key')?.collation
  if (!collation?.endsWith('_ci')) return []
  return [finding('ok', 'collation', `${collation} ignores case, as in Django's tables; here keys are compared byte by byte`)]
}
