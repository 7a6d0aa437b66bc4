import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import sessions, { errors } from '../lib/index.ts'
import { resolveSettings } from '../lib/settings.ts'
import { openDatabase } from './fixtures/databases.ts'

const run = promisify(execFile)
const root = fileURLToPath(new URL('..', import.meta.url))
const readme = readFileSync(join(root, 'README.md'), 'utf8')
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const cli = join(root, manifest.bin['fastify-django-sessions'])

/** The text of the fenced blocks in a language. */
function blocks(language: string): string[] {
  return Array.from(readme.matchAll(/^```(\w+)\n(.*?)^```$/gms))
    .filter(([, found]) => found === language)
    .map(([, , text]) => text as string)
}

/** The cells of the table under a heading, without its head. */
function table(heading: string): string[][] {
  const section = readme.split(/^## /m).find((text) => text.startsWith(`${heading}\n`)) ?? ''
  const rows = section.split('\n').filter((line) => line.startsWith('|'))
  return rows.slice(2).map((row) =>
    row
      .split(/(?<!\\)\|/)
      .slice(1, -1)
      .map((cell) => cell.trim())
  )
}

/** What is in backticks, or null. */
function code(cell: string | undefined): string | null {
  return /^`([^`]*)`$/.exec(cell ?? '')?.[1] ?? null
}

/** Blocks without an application of their own continue the quick start. */
const APP = `import Fastify from 'fastify'
import sessions from 'fastify-django-sessions'
const app = Fastify()
await app.register(sessions, { secretKey: 'x', knex: { client: 'better-sqlite3', connection: { filename: 'site.sqlite3' } } })
`

/** Sends a request to each route of the block, and prints what comes back. */
function ending(block: string): string {
  const routes = Array.from(block.matchAll(/^app\.(get|post)\('([^']*)'/gm))
  const requests = routes.map(
    ([, method, url]) =>
      `await app.inject({ method: '${method}', url: '${url}' }).then(({ statusCode, body }) => console.log(statusCode, body))`
  )
  return `\n${requests.join('\n')}\nawait app.close()\n`
}

function program(block: string): string {
  const text = block.includes('Fastify()') ? block : APP + block
  return text.replace('port: 3000', 'port: 0') + ending(block)
}

/** The entries type `request.session` differently, so that each is checked without the other. */
function tsconfig(files: string[]): string {
  const compilerOptions = { target: 'ES2023', module: 'NodeNext', strict: true, noEmit: true, types: ['node'] }
  return JSON.stringify({ compilerOptions, files })
}

t.test('the blocks of TypeScript pass the type checker and run', async (t) => {
  const programs = new Map(blocks('ts').map((block, index) => [`block-${index + 1}.ts`, program(block)]))
  t.ok(programs.size > 5)
  const files = [...programs.keys()]
  const importsPlugin = (file: string) => programs.get(file)?.includes("'fastify-django-sessions/plugin'")
  const folder = t.testdir({
    ...Object.fromEntries(programs),
    'all.ts': files.map((file) => `console.log('${file}')\nawait import('./${file}')\n`).join(''),
    'main.json': tsconfig(files.filter((file) => !importsPlugin(file))),
    'plugin.json': tsconfig(files.filter(importsPlugin))
  })

  for (const project of ['main.json', 'plugin.json']) {
    const typescript = join(root, 'node_modules/typescript/bin/tsc')
    const { stdout } = await run(process.execPath, [typescript, '-p', project], { cwd: folder }).catch((error) => error)
    t.equal(stdout, '', `types of ${project}`)
  }
  await run(process.execPath, [cli, 'migrate', '--database-url', 'sqlite:site.sqlite3'], { cwd: folder })
  // One process for all of them: to start TypeScript takes longer than to run them.
  const { stdout } = await run(process.execPath, ['--import', 'tsx', 'all.ts'], { cwd: folder })
  t.match(stdout, 'block-1.ts\n200 {"visits":1}\n')
  t.notMatch(stdout, /^[45]\d\d /m)
})

t.test('the commands exist', async (t) => {
  const packages = { ...manifest.devDependencies, ...manifest.dependencies, ...manifest.peerDependencies, [manifest.name]: '' }
  for (const line of blocks('sh').join('').split(/\n|&&/)) {
    const [program, command, ...args] = line.trim().split(' ')
    if (program === undefined || program === '') continue
    if (program === 'npx') await checkCommand(t, command as string, args)
    else if (command === 'install')
      t.strictSame(
        args.filter((name) => !Object.hasOwn(packages, name)),
        [],
        line
      )
    else t.ok(program === 'npm' && (command === 'ci' || Object.hasOwn(manifest.scripts, command as string)), line)
  }
})

async function checkCommand(t: Test, name: string, [command, ...options]: string[]): Promise<void> {
  t.equal(name, 'fastify-django-sessions')
  const { stdout } = await run(process.execPath, [cli, command as string, '--help'])
  for (const option of options.filter((text) => text.startsWith('--'))) t.match(stdout, `${option} `, `${command} ${option}`)
}

t.test('links lead to files of the repository and to headings', async (t) => {
  const anchors = Array.from(
    readme.matchAll(/^#+ (.*)$/gm),
    ([, title]) =>
      `#${(title as string)
        .toLowerCase()
        .replace(/[^\w -]/g, '')
        .replaceAll(' ', '-')}`
  )
  const links = Array.from(readme.matchAll(/\]\(([^)]+)\)/g), ([, link]) => link as string)
  for (const link of links.filter((link) => !link.startsWith('https://'))) {
    t.ok(link.startsWith('#') ? anchors.includes(link) : existsSync(join(root, link)), link)
  }
})

t.test('the table of options has every option with its default', async (t) => {
  const settings = resolveSettings({ secretKey: 'x', knex: { client: 'better-sqlite3' } })
  const defaults: Record<string, unknown> = { ...settings }
  for (const [name, value] of Object.entries(settings.cookie)) defaults[`cookie.${name}`] = value
  const rows = table('Options')
  for (const [option, , value] of rows) {
    const text = code(value)?.replaceAll("'", '"')
    if (text !== undefined) t.equal(text, JSON.stringify(defaults[String(code(option))]), `default of ${option}`)
  }
  const options = [...known({ unknown: 1 }, ''), ...known({ cookie: { unknown: 1 } }, 'cookie.')].filter((name) => name !== 'cookie')
  t.strictSame(rows.map(([option]) => code(option)).sort(), options.sort())
})

/** The names of the options, as the error about an unknown one lists them. */
function known(options: object, prefix: string): string[] {
  try {
    resolveSettings({ secretKey: 'x', knex: { client: 'better-sqlite3' }, ...options })
  } catch (error) {
    const list = /unknown option; there are (.*)/.exec((error as Error).message)?.[1] ?? ''
    return list.split(', ').map((name) => prefix + name)
  }
  return []
}

t.test('the table of errors has every code with its status', async (t) => {
  const classes = Object.values(errors) as unknown as (new () => { code: string; statusCode: number })[]
  const expected = classes.map((SessionError) => new SessionError()).map(({ code, statusCode }) => [code, String(statusCode)])
  t.strictSame(
    table('Errors')
      .map(([name, status]) => [code(name), status])
      .sort(),
    expected.sort()
  )
})

t.test('the table of the session names what a session has', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(sessions, { secretKey: 'x', knex: await openDatabase(t, 'sqlite') })
  const session = app.sessions.open()
  const members = table('The session').flatMap(([cell]) => Array.from((cell as string).matchAll(/`(?:await )?(\w+)(\()?/g)))
  t.ok(members.length > 30)
  for (const [, name, call] of members) {
    t.ok(String(name) in session, String(name))
    if (call !== undefined) t.type(session[name as 'get'], 'function', String(name))
  }
})
