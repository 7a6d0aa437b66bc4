/** The example site as `npm start` serves it, in processes of its own. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { createDatabase, missing } from './fixtures/databases.ts'
import { root } from './fixtures/pages.ts'

/** Starts the site on a database, and kills it at the end of the test at the latest. */
function start(t: Test, databaseUrl: string, env: NodeJS.ProcessEnv = {}) {
  const { PORT: _, ...inherited } = process.env
  const child = spawn(process.execPath, ['--import', 'tsx', join(root, 'examples/site/server.ts')], {
    cwd: root,
    env: { ...inherited, SECRET_KEY: 'for development only', DATABASE_URL: databaseUrl, ...env },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  t.teardown(() => child.kill('SIGKILL'))
  const exit = once(child, 'exit')
  const errors = text(child.stderr)
  const failed = exit.then(async () => Promise.reject(new Error(await errors)))
  const line = Promise.race([once(child.stdout, 'data').then(String), failed])
  line.catch(() => {})
  return { child, exit, errors, line }
}

t.test(
  'two sites start on a new database at the same time, on ports that are free, until Ctrl-C',
  { skip: missing('postgres') },
  async (t) => {
    const { connection } = await createDatabase(t, 'postgres')
    const sites = [start(t, connection as string), start(t, connection as string)]
    const lines = await Promise.all(sites.map(({ line }) => line))
    const urls = lines.map((line) => /^The site is at (http:\/\/127\.0\.0\.1:30\d\d)\n$/.exec(line)?.[1] as string)
    t.equal(new Set(urls).size, 2, lines.join(''))
    for (const url of urls) t.match(await (await fetch(url)).text(), '<strong class="count">1</strong>')

    for (const { child } of sites) child.kill('SIGINT')
    for (const { exit, errors } of sites) {
      t.strictSame(await exit, [0, null])
      t.equal(await errors, '')
    }
  }
)

t.test('a port that was asked for and is taken is an error that names another one', { skip: missing('postgres') }, async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  const { connection } = await createDatabase(t, 'postgres')
  const { exit, errors } = start(t, connection as string, { PORT: String(port) })
  t.strictSame(await exit, [1, null])
  t.equal(await errors, `The site cannot start: port ${port} is taken\nChoose another one: PORT=${port + 1} npm start\n`)
})

t.test('a database that cannot be reached is an error without a stack and a password', async (t) => {
  const { exit, errors } = start(t, 'postgres://ada:secret@127.0.0.1:1/site')
  t.strictSame(await exit, [1, null])
  t.equal(
    await errors,
    'The site cannot start: connect ECONNREFUSED 127.0.0.1:1\nCheck DATABASE_URL: expected postgres://user@host/name.\n'
  )
})
