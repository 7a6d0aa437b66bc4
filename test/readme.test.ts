/** What the pages of the documentation say is so: blocks run, commands, links, options and codes exist. */
import { execFile } from 'node:child_process'
import { pbkdf2Sync } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import Fastify from 'fastify'
import createKnex from 'knex'
import t, { type Test } from 'tap'
import sessions, { errors } from '../lib/index.ts'
import type { EngineName } from '../lib/settings/options.ts'
import { resolveSettings } from '../lib/settings/settings.ts'
import { createDatabase, missing, openDatabase } from './fixtures/databases.ts'
import { anchors, type Block, blocks, fileName, leftovers, links, pages, root, sections, table } from './fixtures/pages.ts'
import { readSchema } from './fixtures/schema.ts'

const run = (file: string, args: string[], cwd = root) => promisify(execFile)(file, args, { cwd })
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const cli = join(root, manifest.bin['fastify-django-sessions'])

const blocksIn = (language: string): Block[] => blocks.filter((block) => block.language === language)

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

/** What a program needs that is not here; those on a database of their own are run by the tests of their page. */
function isRunnable(text: string): boolean {
  if (isModule(text)) return true
  return !text.includes('DATABASE_URL') && (process.env.REDIS_URL !== undefined || !text.includes('REDIS_URL'))
}

/** A block that is no part of an application: a configuration, a migration, a class, tests. */
function isModule(block: string): boolean {
  return /^export /m.test(block) || block.includes("'node:test'")
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
  const programs = new Map(blocksIn('ts').map(({ text }, index) => [fileName(text) ?? `block-${index + 1}.ts`, program(text)]))
  t.ok(programs.size > 30, 'the blocks are found')
  const files = [...programs.keys()]
  const importsPlugin = (file: string) => programs.get(file)?.includes("'fastify-django-sessions/untyped'")
  const folder = t.testdir({
    ...Object.fromEntries(programs),
    'all.ts': runner(files.filter((file) => isRunnable(programs.get(file) as string))),
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
  await run(process.execPath, [cli, 'migrate', '--user-sessions', '--user-id', 'bigint', '--database-url', 'sqlite:site.sqlite3'], folder)
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
    [
      'post /login 403',
      'get /account 401',
      'post /confirm/ 401',
      'get /account 401',
      'post /transfer 403',
      'get /socket 403',
      'get /news 401',
      'get /events 401'
    ],
    'refused are nobody, an unknown user, a password that nobody has to confirm, a form without a token, and websockets and streams of no page and of nobody'
  )
  for (const name of ['create() stores a session under a new key', 'a session ends after two weeks'])
    t.match(stdout, ` ${name}`, 'the tests ran')
})

/** One row of Django's table, with its names of columns. */
async function createDjangoUser(filename: string): Promise<void> {
  const knex = createKnex({ client: 'better-sqlite3', connection: { filename }, useNullAsDefault: true })
  const hash = pbkdf2Sync(credentials.password, 'salt', 1000, 32, 'sha256').toString('base64')
  await knex.schema.createTable('auth_user', (table) => {
    table.increments('id')
    table.string('username')
    table.string('password')
    table.datetime('last_login')
    table.boolean('is_active')
  })
  await knex('auth_user').insert({ username: credentials.username, password: `pbkdf2_sha256$1000$salt$${hash}`, is_active: true })
  await knex.destroy()
}

t.test('every language of code blocks has a test that runs it', async (t) => {
  const held = ['ts', 'sh', 'console', 'sql', 'sql sqlite', 'text']
  const heldByPackage = ['ts nest'] // test/package/run.ts
  const heldByLive = ['nginx', 'python'] // test/live/moving.ts
  for (const { path, language } of blocks) {
    const known = path === 'docs/moving-from-django.md' ? [...held, ...heldByLive] : [...held, ...heldByPackage]
    t.ok(known.includes(language), `${language} in ${path}`)
  }
})

for (const [language, database] of Object.entries({ sql: 'postgres', 'sql sqlite': 'sqlite' } as const)) {
  t.test(`the blocks of SQL run on ${database}`, { skip: missing(database) }, async (t) => {
    const knex = await openDatabase(t, database)
    const backup = join(t.testdir({}), 'backup.sqlite3').replaceAll("'", "''")
    const statements = blocksIn(language).map(({ text }) => text.replace('backup.sqlite3', () => backup))
    t.not(statements.length, 0)
    for (const statement of statements) await t.resolves(knex.raw(statement), statement)
  })
}

t.test('the SQL for the migrations of other libraries makes what ours makes', { skip: missing('postgres') }, async (t) => {
  const block = blocksIn('sql').find(({ text }) => text.startsWith('CREATE TABLE')) as Block
  const knex = createKnex(await createDatabase(t, 'postgres'))
  t.teardown(() => knex.destroy())
  await knex.raw(block.text)
  const migrated = await readSchema(await openDatabase(t, 'postgres'))
  t.strictSame(await readSchema(knex), { ...migrated, comment: '' })
})

