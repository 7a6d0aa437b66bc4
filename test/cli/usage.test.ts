import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import t from 'tap'
import { fails, prints, run } from '../fixtures/command.ts'
import { missing } from '../fixtures/databases.ts'

const COMMANDS: Record<string, string[]> = {
  migrate: ['--table NAME'],
  rollback: ['--table NAME'],
  clearsessions: ['--grace SECONDS', '--batch-size N', '--max-seconds N', '--dry-run', '--table NAME', '--json'],
  show: ['--secret-key-file FILE', '--table NAME', '--json'],
  check: ['--secret-key-file FILE', '--timeouts LIMITS', '--table NAME', '--json']
}

t.test('--help and --version', async (t) => {
  const overview = await run(['--help'])
  t.strictSame({ status: overview.status, stderr: overview.stderr }, { status: 0, stderr: '' })
  for (const text of [...Object.keys(COMMANDS), '--database-url URL', '--knexfile FILE', '--version'])
    t.ok(overview.stdout.includes(text), text)
  const options = new Set(Object.values(COMMANDS).flat())
  for (const [command, own] of Object.entries(COMMANDS)) {
    const { status, stdout } = await run([command, '--help'])
    t.equal(status, 0)
    t.match(stdout, `Usage: fastify-django-sessions ${command}`)
    t.match(stdout, `\nExample:\n  fastify-django-sessions ${command} `)
    t.strictSame(await run(['help', command]), await run([command, '--help']))
    for (const option of ['--database-url URL', ...own]) t.ok(stdout.includes(`\n  ${option} `), `${command} ${option}`)
    for (const option of options)
      t.equal(stdout.includes(`\n  ${option} `), own.includes(option), 'the options of a command are in its help only')
    for (const line of stdout.split('\n')) t.ok(line.length <= 80, line)
  }
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  prints(t, await run(['--version']), version)
  prints(t, await run(['-v']), version)
  t.strictSame(await run(['help']), overview)
  t.strictSame(await run([]), { ...overview, status: 2 }, 'no command at all is wrong usage, and shows what there is')
  fails(t, await run(['help', 'migrat']), 2, /there is no such command, did you mean migrate\?/)
})

t.test('colours on a terminal only, and as NO_COLOR and FORCE_COLOR say', async (t) => {
  const before = { ...process.env }
  t.teardown(() => {
    process.env = before
  })
  const isColoured = async (terminal: boolean, env: NodeJS.ProcessEnv) => {
    process.env = { TERM: 'xterm', ...env }
    const { stdout } = await run(['--help'], { terminal })
    const { stderr } = await run(['x'], { terminal })
    const isBold = stdout.startsWith('\x1b[1mUsage:\x1b[22m ')
    t.equal(stderr.startsWith('\x1b[31mfastify-django-sessions:\x1b[39m '), isBold, 'errors as the help')
    t.equal(stdout.includes('\x1b'), isBold)
    return isBold
  }
  t.equal(await isColoured(true, {}), true)
  t.equal(await isColoured(false, {}), false)
  t.equal(await isColoured(true, { NO_COLOR: '1' }), false)
  t.equal(await isColoured(true, { TERM: 'dumb' }), false)
  t.equal(await isColoured(false, { FORCE_COLOR: '1' }), true)
  t.equal(await isColoured(true, { FORCE_COLOR: '0' }), false)
})

