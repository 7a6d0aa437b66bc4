/** The program of docs/high-availability.md that finds the primary by itself, as an application of a cell. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { secretKey } from '../fixtures/app.ts'
import { blocks, root } from '../fixtures/pages.ts'
import type { Scope } from './scope.ts'

/** The package is imported by its name. */
export const SITE_ENV = { SECRET_KEY: secretKey, TSX_TSCONFIG_PATH: join(root, 'test/tsconfig.json') }

/** What a page leaves out: routes and an address. */
const ENDING = `
import { addSiteRoutes, serveParent } from '${pathToFileURL(join(root, 'test/fixtures/site-app.ts'))}'
addSiteRoutes(app)
await app.listen({ port: 0, host: '127.0.0.1' })
await serveParent(app)
process.exit(0)
`

/** @param urls of the primary and its standby, which the program is told in this order */
export async function severalAddresses(scope: Scope, urls: readonly [string, string], storeTimeout: number): Promise<URL> {
  const found = blocks.find(({ path, language }) => path === 'docs/high-availability.md' && language === 'ts')
  let text = found?.text ?? ''
  for (const [part, own] of [
    ['postgres://site@10.0.0.1/site', urls[0]],
    ['postgres://site@10.0.0.2/site', urls[1]],
    ['storeTimeout: 10', `storeTimeout: ${storeTimeout}`],
    ['logger: true', 'logger: false']
  ] as const) {
    if (!text.includes(part)) throw new Error(`The page has no program with ${part}`)
    text = text.replace(part, own)
  }
  // Below the project, where its packages are found.
  const parent = join(root, '.tap')
  await mkdir(parent, { recursive: true })
  const file = join(await scope.folder(parent), 'site.ts')
  await writeFile(file, text + ENDING)
  return pathToFileURL(file)
}
