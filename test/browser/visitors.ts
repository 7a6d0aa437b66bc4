/** Visits, cart and comments: browsers apart, and tabs at once. */
import { add, check, comment, countOf, keyOf, send } from './world.ts'

check('visits are counted for each browser', {}, async ({ t, visit }) => {
  const first = await visit()
  const second = await visit()
  await first.goto('/')
  await first.reload()
  await second.goto('/')
  t.equal(await first.locator('.count').innerText(), '2')
  t.equal(await second.locator('.count').innerText(), '1')
  t.not(await keyOf(first), await keyOf(second))
})

check('the cart is filled and emptied, and says so once', {}, async ({ t, visit }) => {
  const page = await visit()
  await page.goto('/cart/')
  await add(page, 'tea')
  await add(page, 'tea')
  t.equal(await page.getByRole('status').innerText(), 'Added: tea.')
  t.equal(await countOf(page, 'tea'), '2')
  await page.reload()
  t.equal(await page.getByRole('status').count(), 0)
  await send(page, 'Empty the cart')
  t.equal(await page.getByRole('status').innerText(), 'Your cart is empty.')
  t.equal(await countOf(page, 'tea'), '0')
})

check('a visitor comments once, in whichever tab, and what is written is text', { refusals: [400, 403] }, async ({ t, visit }) => {
  const page = await visit()
  const otherTab = await page.context().newPage()
  await page.goto('/comments/')
  await otherTab.goto('/comments/')
  await comment(page, ' ')
  t.equal(await page.getByRole('alert').innerText(), 'Your comment is empty. Please write something.')
  await comment(page, '<script>document.title = "run"</script>')
  t.equal(await page.locator('.comments li').innerText(), '<script>document.title = "run"</script>')
  t.match(await page.title(), /^Comments/)

  await comment(otherTab, 'a second one')
  await otherTab.getByText('You have already commented.').waitFor()
  t.equal(await otherTab.locator('.comments li').count(), 1)
})

check('two tabs change different keys at once, and both changes are kept', {}, async ({ t, visit, hold, site }) => {
  const page = await visit()
  const otherTab = await page.context().newPage()
  await page.goto('/cart/')
  await add(page, 'tea')
  await otherTab.goto('/comments/')

  const [adding, commenting] = [hold('/cart/'), hold('/comments/')]
  const both = [add(page, 'bread'), comment(otherTab, 'at the same time')]
  await Promise.all([adding.reached, commenting.reached])
  adding.open()
  commenting.open()
  await Promise.all(both)
  await otherTab.getByText('your session remembers that you wrote yours').waitFor()

  const { cart_items, has_commented } = (await site.sessions.open(await keyOf(page)).load()).toObject()
  t.strictSame({ cart_items, has_commented }, { cart_items: { tea: 1, bread: 1 }, has_commented: true })
  await page.goto('/cart/')
  t.equal(await countOf(page, 'bread'), '1')
})

check('two tabs add to the cart at once, and both are counted', {}, async ({ t, visit, hold }) => {
  const page = await visit()
  const otherTab = await page.context().newPage()
  await page.goto('/cart/')
  await add(page, 'tea')
  await otherTab.goto('/cart/')

  const gates = [hold('/cart/'), hold('/cart/')]
  const both = [add(page, 'tea'), add(otherTab, 'tea')]
  await Promise.all(gates.map(({ reached }) => reached))
  for (const { open } of gates) open()
  await Promise.all(both)
  await page.goto('/cart/')
  t.equal(await countOf(page, 'tea'), '3')
})