interface Command {
  url: string
  /** Of the form, where one is sent. */
  payload?: string
  answer: string
}

/** The `$ curl` lines of a block, each followed by its answer. */
function commands(text: string): Command[] {
  return text
    .trimEnd()
    .split(/^\$ /m)
    .slice(1)
    .map((command) => {
      const [line = '', ...answer] = command.trimEnd().split('\n')
      const fields = Array.from(line.matchAll(/ -d (\S+)/g), ([, field]) => field)
      const url = String(/^curl .*\blocalhost:3000(\/\S*)$/.exec(line)?.[1])
      return { url, answer: answer.join('\n'), ...(fields.length > 0 && { payload: fields.join('&') }) }
    })
}

/** Instead of listening: sends what is asked on the command line, with the cookies of the answers before. */
function asking(asked: Command[]): string {
  return `
let cookie = ''
for (const { url, payload } of ${JSON.stringify(asked)} as { url: string; payload?: string }[]) {
  const headers = { cookie, 'content-type': 'application/x-www-form-urlencoded' }
  const response = await app.inject(payload === undefined ? { url, headers: { cookie } } : { url, headers, method: 'POST', payload })
  for (const { name, value } of response.cookies) cookie = name + '=' + value
  console.log('answer ' + JSON.stringify(response.body))
}
await app.close()
`
}

t.test('what is asked of a server on the command line gets the answer that the page shows', async (t) => {
  for (const { path, text } of blocksIn('console')) {
    const asked = commands(text)
    t.not(asked.length, 0)
    const server = blocks.find((block) => block.path === path && block.text.includes('app.listen')) as Block
    const folder = t.testdir({ 'server.ts': server.text.replace(/^await app\.listen.*\n/m, asking(asked)) })
    await run(process.execPath, [cli, 'migrate', '--database-url', 'sqlite:site.sqlite3'], folder)
    const { stdout } = await run(process.execPath, ['--import', 'tsx', 'server.ts'], folder)
    t.strictSame(
      Array.from(stdout.matchAll(/^answer (.*)$/gm), ([, body]) => JSON.parse(body as string)),
      asked.map(({ answer }) => answer)
    )
  }
})

t.test('the commands exist', async (t) => {
  for (const line of blocksIn('sh').flatMap(({ text }) => text.trim().split(/\n|&&/))) {
    const [program = '', command = '', ...args] = line.trim().split(' ')
    for (const file of args.filter((arg) => /^\w[\w.-]*\/.*\.ts$/.test(arg))) t.ok(existsSync(join(root, file)), line)
    if (program === 'npx' && command === manifest.name) await checkOwnCommand(t, args)
    else t.ok(COMMANDS[program]?.(command, args), line)
  }
})

const packages = { ...manifest.devDependencies, ...manifest.dependencies, ...manifest.peerDependencies, [manifest.name]: '' }
const isPackage = (name: string) => Object.hasOwn(packages, name)
const isScript = (name = '') => Object.hasOwn(manifest.scripts, name)

/** What stands behind the programs that the pages call. */
const COMMANDS: Record<string, (command: string, args: string[]) => boolean> = {
  npx: isPackage,
  node: (command, [loader]) => command === '--import' && loader === 'tsx',
  npm: (command, args) => {
    if (command === 'install') return args.every(isPackage)
    return ['ci', 'init', 'pkg'].includes(command) || isScript(command === 'run' ? args[0] : command)
  }
}

const helps = new Map<string, Promise<{ stdout: string }>>()

async function checkOwnCommand(t: Test, [command = '', ...options]: string[]): Promise<void> {
  const help = helps.get(command) ?? run(process.execPath, [cli, command, '--help'])
  helps.set(command, help)
  const { stdout } = await help
  for (const option of options.filter((text) => text.startsWith('--'))) t.match(stdout, `${option} `, `${command} ${option}`)
}

/** Of files, where the package itself does not have them. */
const FILES = `${manifest.homepage.replace('#readme', '')}/blob/main/`

t.test('links lead to files of the repository and to headings', async (t) => {
  for (const path of pages.keys()) {
    t.strictSame(leftovers(path), [], `${path} is Markdown, and its links have targets`)
    for (const link of links(path)) {
      if (link.startsWith(FILES)) checkLink(t, path, link.slice(FILES.length))
      else if (link.includes('://')) t.equal(new URL(link).protocol, 'https:', `${path}: ${link}`)
      else checkLink(t, path, inRepository(path, link))
    }
  }
})

/** Where a relative link leads, from the root. */
function inRepository(path: string, link: string): string {
  return link.startsWith('#') ? path + link : join(dirname(path), link)
}

function checkLink(t: Test, path: string, link: string): void {
  const [file = '', anchor] = link.split('#')
  t.ok(existsSync(join(root, file)), `${path}: ${link}`)
  if (anchor !== undefined) t.ok(anchors(file).includes(anchor), `${path}: ${link}`)
}

