/**
 * What every check needs: the example site, a real Chromium, and visitors of whom no
 * complaint goes unheard. CHROMIUM names the browser's program.
 */
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import { type BrowserContext, type BrowserContextOptions, chromium, type LaunchOptions, type Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { buildSite, type SiteOptions } from '../../examples/site/site.ts'
import { demoPasswords } from '../../examples/site/users.ts'
import { gate } from '../fixtures/app.ts'

const launchOptions: LaunchOptions = {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  // Playwright turns it off; people's browsers have it, and the checks of the back button are about it.
  ignoreDefaultArgs: ['--disable-back-forward-cache'],
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--host-resolver-rules=MAP *.test 127.0.0.1'
  ]
}

// For a machine that has much else to do.
t.setTimeout(900_000)
const browser = await chromium.launch(launchOptions)
/** Removed at the end of all: for a while after it was closed, Chromium may still write to its profile. */
const folder = await mkdtemp(join(tmpdir(), 'sessions-browser-'))
t.teardown(async () => {
  await browser.close()
  await rm(folder, { recursive: true, maxRetries: 3 })
})

/** What Chromium reads from its profile at the start. */
export interface Preferences {
  profile?: { default_content_setting_values: { cookies: 1 | 2 } }
  session?: { restore_on_startup: 1 | 5 }
}

export interface World {
  t: Test
  site: FastifyInstance
  /** Where the site listens. */
  url: string
  /** Moves the server's clock on. */
  pass(seconds: number): void
  /** A door after the load of the session for the next POST to this path. */
  hold(path: string): ReturnType<typeof gate>
  /** A browser with cookies of its own. */
  visit(options?: BrowserContextOptions): Promise<Page>
  /** Starts a browser with a profile that is kept in the folder of this name; close its context to end it. */
  start(profile: string, preferences?: Preferences): Promise<BrowserContext>
}

export interface CheckOptions extends Pick<SiteOptions, 'sessions' | 'server'> {
  /** The statuses from 400 that browsers get, on purpose and in this order. */
  refusals?: number[]
  /** The warnings in the site's log, in their order. */
  warnings?: RegExp[]
  /** Adds to the site what only this check needs. */
  prepare?: (site: FastifyInstance) => void
}

/** A test that also fails on whatever the browser's console, its pages, its requests or the site's log complain about. */
export function check(name: string, options: CheckOptions, run: (world: World) => Promise<void>): void {
  t.test(name, { timeout: 180_000 }, async (t) => {
    const complaints: string[] = []
    const refusals: number[] = []
    const world = await createWorld(t, options, complaints, refusals)
    await run(world)
    t.match(complaints, options.warnings ?? [], 'the warnings')
    t.equal(complaints.length, options.warnings?.length ?? 0, 'nobody complains otherwise')
    t.strictSame(refusals, options.refusals ?? [], 'the statuses from 400')
  })
}

async function createWorld(t: Test, options: CheckOptions, complaints: string[], refusals: number[]): Promise<World> {
  let now = Date.now()
  const gates = new Map<string, ReturnType<typeof gate>[]>()
  const contexts: BrowserContext[] = []
  const home = await mkdtemp(join(folder, 'check-'))
  const site = await buildSite({
    database: { client: 'better-sqlite3', connection: { filename: join(home, 'site.sqlite3') }, useNullAsDefault: true },
    secretKey: 'the secret key of the browser checks, which is long enough for Django',
    sessions: { clock: () => new Date(now), ...options.sessions },
    server: { logger: { level: 'warn', stream: { write: (line: string) => complaints.push(line) } }, ...options.server }
  })
  t.teardown(async () => {
    for (const context of contexts) await context.close()
    await site.close()
  })
  site.addHook('preHandler', async (request) => {
    const gate = request.method === 'POST' ? gates.get(request.url)?.shift() : undefined
    if (gate === undefined) return
    await request.session.load()
    await gate.pass()
  })
  options.prepare?.(site)
  const url = await site.listen({ host: '127.0.0.1', port: 0 })

  function watch(context: BrowserContext): BrowserContext {
    contexts.push(context)
    context.setDefaultTimeout(60_000)
    context.on('response', (response) => response.status() >= 400 && refusals.push(response.status()))
    context.on('requestfailed', (request) => complaints.push(`${request.method()} ${request.url()}: ${request.failure()?.errorText}`))
    context.on('weberror', (error) => complaints.push(error.error().message))
    context.on('console', (message) => {
      // The console says once more what is among the refusals.
      if (!message.text().startsWith('Failed to load resource: the server responded with a status of')) complaints.push(message.text())
    })
    return context
  }

  return {
    t,
    site,
    url,
    pass: (seconds) => {
      now += seconds * 1000
    },
    hold(path) {
      const held = gate()
      gates.set(path, [...(gates.get(path) ?? []), held])
      return held
    },
    visit: async (context) => watch(await browser.newContext({ baseURL: url, ...context })).newPage(),
    async start(profile, preferences) {
      const userDataDir = join(home, profile)
      if (preferences !== undefined) await prefer(join(userDataDir, 'Default'), preferences)
      return watch(await chromium.launchPersistentContext(userDataDir, { ...launchOptions, baseURL: url }))
    }
  }
}

/** Adds to what Chromium has written itself at the end, if it ran with this profile before. */
async function prefer(folder: string, preferences: Preferences): Promise<void> {
  const file = join(folder, 'Preferences')
  const kept = existsSync(file) ? JSON.parse(await readFile(file, 'utf8')) : {}
  const { profile, session } = preferences
  await mkdir(folder, { recursive: true })
  await writeFile(file, JSON.stringify({ ...kept, profile: { ...kept.profile, ...profile }, session: { ...kept.session, ...session } }))
}

/** Playwright waits for ever for a page that comes back from memory: wait for what is to be seen instead. */
export async function goBack(page: Page): Promise<void> {
  // Later: a page that comes from the server would end the call.
  await page.evaluate('void setTimeout(() => history.back())')
}

/** Presses a button that sends a form, and waits for the page that answers. */
export async function send(page: Page, button: string): Promise<void> {
  await Promise.all([page.waitForEvent('domcontentloaded'), page.getByRole('button', { name: button }).click()])
}

export async function signIn(page: Page, name: keyof typeof demoPasswords, { password = demoPasswords[name], remember = false } = {}) {
  await page.getByLabel('User').fill(name)
  await page.getByLabel('Password').fill(password)
  await page.getByLabel('Keep me signed in').setChecked(remember)
  await send(page, 'Sign in')
}

export async function signOut(page: Page): Promise<void> {
  await send(page, 'Sign out')
  await page.getByText('You have signed out.').waitFor()
}

export async function comment(page: Page, text: string): Promise<void> {
  await page.getByLabel('Your comment').fill(text)
  await send(page, 'Comment')
}

export function add(page: Page, item: string): Promise<void> {
  return send(page, `Add ${item}`)
}

/** How many of an item the cart on this page shows. */
export async function countOf(page: Page, item: string): Promise<string | undefined> {
  return page.getByRole('row', { name: item }).getByRole('cell').first().innerText()
}

/** The session's cookie, as the browser keeps it. */
export async function cookieOf(page: Page) {
  const cookies = await page.context().cookies()
  if (cookies.length !== 1) throw new Error(`Expected one cookie, got ${JSON.stringify(cookies.map(({ name }) => name))}`)
  return cookies[0] as (typeof cookies)[number]
}

export async function keyOf(page: Page): Promise<string> {
  return (await cookieOf(page)).value
}
