import { execFile } from 'node:child_process'
import { pbkdf2Sync } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import Fastify from 'fastify'
import createKnex from 'knex'
import t, { type Test } from 'tap'
import sessions, { errors } from '../lib/index.ts'
import { type EngineName, resolveSettings } from '../lib/settings.ts'
import { openDatabase } from './fixtures/databases.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const run = (file: string, args: string[], cwd = root) => promisify(execFile)(file, args, { cwd })
const read = (path: string) => readFileSync(join(root, path), 'utf8')
const readme = read('README.md')
const pages = new Map(['README.md', ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`)].map((path) => [path, read(path)]))
const manifest = JSON.parse(read('package.json'))
const cli = join(root, manifest.bin['fastify-django-sessions'])

/** The text of the fenced blocks in a language, of all pages. */
function blocks(language: string): string[] {
  return [...pages.values()].flatMap((page) =>
    Array.from(page.matchAll(/^```(\w+)\n(.*?)^```$/gms))
      .filter(([, found]) => found === language)
      .map(([, , text]) => text as string)
  )
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

const credentials = { username: 'ada', password: 'notes on the engine' }

/** Sends a request to each route of the block, and prints what comes back. */
function ending(block: string): string {
  const routes = Array.from(block.matchAll(/^app\.(get|post)(?:<\w+>)?\('([^']*)'/gm))
  const requests = routes.map(([, method, url]) => {
    const payload = method === 'post' ? `, payload: ${JSON.stringify(credentials)}` : ''
    const request = `{ method: '${method}', url: '${url}', headers: { accept: 'text/html' }${payload} }`
    return `await app.inject(${request}).then(({ statusCode, body }) => console.log('${method} ${url}', statusCode, body))`
  })
  return `\n${requests.join('\n')}\nawait app.close()\n`
}

function program(block: string): string {
  if (isModule(block)) return block
  const text = /Fastify\(.*\)/.test(block) ? block : APP + block
  return text.replace('port: 3000', 'port: 0') + ending(block)
}

/** A block that is no part of an application: a configuration, a migration, a class, tests. */
function isModule(block: string): boolean {
  return /^export /m.test(block) || block.includes("'node:test'")
}

/** A name is in the first line, where others import the block. */
function fileName(block: string, index: number): string {
  return /^\/\/ ([\w-]+\.ts)\n/.exec(block)?.[1] ?? `block-${index + 1}.ts`
}

/** Runs the programs in one process, since to start TypeScript takes longer than to run them, and migrations where there are any. */
function runner(files: string[]): string {
  return `import createKnex from 'knex'
const knex = createKnex({ client: 'better-sqlite3', connection: { filename: 'site.sqlite3' }, useNullAsDefault: true })
for (const file of ${JSON.stringify(files)}) {
  console.log(file)
  const { up } = await import('./' + file)
  await up?.(knex)
}
await knex.destroy()
`
}

/** The entries type `request.session` differently, so that each is checked without the other. */
function tsconfig(files: string[]): string {
  const compilerOptions = { target: 'ES2023', module: 'NodeNext', strict: true, skipLibCheck: true, noEmit: true, types: ['node'] }
  return JSON.stringify({ compilerOptions, files })
}

t.test('the blocks of TypeScript pass the type checker and run', async (t) => {
  const programs = new Map(blocks('ts').map((block, index) => [fileName(block, index), program(block)]))
  t.ok(programs.size > 15)
  const files = [...programs.keys()]
  const importsPlugin = (file: string) => programs.get(file)?.includes("'fastify-django-sessions/plugin'")
  const needsRedis = (file: string) => programs.get(file)?.includes('REDIS_URL')
  const folder = t.testdir({
    ...Object.fromEntries(programs),
    'all.ts': runner(files.filter((file) => process.env.REDIS_URL !== undefined || !needsRedis(file))),
    'main.json': tsconfig(files.filter((file) => !importsPlugin(file))),
    'plugin.json': tsconfig(files.filter(importsPlugin))
  })

  for (const project of ['main.json', 'plugin.json']) {
    // Not bin/tsc: a module without an extension, which the test runner's loader cannot take.
    const typescript = join(root, 'node_modules/typescript/lib/tsc.js')
    const problems = await run(process.execPath, [typescript, '-p', project], folder).then(
      () => '',
      ({ stdout, stderr }) => stdout + stderr
    )
    t.equal(problems, '', `types of ${project}`)
  }
  await run(process.execPath, [cli, 'migrate', '--database-url', 'sqlite:site.sqlite3'], folder)
  await createDjangoUser(join(folder, 'site.sqlite3'))
  const { stdout } = await run(process.execPath, ['--import', 'tsx', 'all.ts'], folder)
  const answers = Array.from(stdout.matchAll(/^((?:get|post) \/\S*) (\d+) (.*)$/gm), ([, route, status, body]) => ({ route, status, body }))
  t.match(answers[0], { route: 'get /', status: '200', body: '{"visits":1}' })
  t.match(
    answers.find(({ route }) => route === 'post /login/'),
    { status: '303' },
    'the login with the password'
  )
  t.strictSame(
    answers.filter(({ status }) => Number(status) >= 400).map(({ route, status }) => `${route} ${status}`),
    ['post /transfer 403', 'get /socket 404'],
    'refused are a form without a token, and a websocket that is none'
  )
  t.match(stdout, ' create() stores a session under a new key', "the tests of the recipe's engine ran")
})

/** One row of Django's table, with its names of columns. */
async function createDjangoUser(filename: string): Promise<void> {
  const knex = createKnex({ client: 'better-sqlite3', connection: { filename }, useNullAsDefault: true })
  const hash = pbkdf2Sync(credentials.password, 'salt', 1000, 32, 'sha256').toString('base64')
  await knex.schema.createTable('auth_user', (table) => {
    table.increments('id')
    table.string('username')
    table.string('password')
    table.boolean('is_active')
  })
  await knex('auth_user').insert({ username: credentials.username, password: `pbkdf2_sha256$1000$salt$${hash}`, is_active: true })
  await knex.destroy()
}

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

/** The anchors that GitHub gives to the headings of a page. */
function anchors(page: string): string[] {
  return Array.from(page.matchAll(/^#+ (.*)$/gm), ([, title]) =>
    (title as string)
      .toLowerCase()
      .replace(/[^\w -]/g, '')
      .replaceAll(' ', '-')
  )
}

t.test('links lead to files of the repository and to headings', async (t) => {
  for (const [path, page] of pages) {
    const links = Array.from(page.matchAll(/\]\(([^)]+)\)/g), ([, link]) => link as string)
    for (const link of links.filter((link) => !link.startsWith('https://'))) {
      const [file, anchor] = link.split('#')
      const target = file ? join(dirname(path), file) : path
      t.ok(existsSync(join(root, target)), `${path}: ${link}`)
      if (anchor !== undefined) t.ok(anchors(pages.get(target) ?? '').includes(anchor), `${path}: ${link}`)
    }
  }
})

t.test('the table of engines has every engine', async (t) => {
  const { message } = t.throws(() => resolveSettings({ secretKey: 'x', engine: 'none' as EngineName })) as Error
  const names = Array.from(message.matchAll(/"(\w+)"/g), ([, name]) => name)
  t.ok(names.includes('signed_cookies'))
  t.strictSame([...new Set(table('Engines').map(([cell]) => /^`(\w+)`/.exec(cell as string)?.[1]))], names)
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
