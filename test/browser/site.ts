/**
 * Drives the example site with a real browser: `node --import tsx test/browser/site.ts`
 * after `npm run build`. CHROMIUM names the browser's program.
 */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core'
import { buildSite } from '../../examples/site/site.ts'
import { demoPasswords } from '../../examples/site/users.ts'

interface Visitor {
  context: BrowserContext
  page: Page
}

const consoleErrors: string[] = []
const folder = await mkdtemp(join(tmpdir(), 'fastify-django-sessions-'))
const site = await buildSite({
  database: { client: 'better-sqlite3', connection: { filename: join(folder, 'site.sqlite3') }, useNullAsDefault: true },
  secretKey: 'the secret key of the browser check',
  logger: { level: 'warn' }
})
const baseURL = await site.listen({ host: '127.0.0.1', port: 0 })
let browser: Browser | undefined
try {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    // Playwright turns it off; people's browsers have it, and the check of the back button is about it.
    ignoreDefaultArgs: ['--disable-back-forward-cache'],
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync'
    ]
  })
  for (const check of [countsVisits, keepsColour, letsCommentOnce, signsInAndOut, refusesWithoutCookies]) {
    await check(browser)
    assert.deepEqual(consoleErrors, [])
    console.log(`ok ${check.name}`)
  }
} finally {
  await browser?.close()
  await site.close()
  await rm(folder, { recursive: true })
}

async function countsVisits(browser: Browser): Promise<void> {
  const first = await visit(browser)
  const second = await visit(browser)
  await first.page.goto('/')
  await first.page.goto('/')
  await second.page.goto('/')
  assert.equal(await first.page.locator('.count').textContent(), '2')
  assert.equal(await second.page.locator('.count').textContent(), '1')

  const cookies = await first.context.cookies()
  assert.equal(cookies.length, 1)
  const { name, httpOnly, sameSite, secure, path, domain } = cookies[0] as (typeof cookies)[number]
  assert.deepEqual(
    { name, httpOnly, sameSite, secure, path, domain },
    { name: 'sessionid', httpOnly: true, sameSite: 'Lax', secure: false, path: '/', domain: '127.0.0.1' }
  )
  assert.equal(await first.page.evaluate('document.cookie'), '')
  await leave(first, second)
}

async function keepsColour(browser: Browser): Promise<void> {
  const visitor = await visit(browser)
  const { page } = visitor
  await page.goto('/colour/')
  await page.getByLabel('Your favourite colour').fill('#ff8800')
  await page.getByRole('button', { name: 'Save' }).click()
  await page.getByText('Your favourite colour is #ff8800.').waitFor()
  await page.getByRole('button', { name: 'Forget it' }).click()
  await page.getByText('You have not told us yet.').waitFor()
  await leave(visitor)
}

async function letsCommentOnce(browser: Browser): Promise<void> {
  const visitor = await visit(browser)
  const { page } = visitor
  const otherTab = await openTab(visitor)
  await page.goto('/comments/')
  await otherTab.goto('/comments/')
  await comment(page, '<script>document.title = "run"</script>')
  await page.getByText('You have already commented.').waitFor()
  assert.equal(await page.locator('.comments li').textContent(), '<script>document.title = "run"</script>')
  assert.notEqual(await page.title(), 'run')

  const [refusal] = await Promise.all([otherTab.waitForResponse('**/comments/'), comment(otherTab, 'a second one')])
  assert.equal(refusal.status(), 403)
  await otherTab.getByText('You have already commented.').waitFor()
  assert.equal(await otherTab.locator('.comments li').count(), 1)
  await leave(visitor)
}

async function signsInAndOut(browser: Browser): Promise<void> {
  const visitor = await visit(browser)
  const { page } = visitor
  await page.goto('/')
  const anonymousKey = await keyOf(visitor)

  await page.goto('/account/')
  await signIn(page, 'ada', 'a wrong password')
  await page.getByRole('alert').waitFor()
  assert.equal(await keyOf(visitor), anonymousKey)
  await signIn(page, 'ada', demoPasswords.ada)
  await page.getByText('Hello, ada.').waitFor()
  const key = await keyOf(visitor)
  assert.notEqual(key, anonymousKey)
  assert.equal(await site.sessions.model.find(anonymousKey), null)
  assert.notEqual(await site.sessions.model.find(key), null)

  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByRole('heading', { name: 'Visits' }).waitFor()
  assert.equal(await site.sessions.model.find(key), null)
  await page.goBack()
  await page.getByRole('heading', { name: 'Sign in' }).waitFor()
  assert.equal(await page.getByText('Hello, ada.').count(), 0)
  await leave(visitor)
}

async function refusesWithoutCookies(browser: Browser): Promise<void> {
  const visitor = await visit(browser)
  const { page, context } = visitor
  await page.goto('/login/')
  await context.clearCookies()
  await signIn(page, 'grace', demoPasswords.grace)
  await page.getByText('Your browser sent no cookie.').waitFor()
  await signIn(page, 'grace', demoPasswords.grace)
  await page.getByText('Hello, grace.').waitFor()
  await leave(visitor)
}

async function visit(browser: Browser): Promise<Visitor> {
  const context = await browser.newContext({ baseURL })
  context.setDefaultTimeout(10_000)
  context.on('console', (message) => {
    // A form that is refused with 403 is an error to the console, and here on purpose.
    if (message.type() === 'error' && !message.text().includes('status of 403')) consoleErrors.push(message.text())
  })
  context.on('weberror', (error) => consoleErrors.push(error.error().message))
  return { context, page: await context.newPage() }
}

function openTab({ context }: Visitor): Promise<Page> {
  return context.newPage()
}

async function leave(...visitors: Visitor[]): Promise<void> {
  for (const { context } of visitors) await context.close()
}

async function comment(page: Page, text: string): Promise<void> {
  await page.getByLabel('Your comment').fill(text)
  await page.getByRole('button', { name: 'Comment' }).click()
}

async function signIn(page: Page, username: string, password: string): Promise<void> {
  await page.getByLabel('User').fill(username)
  await page.getByLabel('Password').fill(password)
  await page.getByRole('button', { name: 'Sign in' }).click()
}

async function keyOf({ context }: Visitor): Promise<string> {
  const [cookie] = await context.cookies()
  assert(cookie !== undefined, 'the browser has no cookie')
  return cookie.value
}
