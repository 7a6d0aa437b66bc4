/** Every page, light and dark, on a desk and on a phone: axe finds nothing, nothing sticks out, and the keyboard is enough. */
import { mkdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import type { Test } from 'tap'
import { add, check, comment, send, signIn, signOut } from './world.ts'

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const pictures = process.env.SCREENSHOTS
if (pictures !== undefined) mkdirSync(pictures, { recursive: true })

const sizes = { desk: { width: 1280, height: 800 }, phone: { width: 360, height: 740 } }

/** What is wider than the place it has, on the page and in its frame. Code can be scrolled. */
const FIND_WIDE = `(() => {
  const main = document.querySelector('main')
  const edge = main.getBoundingClientRect().right - parseFloat(getComputedStyle(main).paddingRight)
  const wide = [...main.querySelectorAll('*')].filter((element) => !element.closest('pre') && element.getBoundingClientRect().right > edge)
  return [...(document.documentElement.scrollWidth > innerWidth ? ['the page'] : []), ...wide.map(({ outerHTML }) => outerHTML)]
})()`

async function look(t: Test, page: Page, name: string): Promise<void> {
  await page.evaluate(axe)
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme })
    for (const [place, size] of Object.entries(sizes)) {
      await page.setViewportSize(size)
      t.strictSame(await page.evaluate(FIND_WIDE), [], `${name}, ${place}: nothing sticks out`)
      if (pictures !== undefined) await page.screenshot({ path: join(pictures, `${name}-${place}-${colorScheme}.png`), fullPage: true })
    }
    const { violations, incomplete } = await page.evaluate<AxeResults>('axe.run()')
    t.strictSame([...violations, ...incomplete].map(describe), [], `${name}, ${colorScheme}: axe finds nothing`)
  }
}

interface AxeResults extends Record<'violations' | 'incomplete', AxeFinding[]> {}
interface AxeFinding {
  id: string
  help: string
  nodes: { html: string }[]
}

function describe({ id, help, nodes }: AxeFinding): string {
  return `${id}: ${help}: ${nodes.map(({ html }) => html).join(', ')}`
}

check('the pages of somebody unknown look right', { refusals: [400, 403, 404, 400] }, async ({ t, visit }) => {
  const page = await visit()
  await page.goto('/session/')
  await look(t, page, 'session-none')
  await page.goto('/')
  await look(t, page, 'home')
  await page.goto('/cart/')
  await look(t, page, 'cart-empty')
  await add(page, 'tea')
  await look(t, page, 'cart')
  await page.goto('/comments/')
  await comment(page, ' ')
  await look(t, page, 'comments-refused')
  await comment(
    page,
    'A first line,\nand a very long word: Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft'
  )
  await look(t, page, 'comments')
  await page.goto('/account/')
  await look(t, page, 'login')
  await signIn(page, 'ada', { password: 'a wrong one' })
  await look(t, page, 'login-refused')
  await page.goto('/nowhere')
  await look(t, page, 'error-404')
  await page.goto('/cart/')
  await page.evaluate(`document.querySelector('[value=tea]').value = 'coffee'`)
  await add(page, 'tea')
  await look(t, page, 'error-400')
})

check('the experiments show what they found out, and their code', {}, async ({ t, visit, pass }) => {
  const page = await visit()
  await page.goto('/')
  const run = async (button: string, result: string) => {
    await page.getByRole('button', { name: button }).click()
    await page.getByText(result).waitFor()
  }
  await run('Send 20 requests', '20 of 20 counted')
  await run('Run both', 'and no cookie.')
  await run('Make that session', 'It ends in')
  await run('Show my row', 'session_data')
  await look(t, page, 'home-results')
  for (const summary of await page.getByText('See the code').all()) await summary.click()
  await look(t, page, 'home-code')

  // The page counts by its own clock, and asks the server when it is through.
  pass(20)
  await page.getByText('It has ended.').waitFor()
})

check('an experiment has a page of its own where no script runs', {}, async ({ t, visit }) => {
  const page = await visit({ javaScriptEnabled: false })
  await page.goto('/')
  await page.getByRole('button', { name: 'Run both' }).click()
  await page.getByText('and no cookie.').waitFor()
  await page.getByRole('link', { name: 'Back to the experiments' }).click()
  t.equal(await page.locator('.count').innerText(), '2')
})

check('the pages of somebody who is signed in look right', { refusals: [400, 404] }, async ({ t, visit, hold }) => {
  const page = await visit()
  await page.goto('/login/')
  await signIn(page, 'ada')
  await look(t, page, 'account')
  await page.goto('/session/')
  await look(t, page, 'session')
  const phone = await visit()
  await phone.goto('/login/')
  await signIn(phone, 'ada')
  await page.goto('/my-sessions/')
  await look(t, page, 'my-sessions')
  await page.getByRole('button', { name: 'End the session of Chrome on Linux' }).first().click()
  await page.getByText('You are signed in here only.').waitFor()
  await phone.goto('/account/')
  await phone.getByText('Please sign in to see that page.').waitFor()
  await page.goto('/cart/')
  const sending = hold('/cart/')
  const sent = add(page, 'tea')
  await sending.reached
  const otherTab = await page.context().newPage()
  await otherTab.goto('/account/')
  await signOut(otherTab)
  sending.open()
  await sent
  await look(t, page, 'error-interrupted')
  await look(t, otherTab, 'login-after-logout')
  await otherTab.getByRole('button', { name: 'Use grace' }).click()
  await send(otherTab, 'Sign in')
  await otherTab.goto('/nowhere/')
  await otherTab.getByText('Signed in as grace.').waitFor()
  await look(t, otherTab, 'error-404-signed-in')
})

check('the keyboard is enough to sign in, and shows where it is', {}, async ({ t, visit }) => {
  const page = await visit()
  await page.goto('/login/')
  await page.keyboard.press('Tab')
  t.ok(await page.getByRole('link', { name: 'Skip to the content' }).isVisible())
  await page.keyboard.press('Enter')

  for (const keys of ['ada', 'notes on the engine']) {
    await page.keyboard.press('Tab')
    t.ok(await page.evaluate(`getComputedStyle(document.activeElement).outlineStyle !== 'none'`), 'the focus is visible')
    await page.keyboard.type(keys)
  }
  await page.keyboard.press('Enter')
  await page.getByText('Hello, ada.').waitFor()
})
