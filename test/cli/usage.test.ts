import { readFileSync } from 'node:fs'
import t from 'tap'
import { fails, prints, run } from '../fixtures/command.ts'
import { missing } from '../fixtures/databases.ts'

const COMMANDS: Record<string, string[]> = {
  migrate: [],
  rollback: [],
  clearsessions: ['--grace SECONDS', '--batch-size N', '--max-seconds N', '--dry-run', '--table NAME', '--json'],
  show: ['--secret-key-file FILE', '--table NAME', '--json'],
  check: ['--secret-key-file FILE', '--table NAME', '--json']
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
    for (const option of ['--database-url URL', ...own]) t.ok(stdout.includes(`\n  ${option} `), `${command} ${option}`)
    for (const option of options)
      t.equal(stdout.includes(`\n  ${option} `), own.includes(option), 'the options of a command are in its help only')
    for (const line of stdout.split('\n')) t.ok(line.length <= 80, line)
  }
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  prints(t, await run(['--version']), version)
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
    [[], /expected one of the commands migrate, rollback, clearsessions, show, check\./],
    [[url], /expected one of the commands/],
    [['toString', '--database-url', url], /expected one of the commands/],
    [['clear-session', '--help'], /there is no such command, did you mean clearsessions\?/],
    [['migrat', '--database-url', url], /there is no such command, did you mean migrate\?/],
    [['migrate'], /expected the database as either --database-url URL or --knexfile FILE/],
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
    [['migrate', '--env', 'test', '--database-url', url], /--env needs --knexfile/],
    [['migrate', '--grace', '1', '--database-url', url], /--grace is an option of clearsessions, not of migrate/],
    [['rollback', '--json', '--database-url', url], /--json is an option of clearsessions and show and check, not of rollback/],
    [['clearsessions', '--json=yes', '--database-url', url], /--json takes no value/],
    [['clearsessions', '--batch-size', '0', '--database-url', url], /--batch-size: expected a whole number from 1, got "0"/],
    [['clearsessions', '--grace', '1h', '--database-url', url], /--grace: expected a whole number from 0, got "1h"/],
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

t.test('a SQLite file that does not exist is made by migrate only', async (t) => {
  const database = ['--database-url', `${t.testdir()}/none.sqlite3`]
  for (const command of [['rollback'], ['clearsessions'], ['show', 'abcdefgh'], ['check']]) {
    fails(t, await run([...command, ...database], { env: { SECRET_KEY: 'secret' } }), 1, /the SQLite file does not exist/)
  }
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