const isPublished = (path: string) => /^(README|CHANGELOG|LICENSE|docs\/[^/]+)(\.md)?$/.test(path)

t.test('what is published links to the rest of the repository by its address', async (t) => {
  for (const path of [...pages.keys()].filter(isPublished)) {
    const relative = links(path).filter((link) => !link.includes('://'))
    const leaving = relative.filter((link) => !isPublished(inRepository(path, link).split('#')[0] as string))
    t.strictSame(leaving, [], path)
  }
})

t.test('every page can be reached from the README, and is in the index with a line of its own', async (t) => {
  const reached = new Set(['README.md'])
  for (const path of reached) {
    for (const link of links(path)) {
      const file = link.startsWith(FILES) ? link.slice(FILES.length) : inRepository(path, link)
      const target = file.split('#')[0] as string
      if (pages.has(target)) reached.add(target)
    }
  }
  t.strictSame([...reached].sort(), [...pages.keys()].sort())

  const index = readFileSync(join(root, 'docs/README.md'), 'utf8')
  const listed = Array.from(index.matchAll(/^- \[[^\]]+\]\(([\w-]+\.md)\): ./gm), ([, name]) => `docs/${name}`)
  const inDocs = [...pages.keys()].filter((path) => path.startsWith('docs/') && path !== 'docs/README.md')
  t.strictSame(listed.sort(), inDocs.sort())
})

t.test('the table of engines has every engine', async (t) => {
  const { message } = t.throws(() => resolveSettings({ secretKey: 'x', engine: 'none' as EngineName })) as Error
  const names = Array.from(message.matchAll(/"(\w+)"/g), ([, name]) => name)
  t.ok(names.includes('signed_cookies'))
  t.strictSame([...new Set(table('docs/engines.md', 'Engines').map(([cell]) => /^`(\w+)`/.exec(cell as string)?.[1]))], names)
})

t.test('the page of options has every option with its default', async (t) => {
  const settings = resolveSettings({ secretKey: 'x', knex: { client: 'better-sqlite3', connection: ':memory:' } })
  const defaults: Record<string, unknown> = { ...settings }
  for (const [name, value] of Object.entries(settings.cookie)) defaults[`cookie.${name}`] = value
  const described = sections('docs/options.md').map(({ title, text }) => ({ option: code(title) as string, text }))
  for (const { option, text } of described) {
    const head = /^\s*(?:Required|Default: (`[^`]+`|.+?))\.(?: Django: `[A-Z_]+`\.)?\n/.exec(text)
    t.ok(head, `${option} begins with its default and Django's setting`)
    const written = code(head?.[1])?.replaceAll("'", '"')
    if (written !== undefined) t.equal(written, JSON.stringify(defaults[option]), `default of ${option}`)
  }
  const options = [...known({ unknown: 1 }, ''), ...known({ cookie: { unknown: 1 } }, 'cookie.')].filter((name) => name !== 'cookie')
  t.strictSame(described.map(({ option }) => option).sort(), options.sort())
})

/** The names of the options, as the error about an unknown one lists them. */
function known(options: object, prefix: string): string[] {
  try {
    resolveSettings({ secretKey: 'x', knex: { client: 'better-sqlite3', connection: ':memory:' }, ...options })
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
    table('docs/errors.md', 'Errors')
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
  const members = table('docs/session.md', 'Methods').flatMap(([cell]) => Array.from((cell as string).matchAll(/`(?:await )?(\w+)(\()?/g)))
  t.ok(members.length > 30)
  for (const [, name, call] of members) {
    t.ok(String(name) in session, String(name))
    if (call !== undefined) t.type(session[name as 'get'], 'function', String(name))
  }
})

t.test('the tests that the page on security cites exist', async (t) => {
  const plain = (text: string) => text.replaceAll('’', "'").replaceAll("\\'", "'")
  const page = readFileSync(join(root, 'docs/security.md'), 'utf8')
  const claims = Array.from(page.matchAll(/([\w/-]+): “([^”]+)”/g), ([, file, name]) => [file, name] as [string, string])
  t.ok(claims.length > 30, 'the claims are found')
  for (const [file, name] of claims) {
    const source = readFileSync(join(root, 'test', `${file}.test.ts`), 'utf8')
    t.ok(plain(source).includes(plain(name)), `${file}: ${name}`)
  }
})

t.test('the architecture names every folder, and only modules that exist', async (t) => {
  const page = readFileSync(join(root, 'docs/architecture.md'), 'utf8')
  const files = readdirSync(join(root, 'lib'), { recursive: true }) as string[]
  const folders = files.filter((file) => !file.includes('/') && !file.includes('.'))
  for (const folder of folders) t.ok(page.includes(`${folder}/`), folder)
  const named = Array.from(page.matchAll(/`([a-z]+\/[a-z-]+)`/g), ([, module]) => module as string)
  t.ok(named.length > 20)
  for (const module of named) t.ok(files.includes(`${module}.ts`), module)
})
