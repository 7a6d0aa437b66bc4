/** Contenders as plain JavaScript: tsx has a thread of its own, whose instructions would be counted too. */
import { cp, readdir, symlink } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { build } from 'esbuild'
import type { Contender } from './contenders.ts'

const root = join(import.meta.dirname, '..')

/**
 * Compiles all contenders.
 *
 * @param folder becomes a copy of this package, with the build `dist`
 * @returns the same contender, from that folder, with options of Node.js
 */
export async function compileContenders(folder: string, dist: string): Promise<(contender: Contender, ...options: string[]) => Contender> {
  const sources = join(root, 'bench/contenders')
  const files = (await readdir(sources)).filter((file) => file.endsWith('.ts'))
  await build({
    entryPoints: files.map((file) => join(sources, file)),
    outdir: join(folder, 'contenders'),
    bundle: true,
    splitting: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    logLevel: 'error'
  })
  // The contenders import this package by its name, which is that of the folder they are in.
  await cp(join(root, 'package.json'), join(folder, 'package.json'))
  await cp(join(root, 'migrations'), join(folder, 'migrations'), { recursive: true })
  await cp(dist, join(folder, 'dist'), { recursive: true })
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'))

  return (contender, ...options) => {
    const index = contender.command.findIndex((argument) => argument.endsWith('.ts'))
    const file = basename(contender.command[index] as string, '.ts')
    const args = contender.command.slice(index + 1)
    return { ...contender, command: [process.execPath, ...options, join(folder, 'contenders', `${file}.js`), ...args] }
  }
}
