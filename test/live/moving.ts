/** The example of docs/moving-from-django.md: its settings, its application and its proxy, run together. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import t, { type Test } from 'tap'
import { secretKey } from '../fixtures/app.ts'
import { createDatabase } from '../fixtures/databases.ts'
import { blocks, root } from '../fixtures/pages.ts'
import { freePort } from '../fixtures/servers.ts'
import { PYTHON, startDjango } from './django.ts'
import { Visitor } from './site.ts'

const NGINX = process.env.NGINX ?? '/usr/sbin/nginx'

/** The only block of the page in a language. */
function block(language: string): string {
  const [found, ...more] = blocks.filter((block) => block.path === 'docs/moving-from-django.md' && block.language === language)
  if (found === undefined || more.length > 0) throw new Error(`Expected one block of ${language}`)
  return found.text
}

/** What Python makes of the settings. */
function djangoSettings(): Record<string, unknown> {
  const script = `import json, sys
names = {}
exec(sys.stdin.read(), names)
print(json.dumps({name: value for name, value in names.items() if name.isupper()}))`
  const env = { ...process.env, SECRET_KEY: secretKey }
  return JSON.parse(execFileSync(PYTHON, ['-c', script], { env, input: block('python'), encoding: 'utf8' }))
}

/** Starts a program that ends with the test, and waits for a line of its output. */
async function start(t: Test, command: string[], env: NodeJS.ProcessEnv, ready: RegExp): Promise<void> {
  const [file, ...args] = command as [string, ...string[]]
  const child = spawn(file, args, { cwd: root, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  const exit = once(child, 'exit')
  t.teardown(() => {
    child.kill()
    return exit
  })
  const lines: string[] = []
  const isReady = async (output: Readable) => {
    for await (const line of createInterface(output)) {
      lines.push(line)
      if (ready.test(line)) return output.resume()
    }
    throw new Error(`${file} ended: ${lines.join('\n')}`)
  }
  await Promise.any([isReady(child.stdout), isReady(child.stderr)]).catch(({ errors }: AggregateError) => {
    throw errors[0]
  })
}

async function startFastify(t: Test, folder: string, databaseUrl: string): Promise<number> {
  const port = await freePort()
  const app = join(folder, 'app.ts')
  writeFileSync(app, `${block('ts').replace('3000', String(port))}console.log('ready')\n`)
  await start(t, [process.execPath, '--import', 'tsx', app], { DATABASE_URL: databaseUrl, SECRET_KEY: secretKey }, /^ready$/)
  return port
}

async function startNginx(t: Test, folder: string, { django, fastify }: { django: number; fastify: number }): Promise<string> {
  const port = await freePort()
  const site = block('nginx')
    .replace('8000', String(django))
    .replace('3000', String(fastify))
    .replace('listen 80', `listen 127.0.0.1:${port}`)
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path "${folder}/${name}";`)
  const config = join(folder, 'nginx.conf')
  const http = `http { access_log off; ${paths.join(' ')}\n${site} }`
  writeFileSync(config, `daemon off; pid "${folder}/nginx.pid"; error_log stderr notice; events {}\n${http}`)
  mkdirSync(join(folder, 'logs'))
  await start(t, [NGINX, '-p', folder, '-c', config], {}, /start worker process /)
  return `http://127.0.0.1:${port}`
}

async function startSite(t: Test): Promise<string> {
  const folder = t.testdir()
  const { connection } = await createDatabase(t, 'postgres')
  const { USE_TZ, ...settings } = djangoSettings()
  t.equal(USE_TZ, true, 'as every site of the tests has it')
  const django = await startDjango(t, connection, settings)
  const fastify = await startFastify(t, folder, connection as string)
  return startNginx(t, folder, { django: Number(new URL(django).port), fastify })
}

/** The names of a session cookie's attributes, and the values of those that do not depend on the moment. */
function attributes(response: Response): string[] {
  const header = response.headers.getSetCookie().find((cookie) => cookie.startsWith('sessionid='))
  const [, ...rest] = (header ?? '').split('; ').map((attribute) => attribute.toLowerCase())
  return rest.map((attribute) => attribute.replace(/^expires=.*/, 'expires')).sort()
}

t.test('a page that has moved behind a proxy', async (t) => {
  const site = await startSite(t)

  t.test("is for Django's users: through Django's login page, and until Django's logout", async (t) => {
    const visitor = new Visitor()
    const refused = await visitor.open(`${site}/account/`)
    t.match([refused.status, refused.headers.get('location')], [302, '/login/?next=/account/'])
    const back = await visitor.submit(site + refused.headers.get('location'), { username: 'ada', password: 'lovelace' })
    t.equal(back, '/account/')
    t.strictSame(await (await visitor.open(site + back)).json(), { user: 'ada', visits: 1 })
    await visitor.logoutOnDjango(site)
    t.equal((await visitor.open(`${site}/account/`)).status, 302)
  })

  t.test('counts on in one session', async (t) => {
    const visitor = new Visitor()
    await visitor.loginOnDjango(site, 'ada', 'lovelace')
    await visitor.open(`${site}/visit/`)
    t.strictSame(await (await visitor.open(`${site}/account/`)).json(), { user: 'ada', visits: 2 })
    t.strictSame(await visitor.who(site), { user: 'ada', visits: 2 })
  })

  t.test("sends its cookie as Django's settings say", async (t) => {
    const visitor = new Visitor()
    await visitor.loginOnDjango(site, 'ada', 'lovelace')
    const ofDjango = attributes(await visitor.open(`${site}/visit/`))
    const ofFastify = attributes(await visitor.open(`${site}/account/`))
    t.strictSame(ofFastify, ofDjango)
    t.ok(ofFastify.includes('secure'))
  })
})
