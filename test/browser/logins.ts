/** Signing in and out: in several tabs, with the back button, without cookies, and over the end of a session or a browser. */
import type { Page } from 'playwright-core'
import { add, check, countOf, goBack, keyOf, signIn, signOut } from './world.ts'

const TWO_WEEKS = 1_209_600

async function openAccount(page: Page, options?: { remember: boolean }): Promise<void> {
  await page.goto('/account/')
  await signIn(page, 'ada', options)
  await page.getByText('Hello, ada.').waitFor()
}

check('signing in changes the key, and signing out ends the session', { refusals: [403] }, async ({ t, visit, site }) => {
  const page = await visit()
  await page.goto('/')
  const anonymousKey = await keyOf(page)

  await page.goto('/account/')
  await page.getByText('Please sign in to see that page.').waitFor()
  await signIn(page, 'ada', { password: 'a wrong one' })
  await page.getByText('User and password do not match.').waitFor()
  t.equal(await page.getByLabel('User').inputValue(), 'ada')
  t.equal(await keyOf(page), anonymousKey)

  await signIn(page, 'ada')
  await page.getByText('Hello, ada.').waitFor()
  const key = await keyOf(page)
  t.not(key, anonymousKey)
  t.equal(await site.sessions.model.find(anonymousKey), null)
  t.not(await site.sessions.model.find(key), null)

  await signOut(page)
  t.equal(await site.sessions.model.find(key), null)
  t.not(await keyOf(page), key)
  await page.getByRole('link', { name: 'Home' }).click()
  t.equal(await page.locator('.count').innerText(), '1')
})

for (const where of ['this tab', 'another tab']) {
  check(`after signing out in ${where} the back button shows nothing private`, {}, async ({ t, visit }) => {
    const page = await visit()
    await openAccount(page)
    await page.goto('/session/')
    // As long as somebody is signed in, the page comes from memory: otherwise nothing would be shown here.
    await page.evaluate('window.isSame = true')
    await page.goto('/account/')
    await goBack(page)
    await page.getByRole('heading', { name: 'Your session' }).waitFor()
    t.equal(await page.evaluate('window.isSame'), true)

    await page.goto('/account/')
    if (where === 'another tab') {
      const otherTab = await page.context().newPage()
      await otherTab.goto('/account/')
      await signOut(otherTab)
      await page.goto('/comments/')
    } else await signOut(page)

    await goBack(page)
    await page.getByText('Please sign in to see that page.').waitFor()
    t.equal(await page.getByText('ada.').count(), 0)
    await goBack(page)
    await page.getByRole('heading', { name: 'Your session' }).waitFor()
    // The page may be on its way: waiting outlives the page that is left.
    await page.waitForFunction('window.isSame === undefined')
    t.equal(await page.getByText('Signed in as').count(), 0)
  })
}

check('who signs out while another tab sends a form: 400, a page that says so, and a way on', { refusals: [400] }, async (world) => {
  const { t, visit, hold, site } = world
  const page = await visit()
  await openAccount(page)
  const key = await keyOf(page)
  const otherTab = await page.context().newPage()
  await otherTab.goto('/cart/')

  const sending = hold('/cart/')
  const sent = add(otherTab, 'tea')
  await sending.reached
  await signOut(page)
  const newKey = await keyOf(page)
  sending.open()
  await sent
  t.match(await otherTab.getByRole('alert').innerText(), 'You signed out or in while this page was on its way')
  t.equal(await keyOf(page), newKey)
  t.equal(await site.sessions.model.find(key), null)

  await otherTab.getByRole('link', { name: 'Go to the start page' }).click()
  t.equal(await otherTab.locator('.count').innerText(), '1')
  await otherTab.getByRole('link', { name: 'Cart' }).click()
  await add(otherTab, 'tea')
  t.equal(await countOf(otherTab, 'tea'), '1')
})

check('a form that is sent after signing out in another tab is that of somebody unknown', {}, async ({ t, visit }) => {
  const page = await visit()
  await openAccount(page)
  const otherTab = await page.context().newPage()
  await otherTab.goto('/cart/')
  await add(otherTab, 'tea')
  await otherTab.getByText('Signed in as ada.').waitFor()
  await signOut(page)
  await add(otherTab, 'tea')
  t.equal(await countOf(otherTab, 'tea'), '1')
  t.equal(await otherTab.getByText('Signed in as').count(), 0)
})

for (const remember of [false, true]) {
  check(
    `a session ends while its page is open, ${remember ? 'kept' : 'not kept'} when the browser closes`,
    {},
    async ({ t, visit, pass }) => {
      const page = await visit()
      await openAccount(page, { remember })
      await page.goto('/cart/')
      await add(page, 'tea')
      pass(TWO_WEEKS - 1)
      await page.reload()
      t.equal(await countOf(page, 'tea'), '1')
      await page.getByText('Signed in as ada.').waitFor()

      pass(1)
      await add(page, 'bread')
      t.equal(await countOf(page, 'tea'), '0')
      t.equal(await countOf(page, 'bread'), '1')
      t.equal(await page.getByText('Signed in as').count(), 0)
      await page.goto('/account/')
      await page.getByText('Please sign in to see that page.').waitFor()
      await signIn(page, 'ada')
      await page.getByText('Hello, ada.').waitFor()
    }
  )
}

for (const { remember, restores, expected } of [
  { remember: false, restores: false, expected: false },
  { remember: true, restores: false, expected: true },
  { remember: false, restores: true, expected: true }
]) {
  const name = `a login ${remember ? 'kept' : 'not kept'} when the browser closes ${expected ? 'lasts' : 'is gone'} after it was closed`
  check(restores ? `${name}, if it goes on where it was` : name, {}, async ({ t, start }) => {
    const before = await start('profile')
    const page = await before.newPage()
    await openAccount(page, { remember })
    const key = await keyOf(page)
    await before.close()

    // 1 is "Continue where you left off".
    const after = await start('profile', restores ? { session: { restore_on_startup: 1 } } : undefined)
    const keys = (await after.cookies()).map(({ value }) => value)
    t.strictSame(keys, expected ? [key] : [])
    const answer = await after.request.get('/account/', { headers: { accept: 'text/html' } })
    t.match(await answer.text(), expected ? 'Hello, ada.' : 'Please sign in to see that page.')
  })
}

check('with cookies switched off, signing in says what is missing', { refusals: [403, 403] }, async ({ t, start }) => {
  const browser = await start('profile', { profile: { default_content_setting_values: { cookies: 2 } } })
  const page = await browser.newPage()
  await page.goto('/login/')
  for (const attempt of ['first', 'second']) {
    await signIn(page, 'ada')
    t.match(await page.getByRole('alert').innerText(), 'Your browser sent no cookie. Please allow cookies', attempt)
  }
  t.strictSame(await browser.cookies(), [])
})

check('who loses the cookie on the way is told, and can sign in then', { refusals: [403] }, async ({ visit }) => {
  const page = await visit()
  await page.goto('/login/')
  await page.context().clearCookies()
  await signIn(page, 'ada')
  await page.getByText('Your browser sent no cookie.').waitFor()
  await signIn(page, 'ada')
  await page.getByText('Hello, ada.').waitFor()
})
