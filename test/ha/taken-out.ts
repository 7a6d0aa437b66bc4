/**
 * Takes out one part of the package at a time, in a copy of the project, and runs a failover that must miss its goals then:
 * `node --import tsx test/ha/taken-out.ts [NAME...]`, for all or for the failovers whose names contain one of the texts.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { root } from '../fixtures/pages.ts'
import { type Part, parts } from './parts.ts'

const LEFT_OUT = ['.git', '.tap', 'dist', 'node_modules']

const folder = mkdtempSync(join(tmpdir(), 'sessions-taken-out-'))
process.on('exit', () => rmSync(folder, { recursive: true }))
cpSync(root, folder, { recursive: true, filter: (path) => !LEFT_OUT.includes(basename(path)) })
symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))

/** What the run of the failover said, in the last column of its row. */
function runWithout({ cell, file, text, without }: Part): { isNoticed: boolean; said: string } {
  const path = join(folder, file)
  const whole = readFileSync(path, 'utf8')
  writeFileSync(
    path,
    whole.replace(text, () => without)
  )
  const { status, stdout } = spawnSync(process.execPath, ['--import', 'tsx', 'test/ha/run.ts', cell], { cwd: folder, encoding: 'utf8' })
  writeFileSync(path, whole)
  const row = stdout.split('\n').find((line) => line.startsWith(`| ${cell} |`)) ?? ''
  return { isNoticed: status === 1, said: row.split('|').at(-2)?.trim() ?? '' }
}

const names = process.argv.slice(2)
const chosen = parts.filter(({ cell }) => names.length === 0 || names.some((name) => cell.includes(name)))
if (chosen.length === 0) {
  console.error(`Expected parts of these names:\n${parts.map(({ cell }) => cell).join('\n')}`)
  process.exit(2)
}
console.log('| Failover | Taken out | Said |\n|---|---|---|')
let unnoticed = 0
for (const part of chosen) {
  const { isNoticed, said } = runWithout(part)
  if (!isNoticed) unnoticed++
  console.log(`| ${part.cell} | ${part.what} | ${said} |`)
}
process.exitCode = unnoticed > 0 ? 1 : 0