t.test('wrong usage ends with 2 and says what was expected, without the password that was given', async (t) => {
  const url = 'postgres://user:secret-word@localhost/name'
  const cases: [string[], RegExp][] = [
    [[url], /expected one of the commands migrate, rollback, clearsessions, show, sessions, check\./],
    [['toString', '--database-url', url], /expected one of the commands/],
    [['clear-session', '--help'], /there is no such command, did you mean clearsessions\?/],
    [['migrat', '--database-url', url], /there is no such command, did you mean migrate\?/],
    [['migrate'], /expected the database as --database-url URL, --knexfile FILE, or DATABASE_URL in the environment\./],
    [['migrate', url], /expected only options after migrate/],
    [['show', '--database-url', url], /expected one KEY after show, got none/],
    [['show', 'first-key', url, '--database-url', url], /expected one KEY after show, got 2/],
    [['migrate', '--database-url', url, '--knexfile', 'knexfile.js'], /either --database-url URL or --knexfile FILE/],
    [['migrate', `--databaseurl=${url}`], /there is no option --databaseurl, did you mean --database-url\?/],
    [['migrate', `--url=${url}`], /there is no option --url\./],
    [['clearsessions', '--dryrun'], /there is no option --dryrun, did you mean --dry-run\?/],
    [['migrate', '--database-url'], /--database-url needs a value/],
    [['migrate', '--database-url', '--env', url], /--database-url needs a value/],
    [['migrate', '--database-url', ''], /expected postgres:\/\/user@host\/name, .+ or a SQLite file/],
    [['migrate', '--database-url', url.replace('postgres', 'oracle')], /expected postgres:\/\/user@host\/name, .+ or a SQLite file/],
    [['migrate', '--database-url', 'postgres://user:secret-word/x@localhost/name'], /Percent-encode/],
    [['migrate', '--database-url', 'mysql://user:100%secret-word@localhost/name'], /--database-url: .*Percent-encode %/],
    [['migrate', '--database-url', 'postgres//user:secret-word@localhost/name'], /expected postgres:\/\/user@host\/name/],
    [['migrate', '--database-url', 'sqlite://x.sqlite3'], /sqlite:PATH, sqlite:\/\/\/relative\/path or sqlite:\/\/\/\/absolute\/path\./],
    [['migrate', '--database-url', 'sqlite:'], /expected .*sqlite:PATH/],
    [['migrate', '--database-url', 'sqlite://'], /expected .*sqlite:PATH/],
    [['migrate', '--database-url', 'sqlite:///'], /expected .*sqlite:PATH/],
    [['migrate', '--database-url', 'sqlite:///x.sqlite3?mode=ro'], /expected .*sqlite:PATH/],
    [['migrate', '--database-url', 'file://x.sqlite3'], /expected .*sqlite:PATH/],
    [['migrate', '--database-url', 'sqlite:///:memory:'], /a database in memory is gone when the command ends/],
    [['migrate', '--database-url', 'sqlite::memory:'], /a database in memory is gone/],
    // A word, a path and a mistyped URL: only a scheme says which database is meant.
    [['migrate', '--database-url', 'secret-word'], /expected .*sqlite:PATH/],
    [['migrate', '--database-url', '/tmp/secret-word.sqlite3'], /expected .*sqlite:PATH/],
    [['migrate', '--database-url', 'postgres//secret-word@localhost/name'], /expected postgres:\/\/user@host\/name/],
    [['migrate', '--env', 'test', '--database-url', url], /--env needs --knexfile/],
    [['migrate', '--grace', '1', '--database-url', url], /--grace is an option of clearsessions, not of migrate/],
    [['rollback', '--json', '--database-url', url], /--json is an option of clearsessions, show, sessions and check, not of rollback/],
    [['clearsessions', '--json=yes', '--database-url', url], /--json takes no value/],
    [['clearsessions', '--batch-size', '0', '--database-url', url], /--batch-size: expected a whole number from 1, got "0"/],
    [['clearsessions', '--grace', '1h', '--database-url', url], /--grace: expected a whole number from 0, got "1h"/],
    [
      ['check', '--timeouts', 'nist-aal9', '--database-url', url],
      /--timeouts: expected an object with idle or absolute or both, or one of nist-aal1, nist-aal2, nist-aal3, got "nist-aal9"/
    ],
    [['check', '--timeouts', 'idle=1h', '--database-url', url], /--timeouts needs the secret key: set SECRET_KEY in the environment/],
    [['check', '--timeouts', 'idle=1x', '--database-url', url], /--timeouts\.idle: expected seconds from 1 to 34560000 .*, got "1x"/],
    [['check', '--timeouts', 'idle=2h,absolute=1h', '--database-url', url], /--timeouts\.idle: expected no more than/],
    [['clearsessions', '--grace', '-1', '--database-url', url], /--grace: expected a whole number from 0, got "-1"/],
    [['clearsessions', '--json', '-1', '--database-url', url], /there is no option -1/],
    [['clearsessions', '--max-seconds=-1', '--database-url', url], /--max-seconds: expected a whole number from 0, got "-1"/],
    [['clearsessions', '--table', '', '--database-url', url], /--table: expected the name of a table/],
    [['migrate', '--knexfile', 'no-such-file.js'], /no-such-file\.js does not exist/]
  ]
  for (const [args, message] of cases) {
    const result = await run(args)
    fails(t, result, 2, message)
    t.match(result.stderr, /[.?] See --help\n$/)
    t.notMatch(result.stderr, /secret-word/)
  }
})

t.test('help is broken between words on a narrow terminal', async (t) => {
  const wide = await run(['help', 'migrate'], { terminal: true })
  t.strictSame(await run(['help', 'migrate'], { terminal: true, columns: 0 }), wide, 'no width is known, as under script(1)')
  const { stdout } = await run(['help', 'migrate'], { terminal: true, columns: 40 })
  t.match(stdout, '\nCreates the table django_session, or the\none of --table, as Django makes it. A\n')
  t.match(stdout, '  --table NAME     The table (default:\n                   django_session)\n')
})

t.test('an error is broken between words on a narrow terminal', async (t) => {
  const { stderr } = await run(['migrate'], { terminal: true, columns: 40 })
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours take no room
  const lines = stderr.replaceAll(/\x1b\[\d+m/g, '').split('\n')
  t.strictSame(lines, [
    'fastify-django-sessions: expected the',
    'database as --database-url URL,',
    '--knexfile FILE, or DATABASE_URL in the',
    'environment. See --help',
    ''
  ])
})

t.test('DATABASE_URL of the environment is the database where the command line names none', async (t) => {
  const folder = t.testdir({
    'knexfile.cjs': `module.exports = { client: 'better-sqlite3', connection: { filename: 'knexfile.sqlite3' } }`
  })
  const before = process.cwd()
  t.teardown(() => process.chdir(before))
  const env = { DATABASE_URL: `sqlite:${folder}/environment.sqlite3` }
  fails(t, await run(['rollback'], { env }), 1, /environment\.sqlite3 does not exist/)
  fails(t, await run(['rollback', '--database-url', `sqlite:${folder}/option.sqlite3`], { env }), 1, /option\.sqlite3 does not exist/)
  fails(t, await run(['rollback', '--knexfile', `${folder}/knexfile.cjs`], { env }), 1, /knexfile\.sqlite3 does not exist/)
  const wrong = await run(['rollback'], { env: { DATABASE_URL: 'oracle://user:secret-word@localhost/name' } })
  fails(t, wrong, 2, /: DATABASE_URL: expected postgres:/)
  t.notMatch(wrong.stderr, /secret-word/)
  fails(t, await run(['rollback'], { env: { DATABASE_URL: '' } }), 2, /or DATABASE_URL in the environment/)
})

t.test('an IPv6 host is reached by its address', async (t) => {
  for (const scheme of ['postgres', 'mysql']) {
    fails(t, await run(['rollback', '--database-url', `${scheme}://user@[::1]:1/name`]), 1, /ECONNREFUSED/)
  }
})

t.test('a SQLite file that does not exist is made by migrate only', async (t) => {
  const file = `${t.testdir()}/none.sqlite3`
  const database = ['--database-url', `sqlite:${file}`]
  for (const command of [['rollback'], ['clearsessions'], ['show', 'abcdefgh'], ['check']]) {
    const result = await run([...command, ...database], { env: { SECRET_KEY: 'secret' } })
    fails(t, result, 1, /the SQLite file .+ does not exist/)
    t.ok(result.stderr.includes(file), 'the path is named')
  }
})

t.test('an error of a driver is shown where it is known to hold nothing of the URL', async (t) => {
  // A server that has no TLS, and asks for a password by SCRAM.
  const answers = { startup: 'R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0', password: 'R\0\0\0\x09\0\0\0\x0bx' }
  const answerTo = (data: Buffer) => (data.length === 8 ? 'N' : data.toString('latin1', 0, 1) === 'p' ? answers.password : answers.startup)
  const server = createServer((socket) => {
    socket.on('data', (data) => socket.write(answerTo(data)))
    t.teardown(() => socket.destroy())
  }).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  for (const [parameters, message] of [
    ['?sslmode=require', /cannot be reached \(The server does not support SSL connections\)/],
    ['', /cannot be reached \(SASL: SCRAM-SERVER-FIRST-MESSAGE: client password must be a (?:non-empty )?string\)/]
  ] as const) {
    const url = `postgres://secret-word@127.0.0.1:${port}/name${parameters}`
    const result = await run(['clearsessions', '--database-url', url])
    fails(t, result, 1, message)
    t.notMatch(result.stderr, /secret-word/)
  }
  // The driver of MariaDB repeats the parameter.
  const repeating = ['--database-url', `mysql://user@127.0.0.1:${port}/name?charset=secret-word`]
  const hidden = /the database cannot be reached \(the driver's message is not shown, since it may repeat the URL\)/
  for (const command of ['migrate', 'rollback', 'clearsessions']) {
    const result = await run([command, ...repeating])
    fails(t, result, 1, hidden)
    t.notMatch(result.stderr, /secret-word/)
  }
  const { stdout } = await run(['check', ...repeating])
  t.match(stdout, hidden)
  t.notMatch(stdout, /secret-word/)
})

t.test('a server that cannot be reached is an error in one line, without the password', { skip: missing('postgres') }, async (t) => {
  const url = new URL(process.env.POSTGRES_URL as string)
  url.username = 'nobody'
  url.password = 'secret-word'
  for (const [wrong, message] of [
    [url.href, /nobody/],
    // Port 1 is nobody's.
    [Object.assign(new URL(url), { port: '1' }).href, /ECONNREFUSED/],
    // What a password with an @ in it would make of the name of the host.
    ['postgres://user:first@secret-word.invalid/name', /ENOTFOUND|EAI_AGAIN/]
  ] as const) {
    for (const command of [['migrate'], ['clearsessions'], ['show', 'abcdefgh']]) {
      const result = await run([...command, '--database-url', wrong], { env: { SECRET_KEY: 'the key' } })
      fails(t, result, 1, message)
      t.notMatch(result.stderr, /secret-word|first@|the key/)
    }
    const { status, stdout, stderr } = await run(['check', '--database-url', wrong])
    t.strictSame({ status, stderr }, { status: 1, stderr: '' })
    t.match(stdout, /^fail {2}database .*\n/)
    t.match(stdout, message)
    t.notMatch(stdout, /secret-word|first@/)
  }
})
